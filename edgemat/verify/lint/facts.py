"""What a rule may know of an artefact: its operators, tensors and measured ranges, in one form for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgemat.inspection import OpFact
    from edgemat.quantize.grid import Grid

HALF, MAY, NEVER = "half", "may", "never"
"""Whether floats are computed in half precision: as the file states; where a GPU runs it; nowhere."""
SHARP = "#"
"""What follows it in a name was appended by a target."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """How a tensor's codes stand for reals.

    Attributes:
        scales: float32, one, or one a channel.
        zeros: int64, as many.
        axis: Of the channels.
        kind: Type of the codes, such as ``int8``.
    """

    scales: npt.NDArray[np.float32]
    zeros: npt.NDArray[np.int64]
    axis: int
    kind: str

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest code of the type."""
        if self.kind in ("int4", "uint4"):
            return (-8, 7) if self.kind == "int4" else (0, 15)
        limits = np.iinfo(self.kind)
        return int(limits.min), int(limits.max)


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor.

    Attributes:
        name: As the file calls it.
        kind: Type that stores it, as numpy calls it; empty where the file does not say.
        shape: Dimensions, a text where one is open; None where the file does not say.
        quantization: Scales of its codes, where it holds codes.
        constant: Its content, where it is a constant; codes as they are stored.
    """

    name: str
    kind: str = ""
    shape: tuple[int | str, ...] | None = None
    quantization: Quantization | None = None
    constant: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class Op:
    """One operator.

    Attributes:
        name: As the file calls it, or its first output.
        kind: As the file's format calls it.
        inputs: Tensors, an empty name for one that is not given.
        outputs: Tensors.
        attributes: What it states.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and kind, as a finding names it."""
        return f"{self.name} ({self.kind})"


@dataclass(frozen=True)
class Resize:
    """What one operator samples.

    Attributes:
        op: Its label.
        tensor: What it makes, by the trunk's name.
        mode: ``linear``, ``nearest`` or another, as the format calls it.
        coordinates: Where it samples, in ONNX's words; in the format's own where ONNX has none.
        nearest: How a place between two pixels is rounded, in ONNX's words; empty for other modes.
        before: Rows and columns that it reads; None where they are not fixed.
        after: Rows and columns that it makes; None where they are not fixed.
        scales: Rows' and columns' factors, where they are stated rather than the quotient of the sizes.
        computed: Whether its size is computed when the network runs.
        extras: Settings that few runtimes have, such as ``antialias``.
    """

    op: str
    tensor: str
    mode: str
    coordinates: str
    nearest: str = ""
    before: tuple[int, int] | None = None
    after: tuple[int, int] | None = None
    scales: tuple[float, float] | None = None
    computed: bool = False
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Weighted:
    """A convolution with constant weights, as ONNX would state it.

    Attributes:
        op: Its label.
        source: What it reads, by the name under which a Runner traces it.
        output: What it makes.
        name: Of the weight.
        kind: ``Conv`` or ``ConvTranspose``.
        weight: Reals, float32, in ONNX's layout.
        bias: Reals, float32, (output channels,); None without one.
        attributes: ONNX's: strides, pads, dilations, group, output_padding.
        stored: Type that stores the weight.
        quantization: Scales of its codes, where it is stored as codes; the axis that of the file's layout.
    """

    op: str
    source: str
    output: str
    name: str
    kind: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None
    attributes: Mapping[str, Any]
    stored: str = "float32"
    quantization: Quantization | None = None

    @property
    def axis(self) -> int:
        """Axis of the output channels in ONNX's layout."""
        return 0 if self.kind == "Conv" else 1


@dataclass(frozen=True)
class Peak:
    """The largest magnitude of a tensor over the images, in float32."""

    tensor: str
    value: float


@dataclass(frozen=True)
class Sums:
    """What a convolution adds up, over all places of all images, in float32.

    Attributes:
        op: Its label.
        tensor: What it makes.
        result: Largest magnitude of a finished sum, bias included.
        running: Largest magnitude that a running sum reaches in the worst order of adding: the larger of the sum of
            all positive products and that of all negative ones. No order exceeds it.
        absolute: Largest sum of the magnitudes of all products.
        bound: Sum of a channel's magnitudes of weights times the largest magnitude that the convolution reads: what no
            image of this range exceeds.
    """

    op: str
    tensor: str
    result: float
    running: float
    absolute: float
    bound: float


