"""Say where to look when an artefact differs from its reference: its input, one tensor, or an overflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgemat.verify import _inputs
from edgemat.verify.compare import compare

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from onnx import NodeProto

    from edgemat.export._target import Gate, Images, Runner, Tensors, Trunk

    Floats = npt.NDArray[np.float32]

HALF_LARGEST = 65504.0
_IMAGES = 3
_OUTLIER = 10.0
"""A tensor stands out when it departs this many times as far as the median of the tensors before it."""
HINTS = {
    "Resize": "coordinate_transformation_mode (half_pixel is not align_corners) and the rounding of the scales",
    "Conv": "its bias, the layout of its weights, its padding and groups",
    "ConvTranspose": "the layout of its weights, output_padding and the side that is cropped",
    "DepthToSpace": "its mode: CRD and DCR order the channels differently",
    "SpaceToDepth": "the order of its channels",
    "Clip": "its bounds",
    "Add": "which tensors it adds, and broadcasting",
    "Concat": "its axis and the order of its inputs",
}
"""Where to look, by operator."""


@dataclass(frozen=True)
class Diagnosis:
    """What to look at, the most telling first; empty when nothing points anywhere.

    Attributes:
        findings: Sentences for the person who has to mend it.
        tensor: The first tensor that departs, by its name in the trunk; None when no tensor stands out.
        node: The trunk's node that makes it.
        op: That node's operator.
    """

    findings: tuple[str, ...]
    tensor: str | None = None
    node: str | None = None
    op: str | None = None

    def __str__(self) -> str:
        """Return the findings, one after the other."""
        return "; ".join(self.findings)


@dataclass(frozen=True)
class _Departure:
    """How one tensor of the artefact is from the reference's."""

    tensor: str
    relative: float
    """Largest difference over the largest magnitude of the reference."""
    peak: float
    """Largest magnitude of the reference."""
    finite: bool
    hint: str


def diagnose(trunk: Trunk, runner: Runner, images: Images, gate: Gate) -> Diagnosis:
    """Return what to look at in an artefact that failed its gate.

    Args:
        trunk: The graph that the artefact was made from; run in ONNX Runtime as the reference.
        runner: The artefact, open.
        images: RGB, uint8, (N, H, W, 3), at the trunk's size; the first three are used.
        gate: What the artefact failed; it says how far its precision explains a difference.
    """
    import numpy as np

    from edgemat.export.onnx import OnnxRunner

    images = images[:_IMAGES]
    with OnnxRunner(trunk.path) as reference:
        alpha = runner.run(images)
        expected = reference.run(images)
        departures = _departures(reference, runner, images)
        found = []
        if not np.isfinite(alpha).all():
            found.append(f"{int((~np.isfinite(alpha)).sum())} values of alpha are NaN or infinite")
            peaks = _peaks(reference.trace(images[0])) if not departures else {}
            found += [
                f"{name} peaks at {peak:.2g} in the reference, float16 ends at {HALF_LARGEST:.0f}"
                for name, peak in peaks.items()
                if peak > HALF_LARGEST
            ][:1]
        elif float(np.ptp(alpha)) < gate.max_abs:
            found.append(f"alpha is {float(alpha.mean()):.3g} everywhere: the output is dead")
        elif compare(alpha, expected).max_abs > gate.max_abs:
            found += _inputs.explain(alpha, images, reference.run_float, gate)
    return _with_tensor(trunk, departures, gate, found)


def _peaks(tensors: Tensors) -> dict[str, float]:
    import numpy as np

    return {name: float(np.abs(tensor).max()) for name, tensor in tensors.items()}


def _departures(reference: Runner, runner: Runner, images: Images) -> list[_Departure]:
    """Return how far each traced tensor departs, the worst of two images each, in the trunk's order."""
    worst: dict[str, _Departure] = {}
    for image in images[:2]:
        expected = reference.trace(image)
        found = runner.trace(image)
        for name, tensor in expected.items():
            if name in found:
                departure = _departure(name, found[name], tensor)
                if name not in worst or departure.relative > worst[name].relative:
                    worst[name] = departure
    return list(worst.values())


