"""The steps between a student in torch and what a backend computes, each with those before it and how to run it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import EdgematError, InputError
from edgemat.files import atomic_path, sha256
from edgemat.verify.compare import complaints

if TYPE_CHECKING:
    from edgemat.export._compare import References
    from edgemat.export._target import Alphas, Images, Target, Trunk
    from edgemat.verify.evaluate import Predict
    from edgemat.verify.exported import Entry, Exported

    Open = Callable[[], AbstractContextManager[Predict]]

FLOAT = "float"
"""Name of the chain that knows no integers; the others are named after their grid's scheme."""
KINDS = {
    "start": "where the chain begins",
    "conversion": "torch to ONNX",
    "half": "rounding to float16",
    "training": "other float weights, trained for the grid",
    "weights": "rounding of weights to codes",
    "activations": "rounding of activations and biases to codes",
    "runtime": "the backend's own arithmetic",
}
"""What changes from one step to the next, in words."""
TORCH, TRUNK, HALF = "torch", "onnx trunk", "fp16"
_SHA = "weights_sha256"
_RANGE = 1e-2
"""How far beyond [0, 1] a backend's alpha may be before it is a fault; what is within is clipped, as an app does."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One step, not yet run.

    Attributes:
        name: Unique; an artefact's is its target and precision.
        chain: `FLOAT` or a scheme's name.
        before: Steps that it may be compared with, the nearest first, and what then changes (`KINDS`); the first that
            ran is taken. Empty for a start.
        open: Gives what runs it; None where it cannot be run.
        missing: Why not.
        note: What a reader must know of it.
        artefact: Whether it is one of the folder's, and not a step on the way.
    """

    name: str
    chain: str
    before: Mapping[str, str] = field(default_factory=dict)
    open: Open | None = None
    missing: str = ""
    note: str = ""
    artefact: bool = False

    def run(self, images: Images) -> tuple[Alphas | None, str]:
        """Run the step; whatever happens is an answer, so that the others still get their turn.

        Args:
            images: RGB, uint8, (N, H, W, 3).

        Returns:
            Alpha, float32, (N, H, W), in [0, 1], or None and why.
        """
        import numpy as np

        if self.open is None:
            return None, self.missing
        try:
            with self.open() as predict:
                alphas = predict(images)
        except EdgematError as error:
            return None, f"cannot be run: {error}"
        except Exception as error:  # a backend may raise anything
            logger.debug("%s crashed", self.name, exc_info=True)
            return None, f"cannot be run: {type(error).__name__}: {error}"
        wrong = complaints(alphas, images.shape[:3], _RANGE)
        return (None, f"cannot be measured: {wrong[0]}") if wrong else (np.clip(alphas, 0.0, 1.0), "")


def plans(exported: Exported, weights: Sequence[Path], folder: Path) -> tuple[Plan, ...]:
    """Return all steps of an export folder, each after the ones it builds on.

    The integer student has other float weights than the float student where it was trained on its grid. Its chain
    therefore leaves the float one at torch: first the other weights, in float, then rounding, weight by weight and
    activation by activation.

    Args:
        exported: The folder.
        weights: Files of students that the folder was made from; each graph finds its own by SHA-256. None given: the
            shipped ones.
        folder: For graphs that are needed on the way.

    Raises:
        InputError: A file of ``weights`` is none that the folder was made from.
    """
    import numpy as np

    from edgemat.export._compare import References

    references = References(np.zeros((0, 0, 0, 3), np.uint8), folder)
    known = _students(exported, weights)
    found: list[Plan] = []
    if exported.trunks.plain is not None:
        found += _float_chain(exported.trunks.plain, known, folder)
    for scheme, trunk in exported.trunks.on_grid.items():
        found += _grid_chain(scheme, trunk, known, references, exported.trunks.plain)
    found += [_artefact(entry) for entry in exported.entries]
    found += _failures(exported)
    place = {name: i for i, name in enumerate([FLOAT, *exported.trunks.on_grid])}
    return tuple(sorted(found, key=lambda plan: place[plan.chain]))


def _students(exported: Exported, weights: Sequence[Path]) -> Mapping[str, Path]:
    """Return weights by their SHA-256."""
    from edgemat.model import weights as files

    trunks = [*exported.trunks.on_grid.values(), *filter(None, [exported.trunks.plain])]
    wanted = {trunk.info.extra[_SHA] for trunk in trunks if _SHA in trunk.info.extra}
    given = {sha256(path): path for path in weights if _exists(path)}
    for digest, path in given.items():
        if digest not in wanted:
            listed = ", ".join(sorted(digest[:12] for digest in wanted)) or "none: its graphs were given as ONNX"
            raise InputError(
                f"{path}: SHA-256 {digest[:12]}..., but {exported.folder} was made from {listed}; give those weights, "
                f"or export these: edgemat export --weights {path} --target all"
            )
    shipped = files.shipped().parent.glob("student*.safetensors") if not weights else ()
    return {sha256(path): path for path in shipped} | given


def _exists(path: Path) -> bool:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a student's weights")
    return True