@dataclass(frozen=True)
class Use:
    """How the codes of one activation are used on the images.

    Attributes:
        tensor: By the trunk's name.
        codes: How many different codes occur.
        of: How many codes there are.
        beyond: Share of the values that lie beyond the codes' ends by more than a step, in [0, 1].
        scale: The step.
    """

    tensor: str
    codes: int
    of: int
    beyond: float
    scale: float


@dataclass(frozen=True)
class Measured:
    """Ranges on real images.

    Attributes:
        images: How many.
        peaks: By tensor.
        sums: By convolution.
        uses: By activation; empty for a file without codes.
    """

    images: int
    peaks: tuple[Peak, ...] = ()
    sums: tuple[Sums, ...] = ()
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Left:
    """An operator that an accelerator does not take.

    Attributes:
        op: Its label.
        reason: Why.
        source: Where that can be read up, or who was asked.
    """

    op: str
    reason: str
    source: str


@dataclass(frozen=True)
class Placement:
    """What is known of where an artefact runs.

    Attributes:
        accelerator: Its name for people, such as ``XNNPACK``.
        operators: How many there are to place.
        left: Those that it does not take.
        unknown: Kinds of operators of which nothing is known, each once.
        partitions: Into how many parts the accelerator's share falls; None where that is not known.
        asked: Who said so: a runtime or compiler that was asked, or a table.
    """

    accelerator: str
    operators: int
    left: tuple[Left, ...] = ()
    unknown: tuple[str, ...] = ()
    partitions: int | None = None
    asked: str = ""


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything that the rules may know of one artefact.

    Attributes:
        file: As findings name it.
        artefact: ``target precision``, or the format.
        form: ``ONNX``, ``TFLite``, ``Core ML`` or ``OpenVINO IR``.
        ops: Operators, in order; constants and what only holds codes of constants left out.
        values: Tensors by name, constants among them.
        inputs: The file's inputs.
        outputs: The file's outputs.
        resizes: Every operator that samples.
        weighted: Every convolution with constant weights.
        described: What the file says for the app team: ``name``, ``version``, ``author``, ``license``,
            ``description``, ``colour order``, ``range``, each empty where it is silent; nothing where it was not read.
        half: One of `HALF`, `MAY`, `NEVER`.
        flexible: Inputs whose size may vary, each with how, such as ``RangeDim``.
        islands: Operators that compute in float among integers.
        kept: Nodes that the grid keeps in float on purpose.
        placements: What is known of each accelerator.
        trunk: The same of the graph that it was made from; None for a bare file.
        grid: The grid that it carries; None without one, or for a bare file.
        scales: Activation to scale and zero point as the file states them, in the grid's codes and the trunk's names.
        lenience: Largest relative difference of a scale that the format's own rounding explains.
        measured: Ranges on images; None where they were not measured.
        changed: Whether its bytes are not those that the export wrote.
        complaints: What its target says is not as promised, where it was asked.
        broken: Why it could not be read at all; empty where it could.
        gone: Artefacts that the export could not make, for the folder as a whole.
    """

    file: str
    artefact: str
    form: str
    ops: tuple[Op, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    resizes: tuple[Resize, ...] = ()
    weighted: tuple[Weighted, ...] = ()
    described: Mapping[str, str] = field(default_factory=dict)
    half: str = NEVER
    flexible: Mapping[str, str] = field(default_factory=dict)
    islands: tuple[OpFact, ...] = ()
    kept: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    trunk: Facts | None = None
    grid: Grid | None = None
    scales: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    lenience: float = 0.0
    measured: Measured | None = None
    changed: bool = False
    complaints: tuple[str, ...] = ()
    broken: str = ""
    gone: tuple[str, ...] = ()

    def readers(self, name: str) -> tuple[Op, ...]:
        """Return the operators that read a tensor."""
        return tuple(op for op in self.ops if name in op.inputs)

    def maker(self, name: str) -> Op | None:
        """Return the operator that makes a tensor; None for an input or a constant."""
        return next((op for op in self.ops if name in op.outputs), None)


def plain(name: str) -> str:
    """Return the trunk's name in a name that a target appended to.

    Example:
        >>> plain("head#codes")
        'head'
    """
    return name.partition(SHARP)[0] or name
