"""Range audit for half precision: peaks and running sums against 65504, and what float16 flushes to zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgemat.verify.lint.facts import HALF, MAY, NEVER, Facts, Measured
from edgemat.verify.lint.finding import ERROR, NOTE, WARNING, Place
from edgemat.verify.lint.rule import rule

LARGEST = 65504.0
SMALLEST_NORMAL = 2.0**-14
ROUNDING = 2.0**-11
"""Half a unit in the last place of float16, relative: what its rounding costs anyway."""
HEADROOM = 8.0
"""Images of a phone may exceed the calibration images by this factor before an overflow."""
_GPU = (
    "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/gpu/java/src/main/java/org/tensorflow/lite/gpu/"
    "GpuDelegateFactory.java"
)
_OVERFLOW = "Beyond 65504 a half becomes infinite, infinities become NaN, and the matte goes black or white."


def _measured(facts: Facts, half: str) -> Measured | None:
    return facts.measured if facts.half == half else None


def _peaks(measured: Measured) -> Iterator[tuple[str, float]]:
    seen: set[str] = set()
    for peak in measured.peaks:
        seen.add(peak.tensor)
        yield peak.tensor, peak.value
    yield from ((s.tensor, s.result) for s in measured.sums if s.tensor not in seen)


def _beyond(measured: Measured) -> Iterator[Place]:
    for tensor, value in _peaks(measured):
        if not value <= LARGEST:
            found = f"peaks at {value:.4g} on {measured.images} images; float16 ends at 65504"
            yield Place(found, tensor=tensor)


def _running(measured: Measured) -> Iterator[Place]:
    for sums in measured.sums:
        if sums.result <= LARGEST < sums.running:
            found = (
                f"a running sum of its products can reach {sums.running:.4g} on {measured.images} images "
                f"though it ends within {sums.result:.4g} (sum of magnitudes {sums.absolute:.4g})"
            )
            yield Place(found, sums.op, sums.tensor)


@rule(
    "EM030",
    "half-overflow",
    ERROR,
    "An activation is beyond float16 in an artefact that computes in it.",
    why=_OVERFLOW,
    fix="Rescale the layer (its weights down, the next one's up), or export this target with --precision fp32.",
)
def overflow(facts: Facts) -> Iterator[Place]:
    """Yield tensors whose peak on real images is beyond 65504."""
    if (measured := _measured(facts, HALF)) is not None:
        yield from _beyond(measured)


@rule(
    "EM031",
    "half-running-sum",
    WARNING,
    "A convolution's running sum can leave float16 although its result does not.",
    why="Units that add up in float16 overflow on the way; which order they add in is not documented.",
    fix="Rescale the weights of the layer, or split the convolution, so that fewer products add up.",
)
def running(facts: Facts) -> Iterator[Place]:
    """Yield convolutions whose positive or negative products alone add up beyond 65504."""
    if (measured := _measured(facts, HALF)) is not None:
        yield from _running(measured)


@rule(
    "EM032",
    "half-on-gpu",
    NOTE,
    "A float32 or integer artefact would leave float16 where a GPU runs it in half precision.",
    why="LiteRT's GPU delegate computes in float16 by default in its Java and Kotlin interface, OpenVINO's GPU plugin "
    "too. " + _OVERFLOW,
    fix="Rescale the layer, or forbid the loss of precision on the GPU (setPrecisionLossAllowed(false)).",
    source=_GPU,
)
def on_gpu(facts: Facts) -> Iterator[Place]:
    """Yield what EM030 and EM031 look for, in an artefact that a GPU may run in half precision."""
    if (measured := _measured(facts, MAY)) is not None:
        yield from _beyond(measured)
        yield from _running(measured)


@rule(
    "EM033",
    "half-headroom",
    NOTE,
    "A tensor comes close to the end of float16.",
    why="Other images than the calibration images may go beyond it, and what then happens is an overflow.",
    fix="Look at brighter, noisier and stranger images, or rescale the layer.",
)
def headroom(facts: Facts) -> Iterator[Place]:
    """Yield tensors and running sums within `HEADROOM` of 65504."""
    if facts.measured is None or facts.half == NEVER:
        return
    for tensor, value in _peaks(facts.measured):
        if LARGEST / HEADROOM < value <= LARGEST:
            yield Place(f"peaks at {value:.4g}, {LARGEST / value:.2g} times below the end of float16", tensor=tensor)
    for sums in facts.measured.sums:
        if sums.result <= LARGEST / HEADROOM < sums.running <= LARGEST:
            found = f"a running sum reaches {sums.running:.4g}, {LARGEST / sums.running:.2g} times below 65504"
            yield Place(found, sums.op, sums.tensor)


@rule(
    "EM034",
    "subnormal-scale",
    WARNING,
    "A scale is below the smallest normal float16 in an artefact that keeps or uses it in half precision.",
    why="Float16 has few bits left there, and many GPUs flush it to zero: all codes of the tensor then mean 0.",
    fix="Widen the range of the tensor, or rescale its layer.",
)
def subnormal_scale(facts: Facts) -> Iterator[Place]:
    """Yield codes whose smallest scale is below 2^-14."""
    if facts.half == NEVER:
        return
    for name, value in facts.values.items():
        grid = value.quantization
        if grid is None or value.kind in ("int32", "int64") or not grid.scales.size:
            continue  # a bias: its scale is a product that no GPU computes with
        small = grid.scales[(grid.scales > 0) & (grid.scales < SMALLEST_NORMAL)]
        if small.size:
            words = f"{small.size} of {grid.scales.size} scales below 6.1e-05, the smallest {small.min():.3g}"
            level = WARNING if facts.half == HALF else NOTE
            yield Place(words, tensor=name, level=level)


@rule(
    "EM035",
    "subnormal-weights",
    WARNING,
    "Weights that float16 would flush to zero make up a part of a channel that its rounding does not explain.",
    why="Many GPUs and NPUs take subnormal halves (below 6.1e-05) for zero: a channel loses this share of its weight.",
    fix="Rescale the channel: its weights up, and down what reads it.",
)
def subnormal_weights(facts: Facts) -> Iterator[Place]:
    """Yield weights of which a channel loses more than half a unit in the last place of a half."""
    if facts.half == NEVER:
        return
    for weighted in facts.weighted:
        rest = tuple(axis for axis in range(weighted.weight.ndim) if axis != weighted.axis)
        sizes = np.abs(weighted.weight.astype(np.float64))
        whole, lost = sizes.sum(rest), np.where(sizes < SMALLEST_NORMAL, sizes, 0.0).sum(rest)
        share = np.divide(lost, whole, out=np.zeros_like(lost), where=whole > 0)
        bad = int((share > ROUNDING).sum())
        if bad:
            words = f"{bad} of {share.size} channels lose up to {share.max():.2%} of their weights' magnitude"
            yield Place(words, weighted.op, weighted.name, level=WARNING if facts.half == HALF else NOTE)


@rule(
    "EM036",
    "weight-beyond-half",
    ERROR,
    "A weight, or another constant, is beyond float16 or not finite.",
    why=_OVERFLOW,
    fix="Rescale the layer, or export this target with --precision fp32.",
)
def weights_beyond(facts: Facts) -> Iterator[Place]:
    """Yield constants that are not finite, or beyond 65504 where half precision is computed in."""
    for name, value in facts.values.items():
        constant = value.constant
        if constant is None or constant.dtype.kind != "f" or not constant.size:
            continue
        strange = int((~np.isfinite(constant)).sum())
        peak = float(np.abs(constant.astype(np.float64)).max(where=np.isfinite(constant), initial=0.0))
        if strange:
            yield Place(f"{strange} of {constant.size} values are NaN or infinite", tensor=name)
        elif peak > LARGEST and facts.half != NEVER:
            yield Place(f"peaks at {peak:.4g}", tensor=name, level=ERROR if facts.half == HALF else NOTE)
