"""Integer artefacts: scales against the grid, zero points, channels, ranges that are dead or cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgemat.verify.lint.facts import Facts, Quantization, Value, plain
from edgemat.verify.lint.finding import ERROR, WARNING, Place
from edgemat.verify.lint.rule import rule

FEWEST_CODES = 32
"""A range that uses fewer of 256 codes on real images wastes three of its eight bits."""
MOST_BEYOND = 1e-2
"""Share of an activation's values that a range may cut before it is a finding."""
CUT_OVER_STEPS = 4.0
"""So many times the squared error of its steps may a weight's channel lose to its ends; least error loses about one."""
SIGMOIDS = ("LOGISTIC", "Sigmoid", "sigmoid")
MOVING = (
    *("DEPTH_TO_SPACE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RESHAPE", "TRANSPOSE", "DEQUANTIZE", "QUANTIZE"),
    *("DequantizeLinear", "QuantizeLinear", "DepthToSpace", "Resize", "Identity", "Cast"),
    *("dequantize", "quantize", "pixel_shuffle", "depth_to_space", "upsample_bilinear", "cast", "identity"),
)
"""Operators through which the largest value passes unchanged, or smaller."""


def _codes(facts: Facts) -> Iterator[tuple[Value, Quantization]]:
    for value in facts.values.values():
        if value.quantization is not None:
            yield value, value.quantization


@rule(
    "EM060",
    "off-grid",
    ERROR,
    "A tensor's scale or zero point is not the grid's.",
    why="The same network then computes otherwise on this platform than on all others.",
    fix="Export again with edgemat export, which carries the grid's scales.",
)
def off_grid(facts: Facts) -> Iterator[Place]:
    """Yield activations whose stated scale differs from the grid's, or that state none."""
    if facts.grid is None or not facts.scales:
        return
    for name, params in facts.grid.activations.items():
        if name not in facts.scales:
            yield Place("the file states no scale", tensor=name)
            continue
        scale, zero = facts.scales[name]
        if abs(scale - params.scale) > facts.lenience * params.scale:
            yield Place(f"scale {scale:.9g}, the grid has {params.scale:.9g}", tensor=name)
        if zero != params.zero_point:
            yield Place(f"zero point {zero}, the grid has {params.zero_point}", tensor=name)


@rule(
    "EM061",
    "no-scale",
    ERROR,
    "Codes have no scale, several where one is expected, or one that is not positive and finite.",
    why="Nothing says what the codes stand for; runtimes refuse the file or compute nonsense.",
    fix="Quantize the tensor again; an activation has one scale.",
)
def no_scale(facts: Facts) -> Iterator[Place]:
    """Yield 8-bit activations without one scale, and scales that are not positive."""
    made = {name for op in facts.ops for name in op.outputs} | set(facts.inputs)
    for value in facts.values.values():
        grid = value.quantization
        if grid is None:  # only TFLite states a scale with each tensor; elsewhere steps between codes and reals do
            if facts.form == "TFLite" and value.kind in ("int8", "uint8") and value.name in made:
                yield Place(f"{value.kind} without a scale", tensor=value.name)
            continue
        if not (np.isfinite(grid.scales) & (grid.scales > 0)).all():
            yield Place(f"a scale of {float(grid.scales.min()):.4g}", tensor=value.name)
        if value.constant is None and grid.scales.size != 1:
            yield Place(f"{grid.scales.size} scales of an activation, expected 1", tensor=value.name)


@rule(
    "EM062",
    "zero-point",
    ERROR,
    "A zero point is outside its type, or a weight's is not 0.",
    why="Zero has no code then, so that padding adds a constant; kernels with a scale a channel take no zero point.",
    fix="Quantize again: zero within the range, weights symmetric.",
    source="https://ai.google.dev/edge/litert/models/quantization_spec",
)
def zero_point(facts: Facts) -> Iterator[Place]:
    """Yield zero points that the type cannot hold, and those of signed weights that are not 0."""
    weights = {weighted.name for weighted in facts.weighted}
    for value, grid in _codes(facts):
        low, high = grid.limits
        outside = int(((grid.zeros < low) | (grid.zeros > high)).sum())
        if outside:
            strange = grid.zeros[(grid.zeros < low) | (grid.zeros > high)]
            yield Place(f"zero point {int(strange[0])} of {grid.kind}, expected {low} to {high}", tensor=value.name)
        elif value.constant is not None and grid.kind.startswith("int") and grid.zeros.any():
            is_weight = plain(value.name) in weights or grid.scales.size > 1 or grid.kind == "int32"
            if is_weight:
                yield Place(f"zero point {int(grid.zeros[grid.zeros != 0][0])}, expected 0", tensor=value.name)


@rule(
    "EM063",
    "weight-per-tensor",
    WARNING,
    "A convolution's weight has one scale for all its channels.",
    why="Channels of small weights then share the step of the largest: with depthwise ones, whole bits are lost.",
    fix="Quantize with a scale for each output channel, which all targets here take.",
)
def per_tensor(facts: Facts) -> Iterator[Place]:
    """Yield integer weights with fewer scales than output channels, where the channels differ."""
    for weighted in facts.weighted:
        channels, grid = weighted.weight.shape[weighted.axis], weighted.quantization
        if grid is None or grid.scales.size != 1 or channels == 1:
            continue
        rest = tuple(axis for axis in range(4) if axis != weighted.axis)
        peaks = np.abs(weighted.weight).max(rest)
        live = peaks[peaks > 0]
        if live.size and float(live.max() / live.min()) > 1.5:
            ratio = float(live.max() / live.min())
            found = f"one scale for {channels} channels, whose peaks differ by a factor of {ratio:.3g}"
            yield Place(found, weighted.op, weighted.name)


