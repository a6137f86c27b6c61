"""The reference: what a network computes on its integer grid, in exact integer arithmetic, whatever the backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.quantize import _arithmetic as arithmetic
from edgemat.quantize import rules
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Codes, Grid, QParams, bias_codes, bias_scales, weight_codes
from edgemat.quantize.rounding import ROUNDINGS, Rounding
from edgemat.quantize.rules import Unit


class Reference:
    """A float graph and a grid, run in integers.

    Convolutions add up exactly; how sums become codes is stated by a `edgemat.quantize.rounding.Rounding`. Nodes that
    the grid keeps in float compute on reals, and their output is rounded to codes.

    Args:
        graph: Float, fixed shapes; never changed.
        grid: A scale for every tensor of `edgemat.quantize.rules.tensors`.
        rounding: Key of `edgemat.quantize.rounding.ROUNDINGS`: the runtime that is imitated.

    Raises:
        InputError: The grid lacks a scale.
        UnsupportedOpError: Nodes that cannot be computed in integers, all of them.
    """

    def __init__(self, graph: Graph, grid: Grid, rounding: str = "ideal") -> None:
        """Prepare the codes of weights and biases."""
        rules.refuse(graph, grid.kept, "the reference")
        self.graph, self.grid, self.rounding = graph, grid, ROUNDINGS[rounding]
        self.units = rules.units(graph)
        unknown = [f"{u.node.name} ({u.node.op}): {_unknown(u)}" for u in self.units if self._is_integer(u)]
        unknown = [line for line in unknown if not line.endswith(": ")]
        if unknown:
            raise UnsupportedOpError("\n  ".join(["the reference has no integer form of these nodes", *unknown]))
        missing = [name for name in rules.tensors(graph) if name not in grid.activations]
        missing += [u.weight for u in self.units if u.weight and self._is_integer(u) and u.weight not in grid.weights]
        if missing:
            raise InputError(
                f"the grid has no scale for {', '.join(missing[:5])} ({len(missing)} in all); "
                "quantize the network again with: edgemat quantize"
            )
        self._weights = {u.output: self._parameters(u) for u in self.units if u.weight and self._is_integer(u)}

    def _is_integer(self, unit: Unit) -> bool:
        return unit.node.name not in self.grid.kept

    def _rounding(self, unit: Unit) -> Rounding:
        return self.rounding if self._is_integer(unit) else ROUNDINGS["ideal"]

    def _parameters(self, unit: Unit) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
        """Return the codes of a unit's weight and bias."""
        axis, scales = rules.WEIGHTED[unit.node.op], self.grid.weights[unit.weight]
        weight = weight_codes(self.graph.constants[unit.weight], scales, axis, self.grid.scheme)
        bias = np.zeros(len(scales), np.int32)
        if unit.bias:
            accumulator = bias_scales(self.grid.activations[unit.inputs[0]], scales)
            bias = self.rounding.bias(bias_codes(self.graph.constants[unit.bias], accumulator), accumulator)
        return weight, bias

    def codes(self, image: npt.NDArray[np.uint8]) -> dict[str, Codes]:
        """Return the codes of every tensor, in order.

        Args:
            image: RGB, uint8, (H, W, 3).

        Returns:
            Names of `edgemat.quantize.rules.tensors` to int32, NCHW.

        Raises:
            InputError: The image has another size than the graph.
        """
        found = {self.graph.inputs[0]: self.image_codes(image)}
        for unit in self.units:
            found[unit.output] = self.step(unit, found)
        return found

    def image_codes(self, image: npt.NDArray[np.uint8]) -> Codes:
        """Return the codes of an image, RGB, uint8, (H, W, 3): int32, (1, 3, H, W).

        Raises:
            InputError: The image has another size than the graph.
        """
        name = self.graph.inputs[0]
        pixels = image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        if pixels.shape != tuple(self.graph.shapes[name]):
            wanted = "x".join(map(str, self.graph.shapes[name][2:]))
            raise InputError(f"an image of {image.shape[0]}x{image.shape[1]}, expected {wanted}; resize it first")
        return self.grid.activations[name].codes(pixels)

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        name = self.graph.outputs[0]
        params = self.grid.activations[name]
        return np.stack([params.reals(self.codes(image)[name][0, 0]) for image in images])

    def step(self, unit: Unit, inputs: Mapping[str, Codes]) -> Codes:
        """Return the codes that one unit makes of given ones.

        Args:
            unit: One of `units`.
            inputs: Codes of at least the tensors that it reads, int32, NCHW.
        """
        target = self.grid.activations[unit.output]
        operands = [inputs[name] for name in unit.inputs]
        if not self._is_integer(unit) and not _needs_no_float(unit):
            return self.rounding.encode(self._floating(unit, operands), target)
        codes = _OPS[unit.node.op](self, unit, operands)
        low, high = self._bounds(unit, target)
        return codes if (low, high) == (target.low, target.high) else np.clip(codes, low, high)

    def params(self, unit: Unit) -> tuple[list[QParams], QParams]:
        """Return the scales of a unit's inputs and of its output."""
        return [self.grid.activations[name] for name in unit.inputs], self.grid.activations[unit.output]

    def _bounds(self, unit: Unit, target: QParams) -> tuple[int, int]:
        """Return the codes between which a unit's activation, or a Relu or Clip itself, leaves its output."""
        node = unit.activation or unit.node
        if node.op == "Relu":
            return target.zero_point, target.high
        if node.op != "Clip":
            return target.low, target.high
        ends = []
        for position, end in ((1, target.low), (2, target.high)):
            bound = self.graph.constants.get(node.given(position))
            ends.append(end if bound is None else int(target.codes(np.asarray(bound, np.float32))))
        return ends[0], ends[1]

    # what each operator does, by its node

    def _conv(self, unit: Unit, operands: list[Codes]) -> Codes:
        (source,), target = self.params(unit)
        rounding, axis = self._rounding(unit), rules.WEIGHTED[unit.node.op]
        factors = self.grid.weights[unit.weight]
        values, weight, bias = rounding.operands(operands[0], *self._weights[unit.output], factors, axis, source)
        sums = self._sums(unit, values, weight) + bias[:, None, None]
        is_dense = unit.node.op == "Conv" and unit.node.attributes.get("group", 1) == 1
        return (rounding.sums if is_dense else rounding.sparse_sums)(sums, factors, source, target)

    def _sums(self, unit: Unit, values: npt.NDArray[Any], weight: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return a weighted unit's sums of products, of integers or of reals."""
        if unit.node.op == "Conv":
            window = self._window(unit, weight.shape[2:])
            return arithmetic.convolve(values, weight, window, unit.node.attributes.get("group", 1))
        shape = self.graph.shapes[unit.node.outputs[0]]
        return arithmetic.convolve_transposed(values, weight, unit.node, shape)

    def _window(self, unit: Unit, kernel: tuple[int, ...]) -> arithmetic.Window:
        shapes, node = self.graph.shapes, unit.node
        return arithmetic.Window.of(node, kernel, shapes[unit.inputs[0]], shapes[node.outputs[0]])

    def _join(self, unit: Unit, operands: list[Codes]) -> Codes:
        sources, target = self.params(unit)
        if unit.node.op == "Mul":
            return self._rounding(unit).multiply(operands[0], operands[1], sources, target)
        sign = -1 if unit.node.op == "Sub" else 1
        return self._rounding(unit).add(operands[0], operands[1], sources, target, sign)

    def _concat(self, unit: Unit, operands: list[Codes]) -> Codes:
        sources, target = self.params(unit)
        parts = [
            self._rounding(unit).rescale(codes, source, target) for codes, source in zip(operands, sources, strict=True)
        ]
        return np.concatenate(parts, unit.node.attributes["axis"])

    def _rescaled(self, unit: Unit, operands: list[Codes]) -> Codes:
        (source,), target = self.params(unit)
        return self._rounding(unit).rescale(operands[0], source, target)

    def _resize(self, unit: Unit, operands: list[Codes]) -> Codes:
        get, shape = unit.node.attributes.get, self.graph.shapes[unit.output]
        mode = get("coordinate_transformation_mode", "half_pixel")
        scales = self.graph.constants.get(unit.node.given(2), np.empty(0))
        sizes = [(operands[0].shape[axis], shape[axis]) for axis in (2, 3)]
        stated = scales[2:] if len(scales) == 4 else [count / size for size, count in sizes]
        rows, columns = (arithmetic.Taps(mode, *s, float(scale)) for s, scale in zip(sizes, stated, strict=True))
        if get("mode", "nearest") == "nearest":
            nearest = get("nearest_mode", "round_prefer_floor")
            return operands[0][:, :, rows.nearest(nearest)[:, None], columns.nearest(nearest)]
        return self._rounding(unit).resize(operands[0], rows, columns, self.grid.activations[unit.output])

    def _pool(self, unit: Unit, operands: list[Codes]) -> Codes:
        (source,), target = self.params(unit)
        window, codes = self._window(unit, tuple(unit.node.attributes["kernel_shape"])), operands[0]
        if unit.node.op == "MaxPool":
            largest: Codes = np.max(list(window.views(codes, source.low)), axis=0)
            return largest
        pads = tuple(unit.node.attributes.get("pads", (0, 0, 0, 0)))
        counted = bool(unit.node.attributes.get("count_include_pad", 0))
        reach = [codes.shape[2 + i] + (pads[2 + i] if counted else 0) for i in range(2)]
        places = window.views(np.ones((1, 1, *reach), np.int64), int(counted))
        counts = np.sum(list(places), axis=0)
        return self._rounding(unit).window_mean(list(window.views(codes - source.zero_point, 0)), counts, target)

    def _global_pool(self, unit: Unit, operands: list[Codes]) -> Codes:
        (source,), target = self.params(unit)
        axes = tuple(range(2, operands[0].ndim))
        sums = (operands[0] - source.zero_point).sum(axes, keepdims=True).astype(np.float64)
        return self._rounding(unit).mean(sums, operands[0][0, 0].size, source, target)

    def _sigmoid(self, unit: Unit, operands: list[Codes]) -> Codes:
        (source,), target = self.params(unit)
        return self._rounding(unit).sigmoid(operands[0], source, target)

    def _move(self, unit: Unit, operands: list[Codes]) -> Codes:
        stated = unit.node.attributes
        if unit.node.op == "DepthToSpace":
            return arithmetic.depth_to_space(operands[0], stated["blocksize"], stated.get("mode", "DCR"))
        if unit.node.op == "SpaceToDepth":
            return arithmetic.space_to_depth(operands[0], stated["blocksize"])
        return operands[0]

    def _pad(self, unit: Unit, operands: list[Codes]) -> Codes:
        node, params, rank = unit.node, self.grid.activations[unit.output], operands[0].ndim
        pads = self.graph.constants[node.given(1)].tolist()
        stated = self.graph.constants.get(node.given(3))
        axes = list(range(rank)) if stated is None else [int(axis) % rank for axis in stated]
        around = [(0, 0)] * rank
        for i, axis in enumerate(axes):
            around[axis] = (pads[i], pads[i + len(axes)])
        mode = node.attributes.get("mode", "constant")
        if mode != "constant":
            return np.pad(operands[0], around, mode=mode)
        value = np.asarray(self.graph.constants.get(node.given(2), 0.0), np.float32).reshape(())
        return np.pad(operands[0], around, constant_values=int(params.codes(value)))

    def _floating(self, unit: Unit, operands: list[Codes]) -> npt.NDArray[np.float32]:
        """Return what a unit that is kept in float makes, float32, its activation included."""
        (sources, _), round_ = self.params(unit), self.rounding.real
        reads = {name for node in filter(None, (unit.node, unit.activation)) for name in node.inputs}
        values: dict[str, Any] = {n: round_(v) for n, v in self.graph.constants.items() if n in reads}
        reals = [self.rounding.decode(codes, params) for codes, params in zip(operands, sources, strict=True)]
        values |= dict(zip(unit.inputs, reals, strict=True))
        for node in filter(None, (unit.node, unit.activation)):
            if node.op in rules.WEIGHTED and values[unit.weight].ndim == 4:
                made = self._sums(unit, values[unit.inputs[0]], values[unit.weight])
                made += values[unit.bias][:, None, None] if unit.bias else 0.0
            else:
                made = arithmetic.evaluated(node, values)
            values[node.outputs[0]] = round_(made.astype(np.float32))
        found: npt.NDArray[np.float32] = values[unit.output]
        return found


def _unknown(unit: Unit) -> str:
    """Return what of a unit the reference does not know; empty where it knows everything."""
    get = unit.node.attributes.get
    if unit.node.op == "Resize":
        if get("mode", "nearest") not in ("nearest", "linear") or get("antialias", 0) or get("exclude_outside", 0):
            return f"mode {get('mode')}, antialias {get('antialias', 0)}: expected nearest or linear, plain"
        mode = get("coordinate_transformation_mode", "half_pixel")
        return "" if mode in arithmetic.COORDINATES else f"coordinates {mode}: expected {arithmetic.COORDINATES}"
    return ""


def _needs_no_float(unit: Unit) -> bool:
    """Return whether integers give the same as float between codes: no weight, and every operand has codes."""
    known = unit.node.op in _OPS and unit.node.op not in rules.WEIGHTED
    return known and (unit.node.op not in rules.JOINING or len(unit.inputs) == 2) and not _unknown(unit)


_OPS: Mapping[str, Callable[[Reference, Unit, list[Codes]], Codes]] = {
    "Conv": Reference._conv,
    "ConvTranspose": Reference._conv,
    "Add": Reference._join,
    "Sub": Reference._join,
    "Mul": Reference._join,
    "Concat": Reference._concat,
    "Relu": Reference._rescaled,
    "Clip": Reference._rescaled,
    "Resize": Reference._resize,
    "MaxPool": Reference._pool,
    "AveragePool": Reference._pool,
    "GlobalAveragePool": Reference._global_pool,
    "Sigmoid": Reference._sigmoid,
    "DepthToSpace": Reference._move,
    "SpaceToDepth": Reference._move,
    "Identity": Reference._move,
    "Pad": Reference._pad,
}
assert set(_OPS) == {*rules.WEIGHTED, *rules.JOINING, *rules.SAME_SCALE, *rules.FREE}