def _float_chain(trunk: Trunk, known: Mapping[str, Path], folder: Path) -> Iterator[Plan]:
    yield _torch(TORCH, FLOAT, {}, trunk, known)
    yield Plan(TRUNK, FLOAT, {TORCH: "conversion"}, lambda: _onnx(trunk.path))
    yield Plan(HALF, FLOAT, {TRUNK: "half"}, lambda: _half(trunk, folder))


def _grid_chain(
    scheme: str, trunk: Trunk, known: Mapping[str, Path], references: References, plain: Trunk | None
) -> Iterator[Plan]:
    first, graph, stored, whole = _names(scheme)
    note = "the same weights as the float student's" if plain is not None and _same(plain, trunk) else ""
    yield dataclasses.replace(_torch(first, scheme, {TORCH: "training", TRUNK: "training"}, trunk, known), note=note)
    # without torch, the two graphs still tell what training moved
    yield Plan(graph, scheme, {first: "conversion", TRUNK: "training"}, lambda: _onnx(trunk.path), note=note)
    yield Plan(stored, scheme, {graph: "weights"}, lambda: _onnx(references.stored(trunk).path))
    yield Plan(whole, scheme, {stored: "activations"}, lambda: _integer(trunk, references))


def _names(scheme: str) -> tuple[str, str, str, str]:
    """Return the names of a scheme's steps."""
    from edgemat.quantize.scheme import Scheme

    found = Scheme.parse(scheme)
    weights = f"{scheme} w{found.weight_bits}"
    return f"{scheme} {TORCH}", f"{scheme} trunk", weights, f"{weights}a{found.activation_bits}"


def _torch(name: str, chain: str, before: Mapping[str, str], trunk: Trunk, known: Mapping[str, Path]) -> Plan:
    digest = trunk.info.extra.get(_SHA)
    if digest is None:
        return Plan(name, chain, before, missing="made from an ONNX file, not from a student's weights")
    if digest not in known:
        missing = f"made from weights of SHA-256 {digest[:12]}..., which were not given; add them with --weights"
        return Plan(name, chain, before, missing=missing)
    path = known[digest]
    return Plan(name, chain, before, lambda: _student(path))


def _artefact(entry: Entry) -> Plan:
    chain, before = _place(entry.target, entry.precision)
    unavailable = entry.target.unavailable()
    if unavailable is not None:
        missing = f"{unavailable.reason}; {unavailable.install}"
        return Plan(entry.name, chain, before, missing=missing, artefact=True)
    note = "its bytes are not those that the export wrote" if entry.changed else ""
    return Plan(entry.name, chain, before, lambda: _runner(entry), note=note, artefact=True)


def _failures(exported: Exported) -> Iterator[Plan]:
    """Yield what the export could not make, where its graphs are there to hang it on."""
    from edgemat import export

    for failed in exported.failed:
        chain, before = _place(export.get(failed.target), failed.precision)
        if chain in exported.trunks.on_grid or (chain == FLOAT and exported.trunks.plain is not None):
            first = failed.message.splitlines()[0] if failed.message else failed.state
            missing = f"not exported ({failed.state}): {first}"
            yield Plan(f"{failed.target} {failed.precision}", chain, before, missing=missing, artefact=True)


def _place(target: Target, precision: str) -> tuple[str, Mapping[str, str]]:
    """Return the chain of an artefact and the steps that state what it should compute."""
    if not target.needs_grid(precision):
        return FLOAT, ({HALF: "runtime", TRUNK: "half"} if "fp16" in precision else {TRUNK: "runtime"})
    _, graph, stored, whole = _names(target.scheme)
    if precision in target.stores:
        return target.scheme, {stored: "runtime", graph: "weights"}
    return target.scheme, {whole: "runtime", stored: "activations"}


def _same(one: Trunk, other: Trunk) -> bool:
    """Return whether two graphs hold the same constants."""
    import numpy as np

    from edgemat.export import _graph

    first, second = (dict(_graph.initializers(_graph.read(trunk.path))) for trunk in (one, other))
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


# what runs a step: each a context manager, so that one is open at a time


@contextmanager
def _student(path: Path) -> Iterator[Predict]:
    """Run a student in torch, a quantized one in float: its weights before they become codes."""
    from edgemat.model import weights
    from edgemat.model.predict import predict
    from edgemat.quantize import checkpoint

    quantized = weights.file_format(path) == weights.QUANTIZED_FORMAT
    net = checkpoint.load(path).net if quantized else weights.load(path).net
    yield lambda images: predict(net, images)


@contextmanager
def _onnx(path: Path) -> Iterator[Predict]:
    from edgemat.export.onnx import OnnxRunner

    with OnnxRunner(path) as runner:
        yield runner.run


@contextmanager
def _half(trunk: Trunk, folder: Path) -> Iterator[Predict]:
    """Run the graph in float16, every tensor rounded: converted here, so that no artefact's fault is taken over."""
    from edgemat.export import onnx

    with atomic_path(folder / "half.onnx") as temporary:
        onnx.convert(trunk, "fp16", temporary)
    with _onnx(folder / "half.onnx") as predict:
        yield predict


@contextmanager
def _integer(trunk: Trunk, references: References) -> Iterator[Predict]:
    yield references.integer(trunk, "ideal").run


@contextmanager
def _runner(entry: Entry) -> Iterator[Predict]:
    with entry.target.load(entry.path) as runner:
        yield runner.run
