"""The whole contract of an export target: what a target module states, and what the frame does for it.

A target module holds one public value, ``TARGET``. The frame (`edgemat.export._frame`) validates input, times,
compares and reports, so that a target only converts and runs. Nothing else in the tree names a target.
"""

from __future__ import annotations

import abc
import importlib
import importlib.util
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgemat.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgemat.inspection import Inspection
    from edgemat.quantize.grid import Codes, Grid

    Images = npt.NDArray[np.uint8]
    Alphas = npt.NDArray[np.float32]
    Tensors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Gate:
    """How far an artefact may be from its reference, over all pixels of all images of a comparison.

    Attributes:
        max_abs: Largest admissible absolute difference of alpha, in [0, 1].
        mean_abs: Largest admissible mean absolute difference of alpha, in [0, 1].
    """

    max_abs: float
    mean_abs: float

    def __post_init__(self) -> None:
        """Refuse a gate that cannot fail."""
        if not (0.0 < self.mean_abs <= self.max_abs < 1.0):
            raise ValueError(f"gate needs 0 < mean_abs <= max_abs < 1, found {self}")

    def __str__(self) -> str:
        """Return the limits in a few words."""
        return f"{self.max_abs:g}, {self.mean_abs:g}"


@dataclass(frozen=True)
class IntegerGate:
    """How far an integer artefact may be from the reference on the same grid.

    Attributes:
        lsb: Largest admissible difference of any code of any tensor from what the reference makes of the same inputs.
        within_one: Least admissible share of alpha's pixels within one code (1/255) of the reference, end to end.
        scales: Largest admissible relative difference of a scale in the file from the grid's: 0 for identical as
            float32; more only where the format stores float16.
        differ: Largest admissible share of a tensor's values that differ at all, given the same inputs. Small where the
            reference rounds as the backend does; 1 where that is not known.
    """

    lsb: int = 1
    within_one: float = 0.99
    scales: float = 0.0
    differ: float = 0.01

    def __post_init__(self) -> None:
        """Refuse a gate that cannot fail."""
        if not (0 <= self.lsb < 8 and 0.5 < self.within_one <= 1.0 and 0.0 <= self.scales < 1e-3):
            raise ValueError(f"gate needs 0 <= lsb < 8, 0.5 < within_one <= 1, 0 <= scales < 1e-3, found {self}")
        if not 0.0 < self.differ <= 1.0:
            raise ValueError(f"gate needs 0 < differ <= 1, found {self}")

    def __str__(self) -> str:
        """Return the limits in a few words."""
        return f"{self.lsb} LSB, {self.within_one:.0%}"


@dataclass(frozen=True)
class Scales:
    """The scales that an artefact really holds, read back from the file, in the trunk's names and the grid's codes.

    Attributes:
        activations: Tensor name to scale (as stored, widened) and zero point; a backend that stores int8 where the grid
            has uint8 adds 128 to its zero point here.
        weights: Weight name to scales, float32, (output channels,).
    """

    activations: Mapping[str, tuple[float, int]]
    weights: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class ModelInfo:
    """What an artefact says about the network inside it.

    Attributes:
        name: File stem of the artefacts, such as ``student``.
        version: Version of the weights.
        author: Who made the weights.
        license: Licence of the weights, as the model card states it.
        description: One or two sentences for the app team.
        extra: Further facts for the metadata (such as the SHA-256 of the weights), text to text.
    """

    name: str
    version: str
    author: str
    license: str
    description: str
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trunk:
    """The one float ONNX graph that every target starts from, checked by `edgemat.export._trunk`, and its integer grid.

    Its single input is ``image``: float32, (1, 3, H, W), RGB in [0, 1]; its single output is ``alpha``: float32,
    (1, 1, H, W), in [0, 1]. Normalisation is inside. All weights are inside the file; all shapes are fixed.

    Attributes:
        path: The ONNX file, opset 18, float32.
        height: Rows of the input and of the output.
        width: Columns of the input and of the output.
        info: Metadata that every artefact carries.
        grid: Every scale of the integer trunk, by the graph's tensor names; None for a network that only computes in
            float. An integer target carries these scales and computes none.
    """

    path: Path
    height: int
    width: int
    info: ModelInfo
    grid: Grid | None = None


