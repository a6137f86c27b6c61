"""The rules of the integer grid, stated once: what gets a scale, what shares one, what is fixed, what must hold.

1. A network is a chain of units: an operator with the Relu or Clip that alone follows it. Every tensor that passes from
   one unit to another has exactly one scale; the ends, ``image`` and ``alpha``, too.
2. Operators that only move, select or interpolate values (`SAME_SCALE`) share one scale between input and output.
3. Pixels are codes: ``image`` has scale 1/255. A final Clip to [0, 1] has 1/255 likewise, a Sigmoid 1/256 (TFLite's
   rule), each starting at the smallest code.
4. Where a Relu's or Clip's tensor starts at the smallest code, saturation *is* the Relu, and no backend computes one. A
   Clip's upper bound is where codes end, or above.
5. Weights are symmetric, one scale an output channel. A bias has the scale of its sum: the input's times the weight's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgemat.errors import UnsupportedOpError
from edgemat.quantize.graph import Graph, Node
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.scheme import Scheme

WEIGHTED = {"Conv": 0, "ConvTranspose": 1}
"""Operators with a weight, and the axis of its output channels."""
JOINING = ("Add", "Sub", "Mul")
"""Operators of two activations, each on its own scale."""
SAME_SCALE = ("AveragePool", "DepthToSpace", "Identity", "MaxPool", "Pad", "Resize", "SpaceToDepth")
FREE = ("Clip", "Concat", "GlobalAveragePool", "Relu", "Sigmoid")
"""Operators whose output has a scale of its own."""
FUSING = (*WEIGHTED, *JOINING)
"""Operators that a Relu or Clip behind them is fused into."""
_PIXEL = float(np.float32(1.0 / 255.0))


@dataclass(frozen=True, eq=False)
class Unit:
    """One integer operator: a node with the activation that is fused into it.

    Attributes:
        node: The operator.
        activation: The Relu, or Clip from 0, that alone follows it; None where there is none.
        inputs: The tensors that it reads, constants left out.
        output: The tensor that it makes, after the activation.
    """

    node: Node
    activation: Node | None
    inputs: tuple[str, ...]
    output: str

    @property
    def weight(self) -> str:
        """Name of the weight; empty where the operator has none."""
        return self.node.given(1) if self.node.op in WEIGHTED else ""

    @property
    def bias(self) -> str:
        """Name of the bias; empty where there is none."""
        return self.node.given(2) if self.node.op in WEIGHTED else ""


def units(graph: Graph) -> tuple[Unit, ...]:
    """Return the units of a float graph, in its order."""
    fused: dict[str, Node] = {}
    for node in graph.nodes:
        follower = graph.only_consumer(node.outputs[0]) if node.op in FUSING else None
        if follower is not None and upper_bound(graph, follower) is not None:
            fused[node.outputs[0]] = follower
    absorbed = {node.outputs[0] for node in fused.values()}
    found = []
    for node in graph.nodes:
        if node.outputs[0] in absorbed:
            continue
        activation = fused.get(node.outputs[0])
        inputs = tuple(name for name in node.inputs if name and name not in graph.constants)
        found.append(Unit(node, activation, inputs, (activation or node).outputs[0]))
    return tuple(found)


def upper_bound(graph: Graph, node: Node) -> float | None:
    """Return where a Relu (infinity) or a Clip from 0 with constant bounds ends; None for any other node."""
    if node.op == "Relu":
        return float("inf")
    if node.op != "Clip" or (low := graph.constants.get(node.given(1))) is None or float(low) != 0.0:
        return None
    if not node.given(2):
        return float("inf")
    high = graph.constants.get(node.given(2))
    return None if high is None else float(high)


def tensors(graph: Graph) -> tuple[str, ...]:
    """Return the tensors that have a scale: the graph's input, then the output of every unit."""
    return (*graph.inputs, *(unit.output for unit in units(graph)))


