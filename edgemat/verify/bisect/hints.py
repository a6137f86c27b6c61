"""The likeliest cause of a difference, in a few words: a mistake that makes it exactly, a pattern, or where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgemat.verify.bisect import hypotheses, patterns, segment
from edgemat.verify.bisect.segment import Segment
from edgemat.verify.diagnose import HINTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from onnx import ModelProto

    from edgemat.quantize.grid import Codes
    from edgemat.quantize.reference import Reference
    from edgemat.verify.bisect.floats import FloatReference, Residual

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.floating]
_EXPLAINED = 0.1
"""Deviation of the channels' offsets, over their own spread, that a shift of the image may leave."""
_FACTOR = 2e-3
"""Smallest deviation of a factor from 1 that is called one: codes hide less."""
_SEEN = 64
"""Values that a factor is fitted to, at least."""
_LEFT = 0.5
"""Share of the squared difference that a factor may leave: where weights are codes, it moves each by whole codes."""
_NOTICEABLE = 1e-3
"""Smallest shift of an image in [0, 1] that is called one: a quarter of a code of its pixels."""
_ROUND = 2.0
"""Codes that the reals of a hypothesis may be off where an integer runtime rounds between them."""


def source_of(compared: FloatReference, tensor: str, shown: Set[str]) -> tuple[str, str]:
    """Return operators and names of the nodes that make a float tensor from those that are shown."""
    if tensor in compared.graph.inputs:
        return "Input", tensor
    if not shown:  # the whole trunk made it
        node = next(node for node in compared.graph.nodes if tensor in node.outputs)
        return node.op, node.name
    return segment.before(compared.model, compared.graph, tensor, shown).source


def of_float(compared: FloatReference, tensor: str, residual: Residual, fed: Mapping[str, Floats]) -> str:
    """Return what the difference of a float tensor looks like.

    Args:
        compared: What it was compared with.
        tensor: Made by one of the trunk's nodes.
        residual: Its own.
        fed: What the artefact shows of the same image, the image as float32 (1, 3, H, W) among it.
    """
    if residual.found.shape != residual.expected.shape:
        return ""
    if not (np.isfinite(residual.found).all() and np.isfinite(residual.expected).all()):
        return patterns.guess(residual)
    made = segment.before(compared.model, compared.graph, tensor, fed.keys())
    found, near = residual.found.astype(np.float64), 4.0 * residual.limit

    def misfit(other: Floats) -> tuple[float, float]:
        if other.shape != found.shape:
            return np.inf, 0.0
        difference = np.abs(found - other)
        # the limit is the trunk's own: an altered sum may be larger, and round by more
        close = difference <= near + 1e-6 * np.abs(other).max()
        return float(difference.mean()), float(close.mean())

    mistake = hypotheses.explain(made, fed, misfit)
    active = (residual.found != 0.0) & (residual.expected != 0.0)  # an activation cuts the others
    shifted = _shifted(made, found, residual.expected.astype(np.float64), active)
    pattern = mistake or shifted or patterns.guess(residual)
    return pattern or _scaled(made, fed, found, active) or _look(made)


def of_codes(
    model: ModelProto, compared: Reference, tensor: str, expected: Codes, codes: Mapping[str, Codes], guessed: str
) -> str:
    """Return what the difference of an integer tensor looks like.

    Args:
        model: The trunk.
        compared: What it was compared with.
        tensor: Made by one of the trunk's units.
        expected: The codes that the reference makes.
        codes: All that the artefact shows of the same image.
        guessed: What the pattern of its codes says already.
    """
    made = segment.before(model, compared.graph, tensor, codes.keys())
    params, found = compared.grid.activations, codes[tensor]
    fed = {name: params[name].reals(codes[name]) for name in made.inputs}
    own = params[tensor]

    def misfit(other: Floats) -> tuple[float, float]:
        if other.shape != found.shape:
            return np.inf, 0.0
        difference = np.abs(found.astype(np.float64) - own.codes(other))
        return float(difference.mean()), float((difference <= _ROUND).mean())

    if mistake := hypotheses.explain(made, fed, misfit):
        return mistake
    if found.ndim == 4 and (moved := patterns.order(found.astype(np.float64), expected.astype(np.float64), _ROUND)):
        return moved
    ends = (own.low, own.high)
    active = ~np.isin(found, ends) & ~np.isin(expected, ends)
    reals = own.reals(found)
    shifted = _shifted(made, reals, own.reals(expected), active)
    return shifted or _scaled(made, fed, reals, active) or guessed or _look(made)


def _shifted(made: Segment, found: Reals, expected: Reals, active: npt.NDArray[np.bool_]) -> str:
    """Return by how much the image seems to be shifted, where that explains each channel's offset."""
    conv = made.nodes[0]
    if conv.op_type != "Conv" or conv.input[0] not in made.graph.inputs or conv.input[1] not in made.graph.constants:
        return ""
    kernel = made.graph.constants[conv.input[1]].sum((2, 3)).astype(np.float64)
    difference = found[0].astype(np.float64) - expected[0]
    seen = active[0].reshape(len(difference), -1).any(1)
    if seen.sum() <= kernel.shape[1]:
        return ""
    offsets = np.array([d[a].mean() for d, a in zip(difference[seen], active[0][seen], strict=True)])
    shift, *_ = np.linalg.lstsq(kernel[seen], offsets, rcond=None)
    left = offsets - kernel[seen] @ shift
    if left.std() > _EXPLAINED * offsets.std() or np.abs(shift).max() < _NOTICEABLE:
        return ""
    return f"its input is shifted by {', '.join(f'{value:+.2g}' for value in shift)}: the mean, or the input's bias"


def _scaled(made: Segment, fed: Mapping[str, Floats], found: Reals, active: npt.NDArray[np.bool_]) -> str:
    """Return what a convolution's sums are multiplied by, where one factor explains most of the difference."""
    conv, rest = made.nodes[0], made.nodes[1:]
    constants = made.graph.constants
    bias = constants.get(conv.input[2]) if len(conv.input) > 2 else None
    if conv.op_type != "Conv" or bias is None or any(node.op_type not in ("Relu", "Clip") for node in rest):
        return ""
    alone = Segment(made.graph, made.model, (conv,), made.inputs, conv.output[0])
    sums = (alone.run(fed)[0].astype(np.float64) - bias[:, None, None])[active[0]]
    actual = (found[0].astype(np.float64) - bias[:, None, None])[active[0]]
    if len(sums) < _SEEN or not sums.any():
        return ""
    factor = float(sums @ actual / (sums @ sums))
    before, after = (float(np.square(actual - f * sums).sum()) for f in (1.0, factor))
    if abs(factor - 1.0) < _FACTOR or after > _LEFT * before:
        return ""
    return f"the sums are about {factor:.4g} times what they should be: the weight, or its scale"


def _look(made: Segment) -> str:
    hint = next((HINTS[node.op_type] for node in made.nodes if node.op_type in HINTS), "")
    return f"no known pattern; look at {hint}" if hint else ""