def _departure(name: str, found: Floats, expected: Floats) -> _Departure:
    import numpy as np

    peak = float(np.abs(expected).max())
    if found.shape != expected.shape:
        return _Departure(name, float("inf"), peak, True, f"its shape is {found.shape}, expected {expected.shape}")
    if not np.isfinite(found).all():
        return _Departure(name, float("inf"), peak, False, "")
    difference = found.astype(np.float64) - expected
    largest = float(np.abs(difference).max())
    return _Departure(name, largest / max(peak, 1e-12), peak, True, _pattern(difference, largest))


def _pattern(difference: npt.NDArray[np.float64], largest: float) -> str:
    """Return what the shape of a difference, (1, C, H, W), gives away."""
    import numpy as np

    if difference.ndim != 4 or min(difference.shape[2:]) < 4 or largest == 0.0:
        return ""
    channel = difference.mean((2, 3), keepdims=True)
    if float(np.abs(difference - channel).max()) < 0.05 * largest:
        return "the difference is one constant a channel, as if a bias were missing or added"
    if float(np.abs(difference[:, :, 1:-1, 1:-1]).max()) < 0.05 * largest:
        return "only the outermost pixels differ, as if the padding were different"
    return ""


def _first(departures: list[_Departure], gate: Gate) -> _Departure | None:
    """Return the first tensor that departs by more than the precision and the tensors before it explain."""
    import numpy as np

    before: list[float] = []
    for departure in departures:
        limit = max(gate.max_abs / 2, _OUTLIER * float(np.median(before)) if before else 0.0)
        if departure.relative > limit:
            return departure
        before.append(departure.relative)
    return None


def _with_tensor(trunk: Trunk, departures: list[_Departure], gate: Gate, found: list[str]) -> Diagnosis:
    """Add the first departing tensor, with the nodes that may be to blame."""
    first = _first(departures, gate)
    if first is None:
        if departures and not found:
            found.append("no tensor stands out: the difference grows from layer to layer, as low precision does")
        elif not departures:
            found.append("this backend shows no inner tensors")
        return Diagnosis(tuple(found))
    nodes = list(_makers(trunk, first.tensor, {departure.tensor for departure in departures}))
    made_by = " then ".join(f"{node.op_type} {node.name}" for node in reversed(nodes))
    culprit = next((node for node in reversed(nodes) if node.op_type in HINTS), nodes[0])
    if not first.finite:
        over = first.peak > HALF_LARGEST
        what = "fp16 overflow" if over else "first NaN or infinite value"
        limit = f", float16 ends at {HALF_LARGEST:.0f}: rescale the layer before it, or use fp32" if over else ""
        found.insert(0, f"{what} at tensor {first.tensor} ({made_by}), peak {first.peak:.2g} in the reference{limit}")
    else:
        hint = first.hint or HINTS.get(culprit.op_type, "")
        look = f"; {first.hint}" if first.hint else f"; look at {hint}" if hint else ""
        found.append(f"first differs at {first.tensor} ({made_by}), by {first.relative:.2g} of its largest value{look}")
    return Diagnosis(tuple(found), first.tensor, culprit.name, culprit.op_type)


def _makers(trunk: Trunk, tensor: str, traced: set[str]) -> Iterator[NodeProto]:
    """Yield the node that makes a tensor, then those before it whose own outputs the artefact does not show."""
    import onnx

    producers = {name: node for node in onnx.load(trunk.path).graph.node for name in node.output}
    seen: set[str] = set()
    queue = [tensor]
    while queue:
        name = queue.pop(0)
        if name in producers and producers[name].name not in seen:
            seen.add(producers[name].name)
            yield producers[name]
            queue += [source for source in producers[name].input if source not in traced]