@rule(
    "EM064",
    "alpha-below-one",
    WARNING,
    "The matte ends in a quantized sigmoid, whose largest code stands for 255/256.",
    why="Alpha never reaches 1: a filter shines through everywhere, by 1/256, unless the app rescales.",
    fix="End the network in a clamp to [0, 1], whose scale is 1/255, or let the app divide by 255/256.",
    source="https://ai.google.dev/edge/litert/models/quantization_spec",
)
def below_one(facts: Facts) -> Iterator[Place]:
    """Yield outputs that a sigmoid makes whose codes end below 1."""
    for output in facts.outputs:
        name, seen = output, set()
        while (op := facts.maker(name)) is not None and op.kind in MOVING and name not in seen:
            seen.add(name)
            name = op.inputs[0]
        if op is None or op.kind not in SIGMOIDS:
            continue
        names = (output, name, *seen, *(r.outputs[0] for r in facts.readers(name)))
        grids = [facts.values[n].quantization for n in names if n in facts.values]
        tops = [float((g.limits[1] - g.zeros[0]) * g.scales[0]) for g in grids if g is not None and g.scales.size == 1]
        if tops and min(tops) < 1.0 - 1e-6:
            yield Place(f"the largest code stands for {min(tops):.6g}", op.label, output)


@rule(
    "EM065",
    "dead-range",
    WARNING,
    f"Fewer than {FEWEST_CODES} of an activation's codes are used on real images.",
    why="The scale is so large that most codes never occur: the tensor has few bits left, and steps show in the matte.",
    fix="Calibrate again with images like those of the app, or with a range that ignores outliers.",
)
def dead(facts: Facts) -> Iterator[Place]:
    """Yield activations of which few codes occur on the images."""
    if (measured := facts.measured) is None:
        return
    for use in measured.uses:
        if use.codes < FEWEST_CODES and use.of > FEWEST_CODES:
            found = f"{use.codes} of {use.of} codes on {measured.images} images, scale {use.scale:.4g}"
            yield Place(found, tensor=use.tensor)


@rule(
    "EM066",
    "saturated-range",
    WARNING,
    f"More than {MOST_BEYOND:.0%} of an activation's values lie beyond its codes on real images.",
    why="They are all cut to the same code: what differed there is gone.",
    fix="Calibrate again with images like those of the app, or train on the grid (edgemat train qat).",
)
def saturated(facts: Facts) -> Iterator[Place]:
    """Yield activations of which a share of the float network's values is beyond the codes by more than a step."""
    if (measured := facts.measured) is None:
        return
    for use in measured.uses:
        if use.beyond > MOST_BEYOND:
            found = f"{use.beyond:.1%} of the values on {measured.images} images are beyond, scale {use.scale:.4g}"
            yield Place(found, tensor=use.tensor)


@rule(
    "EM067",
    "weight-clipped",
    WARNING,
    "The scale of a weight's channel cuts its largest values, at a higher cost than its steps.",
    why="The largest weights carry the most; cut, they change what the channel computes. Scales of least error cut a "
    "little, where finer steps gain more than the cut loses; here the cut loses more.",
    fix="Quantize again with scales from the weights' peaks, or by least error.",
)
def clipped(facts: Facts) -> Iterator[Place]:
    """Yield weights of which a channel loses far more squared magnitude to its ends than to its steps."""
    known = {} if facts.trunk is None else {plain(w.name): w for w in facts.trunk.weighted}
    for weighted in facts.weighted:
        original, grid = known.get(plain(weighted.name)), weighted.quantization
        if grid is None or original is None or original.weight.shape != weighted.weight.shape:
            continue
        rest = tuple(axis for axis in range(4) if axis != weighted.axis)
        scale, wanted = _steps(grid, 4, weighted.axis).astype(np.float64), np.abs(original.weight.astype(np.float64))
        ends = grid.limits[1] * scale
        cut = np.square(np.maximum(wanted - ends, 0.0)).sum(rest)
        steps = np.broadcast_to(np.square(scale) / 12, wanted.shape).sum(rest)
        worst = int(np.argmax(cut / steps))
        if cut[worst] > CUT_OVER_STEPS * steps[worst]:
            peak, end = (float(np.broadcast_to(v, wanted.shape).max(rest)[worst]) for v in (wanted, ends))
            share = float((wanted > ends).mean(rest)[worst])
            found = f"channel {worst}: {share:.1%} of its values are cut, the largest from {peak:.4g} to {end:.4g}"
            yield Place(found, weighted.op, weighted.name)


def _steps(grid: Quantization, rank: int, axis: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a scale for each output channel, ready to be broadcast over a weight in ONNX's layout."""
    if grid.scales.size == 1:
        return np.full((1,) * rank, grid.scales[0], np.float32)
    return grid.scales.reshape([-1 if i == axis else 1 for i in range(rank)])
