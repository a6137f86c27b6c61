"""A network on its integer grid, trainable: every unit of the graph computes on what codes stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.model.student import Student, StudentConfig
from edgemat.quantize import rules
from edgemat.quantize.graph import Graph, Node
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.rules import Unit
from edgemat.train.fakequant import Geometry, convolve, fake_quantize, open_quantize

_EXACT = ("DepthToSpace",)
"""Operators whose output is codes already: they move values and compute none."""


_JOINS: dict[str, Callable[..., Tensor]] = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}


class QuantizedNet(nn.Module):
    """The units of a graph in torch, on a grid whose scales are parameters beside weights and biases.

    Scales are held as logarithms, so that one learning rate fits scales of any size and none can become negative.

    In training, biases are float and the output is open: rounded inside its range and as it is beyond, so that a leaky
    loss can lead a pixel back. In evaluation it computes what the integer file will: biases rounded to their
    accumulator's scale, every tensor clipped to its codes.

    Zero points are those of the initial grid: a signed tensor's range grows and shrinks about 0 in proportion. Tensors
    of one group share one parameter; what the rules fix (1/255) is no parameter.
    """

    def __init__(self, graph: Graph, grid: Grid, half_gradients: bool = False) -> None:
        """Build the network.

        Args:
            graph: Float, of a student.
            grid: Where the scales begin; nothing kept in float.
            half_gradients: Compute the gradients of convolutions in bfloat16.

        Raises:
            InputError: The grid breaks a rule or keeps nodes in float.
            UnsupportedOpError: A node is none that students are made of.
        """
        super().__init__()
        wrong = rules.complaints(graph, grid) + [f"{name}: kept in float" for name in sorted(grid.kept)]
        if wrong:
            raise InputError("training on the integer grid: the grid cannot be trained" + rules.first(wrong))
        self.graph, self.scheme, self.half_gradients = graph, grid.scheme, half_gradients
        self._units = rules.units(graph)
        self._operators = _operators(graph, self._units)
        self._fixed, self._tops = rules.fixed(graph, grid.scheme), rules.bounds(graph)
        self._leader = {name: names[0] for names in rules.groups(graph) for name in names}
        self._zeros = {name: params.zero_point for name, params in grid.activations.items()}
        self._shown: set[str] = set(graph.outputs)  # the tensors that are the output, or become it unchanged
        for unit in reversed(self._units):
            if unit.node.op in _EXACT and unit.output in self._shown:
                self._shown |= set(unit.inputs)
        self.weights, self.biases, self.channels = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self.scales = nn.ParameterDict()
        for unit in self._units:
            if unit.weight:
                self.weights[_key(unit.weight)] = _parameter(graph.constants[unit.weight])
                scales = np.log(grid.weights[unit.weight]).reshape(-1, 1, 1, 1)
                self.channels[_key(unit.weight)] = _parameter(scales)
                none = np.zeros(len(scales), np.float32)  # exporters leave a bias of zeros out
                self.biases[_bias(unit)] = _parameter(graph.constants[unit.bias] if unit.bias else none)
        for name in sorted(set(self._leader.values()) - set(self._fixed)):
            self.scales[_key(name)] = _parameter(np.float32(math.log(grid.activations[name].scale)))

    def steps(self) -> tuple[nn.Parameter, ...]:
        """Return the parameters that are step sizes, as logarithms: activations' first, then weights' channels."""
        return (*self.scales.values(), *self.channels.values())

    def logits(self, image: Tensor) -> Tensor:
        """Return alpha, open beyond [0, 1] in training.

        Args:
            image: RGB, float32, (N, 3, H, W), codes / 255.

        Returns:
            float32, (N, 1, H, W): codes / 255 inside [0, 1].
        """
        with torch.autocast(image.device.type, enabled=False):  # bfloat16 holds no 8-bit codes with their scales
            (name,) = self.graph.inputs
            # Already codes / 255; the last bit that their scale's float32 makes of them matters to no gradient.
            known = image if self.training else fake_quantize(image, self._scale(name), *self._ends(name))
            values = {name: known}
            for unit in self._units:
                values[unit.output] = self._run(unit, values)
        return values[self.graph.outputs[0]]

    def forward(self, image: Tensor) -> Tensor:
        """Return alpha, float32, (N, 1, H, W), in [0, 1]."""
        return self.logits(image).clamp(0.0, 1.0)

    def _run(self, unit: Unit, values: Mapping[str, Tensor]) -> Tensor:
        """Compute one unit on the reals of its inputs' codes."""
        inputs = [values[name] for name in unit.inputs]
        if unit.node.op == "Resize" and not self.training:
            return self._interpolated(unit, inputs[0])
        y = self._convolved(unit, inputs[0]) if unit.weight else self._operators[unit.output](*inputs)
        if unit.node.op in _EXACT:
            return y
        params = self._ends(unit.output)
        if self.training and unit.output in self._shown:
            return open_quantize(y, self._scale(unit.output), *params)
        if unit.activation is not None and params[0] != 0:  # where codes begin at 0, saturation is the activation
            y = y.clamp(0.0, rules.upper_bound(self.graph, unit.activation))
        return fake_quantize(y, self._scale(unit.output), *params)

    def _interpolated(self, unit: Unit, x: Tensor) -> Tensor:
        """Interpolate codes, so that values half-way between two, which are many, are seen as such and go to even."""
        scale, (low, high) = self._scale(unit.output), self._ends(unit.output)
        between = self._operators[unit.output](torch.round(x / scale))
        return torch.round(between).clamp(low, high) * scale

    def _convolved(self, unit: Unit, x: Tensor) -> Tensor:
        limit, key = self.scheme.weight_limit, _key(unit.weight)
        weight = fake_quantize(self.weights[key], self.channels[key].exp(), -limit, limit)
        bias = self.biases[_bias(unit)]
        if not self.training:
            bias = self._rounded(unit, bias)
        return convolve(x, weight, bias, _geometry(unit.node), self.half_gradients and self.training)

    def _rounded(self, unit: Unit, bias: Tensor) -> Tensor:
        """Return what a bias's codes stand for; products and quotients as `edgemat.quantize.grid` takes them."""
        scales = self._scale(unit.inputs[0]) * self.channels[_key(unit.weight)].exp().flatten()
        rounded: Tensor = torch.round(bias.double() / scales.double()) * scales.double()
        return rounded.float()

    def _scale(self, name: str) -> Tensor:
        leader = self._leader[name]
        if leader in self._fixed:
            return torch.tensor(self._fixed[leader].scale, device=next(iter(self.weights.values())).device)
        scale: Tensor = self.scales[_key(leader)].exp()
        if name not in self._tops:
            return scale
        return scale.clamp(max=self._tops[name] / self._ends(name)[1])  # codes end at the Clip's bound or below

    def _ends(self, name: str) -> tuple[int, int]:
        """Return the smallest and the largest code less the zero point."""
        low, high = self.scheme.limits
        return low - self._zeros[name], high - self._zeros[name]

    @torch.no_grad()
    def grid(self, passport: Mapping[str, object]) -> Grid:
        """Return the scales as they are now.

        Args:
            passport: Where they come from.
        """
        low, high = self.scheme.limits
        activations = {
            name: self._fixed.get(name) or QParams(float(self._scale(name)), self._zeros[name], low, high)
            for name in self._leader
        }
        scales = {
            unit.weight: self.channels[_key(unit.weight)].exp().flatten().cpu().numpy()
            for unit in self._units
            if unit.weight
        }
        return Grid(self.scheme, activations, scales, passport=passport)

    @torch.no_grad()
    def student(self, config: StudentConfig) -> Student:
        """Return the deployed student that has these weights, as they are before they become codes.

        Args:
            config: Of the student whose graph this is.
        """
        net = Student(config).deploy()
        tensors = {_name(key): value.cpu() for part in (self.weights, self.biases) for key, value in part.items()}
        net.load_state_dict(tensors)
        return net