@dataclass(frozen=True)
class Trunks:
    """The graphs that an export starts from.

    Attributes:
        plain: For precisions that compute in float; None where only quantized weights were given.
        on_grid: For integer precisions, by the scheme's name.
    """

    plain: Trunk | None
    on_grid: Mapping[str, Trunk] = field(default_factory=dict)

    def get(self, target: Target, precision: str) -> Trunk:
        """Return the graph that a target's precision starts from.

        Raises:
            InputError: It was not given.
        """
        if not target.needs_grid(precision):
            if self.plain is None:
                raise InputError(
                    f"--precision {precision} of target {target.name} starts from float weights, found quantized ones; "
                    "give a float student as --weights, or --precision int8"
                )
            return self.plain
        if target.scheme not in self.on_grid:
            found = ", ".join(self.on_grid) or "float weights alone"
            raise InputError(
                f"--precision {precision} of target {target.name} needs the grid {target.scheme}, found {found}; "
                f"make it with: edgemat quantize --scheme {target.scheme} --out student-{target.scheme}.safetensors, "
                "and give that file as --weights"
            )
        return self.on_grid[target.scheme]

    def any(self) -> Trunk:
        """Return one of the graphs: all share name, size and metadata."""
        return self.plain or next(iter(self.on_grid.values()))