def groups(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Return the tensors of `tensors`, those that share a scale together, in order."""
    leader = {name: name for name in tensors(graph)}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for unit in units(graph):
        if unit.node.op in SAME_SCALE:
            leader[find(unit.output)] = find(unit.inputs[0])
    members: dict[str, list[str]] = {}
    for name in leader:
        members.setdefault(find(name), []).append(name)
    return tuple(tuple(names) for names in members.values())


def fixed(graph: Graph, scheme: Scheme) -> dict[str, QParams]:
    """Return the tensors whose scale no calibration chooses, with it: rule 3, and all that share with them."""
    low, high = scheme.limits
    pixel, sigmoid = QParams(_PIXEL, low, low, high), QParams(1.0 / 256.0, low, low, high)
    seeds = {name: pixel for name in graph.inputs}
    outputs = {name for group in groups(graph) if set(group) & set(graph.outputs) for name in group}
    for unit in units(graph):
        clip = unit.activation or unit.node
        if unit.node.op == "Sigmoid":
            seeds[unit.output] = sigmoid
        elif unit.output in outputs and clip.op == "Clip" and upper_bound(graph, clip) == 1.0:
            seeds[unit.output] = pixel
    found: dict[str, QParams] = {}
    for group in groups(graph):
        for seed in (name for name in group if name in seeds):
            found |= dict.fromkeys(group, seeds[seed])
            break
    return found


def starts_at_zero(graph: Graph) -> frozenset[str]:
    """Return the tensors that are never negative because a fused Relu or Clip makes them, with all that share."""
    makers = {unit.output for unit in units(graph) if unit.activation is not None}
    return frozenset(name for group in groups(graph) if makers & set(group) for name in group)


def bounds(graph: Graph) -> dict[str, float]:
    """Return, for each tensor of a fused Clip (and all that share its scale), the bound that codes may not exceed."""
    tops: dict[str, float] = {}
    for group in groups(graph):
        found = [
            bound
            for unit in units(graph)
            if unit.output in group and unit.activation is not None
            if (bound := upper_bound(graph, unit.activation)) is not None and np.isfinite(bound)
        ]
        if found:
            tops |= dict.fromkeys(group, min(found))
    return tops


def is_absorbed(unit: Unit, params: QParams) -> bool:
    """Return whether saturation does what the unit's activation does (rule 4), so that no backend computes it."""
    return unit.activation is not None and params.zero_point == params.low


def refuse(graph: Graph, kept: frozenset[str], origin: str) -> None:
    """Raise unless every node outside ``kept`` can be quantized.

    Raises:
        UnsupportedOpError: All nodes that cannot be, with the reason.
    """
    lines = [f"{unit.node.name} ({unit.node.op}): {why}" for unit, why in _refused(graph, kept)]
    if lines:
        keep = " ".join(f"--keep {line.split(' ')[0]}" for line in lines)
        head = f"{origin}: {len(lines)} nodes cannot be quantized; leave them in float with {keep}"
        raise UnsupportedOpError("\n  ".join([head, *lines]))


def _refused(graph: Graph, kept: frozenset[str]) -> Iterator[tuple[Unit, str]]:
    for unit in units(graph):
        op, node = unit.node.op, unit.node
        if node.name in kept:
            continue
        if op not in (*FUSING, *SAME_SCALE, *FREE):
            yield unit, f"not among {', '.join(sorted((*FUSING, *SAME_SCALE, *FREE)))}"
        elif op in WEIGHTED and not {unit.weight, unit.bias} - {""} <= set(graph.constants):
            yield unit, "its weight or bias is computed by the graph, expected constants"
        elif op == "ConvTranspose" and node.attributes.get("group", 1) != 1:
            yield unit, "group other than 1"
        elif op in JOINING and len(unit.inputs) != 2:
            yield unit, "one operand is a constant; fold it into the convolution beside it"
        elif len(node.outputs) > 1:
            yield unit, "more than one output"


def complaints(graph: Graph, grid: Grid) -> list[str]:
    """Return in which ways a grid is not one for a graph; none when every rule holds.

    Args:
        graph: Float.
        grid: To be judged.
    """
    wanted, scheme = tensors(graph), grid.scheme
    lines = [f"{name}: no scale" for name in wanted if name not in grid.activations]
    lines += [f"{name}: has a scale, but is no tensor between units" for name in grid.activations if name not in wanted]
    lines += _unshared(graph, grid) + _ranges(graph, grid)
    for name, params in fixed(graph, scheme).items():
        found = grid.activations.get(name)
        if found not in (None, params):
            lines.append(f"{name}: {_words(found)}, expected {_words(params)}: fixed by the grid's rules")
    names = {unit.node.name for unit in units(graph)}
    lines += [f"{name}: kept in float, but no such node" for name in sorted(grid.kept - names)]
    return lines + _weights(graph, grid)


def _words(params: QParams | None) -> str:
    return "no scale" if params is None else f"scale {params.scale:.8g}, zero point {params.zero_point}"


def _unshared(graph: Graph, grid: Grid) -> list[str]:
    lines = []
    for group in groups(graph):
        found = {grid.activations[name] for name in group if name in grid.activations}
        if len(found) > 1:
            lines.append(f"{', '.join(group)}: {len(found)} scales, expected one that they share")
    return lines


def _ranges(graph: Graph, grid: Grid) -> list[str]:
    low, high = grid.scheme.limits
    ends, zeros, tops = fixed(graph, grid.scheme), starts_at_zero(graph), bounds(graph)
    lines = []
    for name, params in grid.activations.items():
        if (params.low, params.high) != (low, high):
            lines.append(f"{name}: codes {params.low} to {params.high}, expected {low} to {high} ({grid.scheme.name})")
        elif name in ends:
            continue
        elif grid.scheme.symmetric and params.zero_point != 0:
            lines.append(f"{name}: zero point {params.zero_point}, expected 0 ({grid.scheme.name})")
        elif not grid.scheme.symmetric and name in zeros and params.zero_point != low:
            lines.append(f"{name}: zero point {params.zero_point}, expected {low}: a Relu's range begins at 0")
        if name in tops and params.top > tops[name] * (1.0 + 1e-6):
            lines.append(f"{name}: codes end at {params.top:.6g}, expected at most the Clip's {tops[name]:g}")
    return lines


def _weights(graph: Graph, grid: Grid) -> list[str]:
    lines = []
    wanted: dict[str, int] = {}
    for unit in units(graph):
        if unit.weight and unit.node.name not in grid.kept and unit.weight in graph.constants:
            wanted[unit.weight] = graph.constants[unit.weight].shape[WEIGHTED[unit.node.op]]
    for name, channels in wanted.items():
        found = grid.weights.get(name)
        if found is None:
            lines.append(f"{name}: no scales")
        elif found.dtype != np.float32 or found.shape != (channels,) or not (np.isfinite(found) & (found > 0)).all():
            lines.append(f"{name}: scales {found.dtype} {found.shape}, expected {channels} positive float32")
    return lines + [f"{name}: has scales, but no integer operator reads it" for name in set(grid.weights) - set(wanted)]


def first(lines: Sequence[str], count: int = 10) -> str:
    """Return complaints as the end of an error, the first ``count`` and how many more."""
    more = [f"and {len(lines) - count} more"] if len(lines) > count else []
    return "\n  ".join(["", *lines[:count], *more])