def _key(name: str) -> str:
    """Return a tensor's name as torch takes it for a parameter: without a dot."""
    return name.replace(".", ":")


def _bias(unit: Unit) -> str:
    """Return the key of a unit's bias, by its module: exporters leave zeros out and let equal ones be one tensor."""
    return _key(f"{unit.node.name}.bias")


def _name(key: str) -> str:
    return key.replace(":", ".")


def _parameter(value: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float32))


def _geometry(node: Node) -> Geometry:
    get = node.attributes.get
    pads, strides, dilations = get("pads", (0, 0, 0, 0)), get("strides", (1, 1)), get("dilations", (1, 1))
    return Geometry(tuple(strides), tuple(pads[:2]), tuple(dilations), int(get("group", 1)))


def _operators(graph: Graph, units: tuple[Unit, ...]) -> dict[str, Callable[..., Tensor]]:
    """Return what computes each unit without a weight, by its output.

    Raises:
        UnsupportedOpError: All nodes that are none of a student's.
    """
    found, refused = {}, []
    for unit in units:
        if unit.node.op == "Conv":
            pads = unit.node.attributes.get("pads", [0, 0, 0, 0])
            if list(pads[:2]) != list(pads[2:]) or unit.node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
                refused.append(f"{unit.node.name} (Conv): pads {pads}, expected the same at both ends")
            continue
        operator = _operator(graph, unit)
        if operator is None:
            refused.append(f"{unit.node.name} ({unit.node.op}): no operator that students are made of")
        else:
            found[unit.output] = operator
    if refused:
        raise UnsupportedOpError("\n  ".join(["training on the integer grid: nodes cannot be trained", *refused]))
    return found


def _operator(graph: Graph, unit: Unit) -> Callable[..., Tensor] | None:
    """Return one operator; None where it, or one of its attributes, is none of a student's."""
    node, how = unit.node, unit.node.attributes
    if node.op in rules.JOINING and len(unit.inputs) == 2:
        return _JOINS[node.op]
    if node.op == "DepthToSpace" and how.get("mode") == "CRD":
        return lambda x, side=int(how["blocksize"]): functional.pixel_shuffle(x, side)
    if node.op == "Resize" and (how.get("mode"), how.get("coordinate_transformation_mode")) == ("linear", "half_pixel"):
        before, after = graph.shapes[unit.inputs[0]][2:], graph.shapes[unit.output][2:]
        factors = tuple(b / a for a, b in zip(before, after, strict=True))
        return lambda x: functional.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)
    return None