class Runner(abc.ABC):
    """One loaded artefact, ready to run; a context manager.

    A runner converts 8-bit RGB pixels to whatever its artefact declares (layout, range, type) and back, exactly as an
    app would: a mistake in an artefact's declared input is then a difference that the gate sees.

    Attributes:
        rounding: How the backend rounds between codes: a key of `edgemat.quantize.rounding.ROUNDINGS`. The reference of
            an integer artefact rounds likewise, so that what is left is a difference of the conversion.
    """

    rounding: str = "ideal"

    @abc.abstractmethod
    def run(self, images: Images) -> Alphas:
        """Run the artefact.

        Args:
            images: RGB, uint8, (N, H, W, 3), H and W those of the artefact; the frame has checked them.

        Returns:
            Alpha, float32, (N, H, W).
        """

    def trace(self, image: Images) -> Tensors:
        """Return the inner tensors of one run, so that a failed gate can name where the difference starts.

        Args:
            image: RGB, uint8, (H, W, 3).

        Returns:
            The trunk's tensor names to float32 arrays in the trunk's layout (NCHW), for as many tensors as the artefact
            still knows; empty where the backend cannot show them.
        """
        del image
        return {}

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return the codes of one run of an integer artefact, as many tensors as the backend can show.

        Args:
            image: RGB, uint8, (H, W, 3).

        Returns:
            The trunk's tensor names (`edgemat.quantize.rules.tensors`) to int32 arrays in the trunk's layout (NCHW) and
            in the grid's own codes; ``image`` and ``alpha`` among them. Empty for a float artefact.
        """
        del image
        return {}

    def close(self) -> None:  # noqa: B027  (most backends have nothing to release)
        """Release what the backend holds."""

    def __enter__(self) -> Self:
        """Return the runner itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the runner."""
        self.close()


def lazy(package: str, place: str) -> Callable[..., Any]:
    """Return a function that is imported when it is called, so that listing a target loads no back end.

    Args:
        package: The target's package, its ``__name__``.
        place: ``module:function`` inside it.

    Example:
        >>> lazy("edgemat", "inspection:OpFact")("first", "Conv", "int8").kind
        'Conv'
    """
    module, _, name = place.partition(":")

    def call(*arguments: object) -> Any:
        return getattr(importlib.import_module(f"{package}.{module}"), name)(*arguments)

    return call


@dataclass(frozen=True)
class Target:
    """One export target.

    Attributes:
        name: What ``--target`` takes; the name of the module.
        title: What it makes, in one line for tables and help.
        suffix: File name ending of the artefact, with the dot.
        gates: Precision to gate; the first precision is the default.
        extra: The pip extra that installs what is needed (``pip install 'edgemat[EXTRA]'``).
        requires: Import names that must be found, such as ``("onnxruntime",)``.
        proves: What the runner executes on this machine, for ``edgemat targets`` (say what it does not prove, too).
        convert: ``convert(trunk, precision, path)`` writes the artefact (a file or a folder) to ``path``, which does
            not exist yet. Raises `edgemat.errors.UnsupportedOpError` listing every unsupported node at once.
        load: ``load(path)`` opens an artefact for running.
        check: ``check(path)`` reads the artefact back and returns complaints, none when it is as the target promises.
        inspect: ``inspect(path)`` reads from the artefact what each operator computes in, and what its weights are
            stored in (``edgemat inspect``).
        scales: ``scales(path)`` reads the scales back from an integer artefact; None for a target without one.
        on_device: ``on_device(path)`` returns the bytes of the file that one device gets, where an artefact holds one a
            chip; None where the artefact is that file.
        scheme: Name of the grid that its integer precisions take (`edgemat.quantize.scheme`).
        platforms: Where its back end exists, as `this_platform` calls it; empty for everywhere.
        stores: Precisions that store integers but compute in float: their reference is the float network with the
            weights' codes, and their gate a `Gate`.
    """

    name: str
    title: str
    suffix: str
    gates: Mapping[str, Gate | IntegerGate]
    extra: str
    requires: tuple[str, ...]
    proves: str
    convert: Callable[[Trunk, str, Path], None]
    load: Callable[[Path], Runner]
    check: Callable[[Path], tuple[str, ...]]
    inspect: Callable[[Path], Inspection]
    scales: Callable[[Path], Scales] | None = None
    on_device: Callable[[Path], int] | None = None
    scheme: str = "static_w8c_a8"
    platforms: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()

    def needs_grid(self, precision: str) -> bool:
        """Return whether a precision takes an integer grid."""
        return precision in self.stores or isinstance(self.gates[precision], IntegerGate)

    @property
    def default_precision(self) -> str:
        """The precision that is used when none is asked for."""
        return next(iter(self.gates))

    def precision(self, word: str | None) -> str | None:
        """Return the precision that a word asks for: None the default, ``int8`` the first integer one, else its name.

        None where the target makes no such thing.
        """
        if word is None or word in self.gates:
            return word or self.default_precision
        integer = (name for name, gate in self.gates.items() if isinstance(gate, IntegerGate))
        return next(integer, None) if word == "int8" else None

    def missing(self) -> tuple[str, ...]:
        """Return the import names of `requires` that are not installed here, without importing any of them."""
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)

    def unavailable(self) -> Unavailable | None:
        """Return why this target cannot run here, or None when it can."""
        if self.platforms and this_platform() not in self.platforms:
            wanted = " or ".join(self.platforms)
            return Unavailable(f"its back end exists for {wanted}, found {this_platform()}", f"run edgemat on {wanted}")
        missing = self.missing()
        if not missing:
            return None
        return Unavailable(f"{', '.join(missing)} not installed", f"pip install 'edgemat[{self.extra}]'")


def this_platform() -> str:
    """Return the system and processor that this runs on, such as ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine().lower()}"


@dataclass(frozen=True)
class Unavailable:
    """An honest answer: this cannot be run here. Never a pass, never a crash; false as a truth value.

    Attributes:
        reason: What is missing.
        install: The command that mends it.
    """

    reason: str
    install: str

    def __bool__(self) -> bool:
        """Return False, so that an unavailable result never counts as one."""
        return False
