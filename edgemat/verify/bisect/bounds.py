"""How far rounding alone may take a tensor: a graph that computes, beside every value, the bound of its error.

Each node gets a companion that carries a bound from its inputs to its output, value by value: the running error
analysis of Wilkinson. A sum of n products in floating point errs by at most ``lambda sqrt(n) u`` times the sum of the
magnitudes of its products, but for a probability that shrinks with exp(-lambda^2 / 2) (Higham and Mary, "A new approach
to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019), ``u`` being half the distance of 1 to the
next number. So a limit follows from the precision and from the sum itself, and no tolerance has to be guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from onnx import ModelProto, NodeProto, TensorProto

    from edgemat.quantize.graph import Graph, Node

GIVEN = "@given"
"""Ending of a tensor that is fed in place of the one that the graph makes."""
LIMIT = "@limit"
"""Ending of the bound of a tensor's error."""
_LAMBDA = 8.0
"""Higham and Mary's lambda: the share of sums beyond the bound is 2 n exp(-32), or n 1e-14.

Measured on untouched artefacts (docs/bisect.md): no difference is more than 1/10 of a float32 sum's bound; between
halves it reaches 1/2, which is the rounding of the result itself."""
_APPROXIMATED = 32.0
"""Units of rounding that a library's approximation of a transcendental function may be off by."""
_WEIGHTED = ("Conv", "ConvTranspose")
_AVERAGING = ("AveragePool", "GlobalAveragePool")
_SHAPING = ("Expand", "Flatten", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze")
_MOVING = ("DepthToSpace", "GlobalMaxPool", "Identity", "MaxPool", "SpaceToDepth", *_SHAPING)
_CONTRACTING = ("Abs", "Clip", "LeakyRelu", "Neg", "Relu", "Max", "Min")
_SMOOTH = ("HardSigmoid", "Sigmoid", "Tanh", "Softplus", "Erf", "HardSwish")


@dataclass(frozen=True)
class Precision:
    """What an artefact rounds to.

    Attributes:
        name: As users know it.
        stored: Largest relative rounding of a tensor between two operators.
        summed: Largest relative rounding inside a sum.
        pixels: Largest relative error of the pixels, once scaled.
        smallest: Absolute error that is always admissible: where the type loses bits, or is flushed to zero.
    """

    name: str
    stored: float
    summed: float
    pixels: float
    smallest: float


SINGLE = Precision("float32", 2.0**-24, 2.0**-24, 2.0**-22, 2.0**-126)
HALF = Precision("float16", 2.0**-11, 2.0**-24, 2.0**-9, 2.0**-24)
"""Sums in float32, as every runner of edgemat has them."""


def instrumented(
    model: ModelProto,
    graph: Graph,
    given: Set[str],
    precision: Precision,
    unsure: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> ModelProto:
    """Return a graph that makes each tensor from given ones, with the bound of what rounding may do on the way.

    Args:
        model: A trunk: float32, fixed shapes; it stays as it is.
        graph: The same.
        given: Tensors that are fed: input ``NAME@given``. Whoever reads NAME reads that, so that no difference before
            it counts.
        precision: Of the artefact.
        unsure: Constants, but for weights, that an artefact may hold a little differently, and by how much, value by
            value: files of halves hold a bias in either type.

    Returns:
        Inputs: the model's own, and those fed that a node reads. Outputs: every tensor of ``given`` that a node makes,
        as NAME and ``NAME@limit``: how far an artefact that rounds like ``precision`` may be from it, value by value.
    """
    import onnx

    writer = _Writer(graph, given, precision, unsure or {})
    for proto in model.graph.node:
        writer.node(proto)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    inner = result.graph
    del inner.node[:], inner.output[:], inner.value_info[:]
    inner.node.extend(writer.nodes)
    inner.initializer.extend(writer.tensors.values())
    made = [name for node in graph.nodes for name in node.outputs if name in given]
    kind = onnx.TensorProto.FLOAT
    read = {name for node in writer.nodes for name in node.input}
    fed = [name for name in graph.shapes if name in given and name + GIVEN in read]
    inner.input.extend(onnx.helper.make_tensor_value_info(n + GIVEN, kind, graph.shapes[n]) for n in fed)
    inner.output.extend(
        onnx.helper.make_tensor_value_info(name, kind, graph.shapes[n]) for n in made for name in (n, n + LIMIT)
    )
    return result


class _Writer:
    """Collects nodes: each of the graph's, then its companion."""

    def __init__(
        self, graph: Graph, given: Set[str], precision: Precision, unsure: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        self.graph, self.precision, self.unsure = graph, precision, unsure
        self.given = {name for name in given if name not in graph.inputs}
        self.by_output = {node.outputs[0]: node for node in graph.nodes}
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.limits: dict[str, str] = {}
        for name in graph.inputs:
            self.limits[name] = self.scaled(self.magnitude(name), precision.pixels, name + LIMIT)

    def node(self, proto: NodeProto) -> None:
        """Append a node, and the bounds of its outputs."""
        import onnx

        copy = onnx.NodeProto()
        copy.CopyFrom(proto)
        copy.input[:] = [self.read(name) for name in proto.input]
        self.nodes.append(copy)
        if proto.op_type == "Constant":
            return
        node = self.by_output[proto.output[0]]
        before = self._before(node, copy)
        for position, name in enumerate(node.outputs):
            parts = [*([before[position]] if before[position] else []), *self._own(node, name)]
            limit = self.op("Sum", parts, name + LIMIT) if parts else self.scaled(name, 0.0, name + LIMIT)
            if name not in self.given:
                self.limits[name] = limit

    def read(self, name: str) -> str:
        """Return what a reader of a tensor reads."""
        return name + GIVEN if name in self.given else name

    def limit(self, name: str) -> str:
        """Return the bound of what is read; empty where it is exact: a constant, or what was fed."""
        if name in self.unsure and name not in self.limits and self.unsure[name].any():
            self.limits[name] = self.constant(name + LIMIT, self.unsure[name])
        return "" if name in self.given else self.limits.get(name, "")

    # what a node's inputs' errors become

    def _before(self, node: Node, proto: NodeProto) -> list[str]:
        """Return the name of the bound that comes from the inputs and the sums, an output each; empty for none."""
        if node.op in _WEIGHTED and {*node.inputs[1:]} - {""} <= set(self.graph.constants):
            return [self._weighted(node, proto)]
        if node.op in _AVERAGING:
            return [self._through(proto, 0, self._mixed(node.inputs[0], self._sum_factor(node)))]
        if node.op == "Resize" and node.attributes.get("mode", "nearest") != "cubic":
            return [self._through(proto, 0, self._mixed(node.inputs[0], self._sum_factor(node)))]
        if node.op in ("Add", "Sub", "Sum", *_CONTRACTING, *_SMOOTH):
            found = [limit for name in node.inputs if (limit := self.limit(name))]
            return [self._like(found, node.outputs[0]) if found else ""]
        if node.op == "Mul":
            return [self._product(node)]
        if node.op in _MOVING or node.op == "Pad":
            source = self.limit(node.inputs[0])
            return [self._through(proto, 0, source) if source else ""]
        if node.op == "Concat":
            return [self._concat(proto, node)]
        return [self._unknown(node, name) for name in node.outputs]

    def _weighted(self, node: Node, proto: NodeProto) -> str:
        """Return |W| * (k |x| + e) + k' |b|: the errors of the inputs and of the sum, in one convolution."""
        import numpy as np
        import onnx

        k = self._sum_factor(node)
        weight = self.constant(f"{node.inputs[1]}@magnitude", np.abs(self.graph.constants[node.inputs[1]]))
        companion = onnx.NodeProto()
        companion.CopyFrom(proto)
        companion.input[:] = [self._mixed(node.inputs[0], k), weight]
        if bias := node.given(2):
            magnitudes = k * np.abs(self.graph.constants[bias]) + self.unsure.get(bias, np.float32(0.0))
            companion.input.append(self.constant(f"{node.outputs[0]}@bias", magnitudes))
        return self._copy(companion, 0)

    def _sum_factor(self, node: Node) -> float:
        """Return the error of a node's sums over the sum of its terms' magnitudes, for the two that are compared."""
        count = 1.0
        if node.op in _WEIGHTED:
            shape = self.graph.constants[node.inputs[1]].shape
            channels = shape[1] if node.op == "Conv" else shape[0] // node.attributes.get("group", 1)
            count = channels * math.prod(shape[2:]) + 1
        elif node.op == "AveragePool":
            count = math.prod(node.attributes["kernel_shape"])
        elif node.op == "GlobalAveragePool":
            count = math.prod(self.graph.shapes[node.inputs[0]][2:])
        elif node.op == "Resize":
            count = 4.0
        return 2.0 * _LAMBDA * math.sqrt(count) * self.precision.summed

    def _mixed(self, name: str, factor: float) -> str:
        """Return ``factor |x| + e``."""
        found = self.scaled(self.magnitude(self.read(name)), factor, self.fresh("mixed"))
        limit = self.limit(name)
        return self.op("Add", [found, limit]) if limit else found

    def _product(self, node: Node) -> str:
        """Return e_a |b| + |a| e_b + e_a e_b."""
        first, second = node.inputs[:2]
        limits = self.limit(first), self.limit(second)
        terms = [
            self.op("Mul", [limit, self.magnitude(self.read(other))])
            for limit, other in zip(limits, (second, first), strict=True)
            if limit
        ]
        terms += [self.op("Mul", list(limits))] if all(limits) else []
        return self._like(terms, node.outputs[0]) if terms else ""

    def _concat(self, proto: NodeProto, node: Node) -> str:
        if not any(self.limit(name) for name in node.inputs):
            return ""
        companion = self._copied(proto)
        companion.input[:] = [
            self.limit(name) or self.scaled(self.read(name), 0.0, self.fresh("zero")) for name in node.inputs
        ]
        return self._copy(companion, 0)

    def _unknown(self, node: Node, output: str) -> str:
        """Return a bound for an operator that is not known here: relative to the peaks."""
        import numpy as np

        peak = self._peak(output)
        terms = [self.scaled(peak, 2.0 * _LAMBDA * _APPROXIMATED * self.precision.summed, self.fresh("own"))]
        for name in node.inputs:
            if limit := self.limit(name):
                tiny = self.constant("@tiny", np.float32(2.0**-100))
                over = self.op("Div", [self._peak(limit), self.op("Max", [self._peak(self.read(name)), tiny])])
                terms.append(self.op("Mul", [over, peak]))
        return self._like(terms, output)

    # what a node adds itself

    def _own(self, node: Node, output: str) -> list[str]:
        """Return the names of what rounding the output adds; none for what only moves, selects or cuts values."""
        if node.op in (*_MOVING, *_CONTRACTING, "Concat", "Pad"):
            return []
        rounded = self.scaled(self.magnitude(output), 2.0 * self.precision.stored, self.fresh("rounded"))
        if node.op in _SMOOTH:
            units = 2.0 * _APPROXIMATED * self.precision.summed
            return [rounded, self._like([self.scaled(self._peak(output), units, self.fresh("own"))], output)]
        if node.op == "Resize" and node.attributes.get("mode", "nearest") != "nearest":
            # a coordinate is a float32 as large as the image, and its fraction is what weighs the neighbours
            size = max(self.graph.shapes[output][2:])
            peak = self._peak(self.read(node.inputs[0]))
            return [rounded, self._like([self.scaled(peak, 2.0 * size * SINGLE.summed, self.fresh("own"))], output)]
        return [rounded]

    # building blocks

    def op(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Append a node; return its output."""
        from onnx import helper

        output = output or self.fresh(kind.lower())
        self.nodes.append(helper.make_node(kind, inputs, [output], f"{output}:{kind}", **attributes))
        return output

    def fresh(self, what: str) -> str:
        """Return a name that is not taken."""
        return f"{what}@{len(self.nodes)}"

    def constant(self, name: str, value: npt.NDArray[Any] | np.floating[Any]) -> str:
        """Add an initializer; return its name."""
        import numpy as np
        from onnx import numpy_helper

        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.asarray(value, np.float32), name)
        return name

    def magnitude(self, name: str) -> str:
        """Return |x|, computed once."""
        made = f"{name}@abs"
        return made if any(made in node.output for node in self.nodes) else self.op("Abs", [name], made)

    def scaled(self, name: str, factor: float, output: str) -> str:
        """Return ``factor x``."""
        import numpy as np

        return self.op("Mul", [name, self.constant(f"@{factor!r}", np.float32(factor))], output)

    def _peak(self, name: str) -> str:
        return self.op("ReduceMax", [self.magnitude(name)], keepdims=0)

    def _like(self, terms: list[str], output: str) -> str:
        """Return the sum of terms, of the shape of ``output``."""
        return self.op("Sum", [*terms, self.scaled(output, 0.0, self.fresh("zero"))])

    def _through(self, proto: NodeProto, position: int, source: str) -> str:
        """Return what a linear node with weights that are not negative makes of ``source``."""
        companion = self._copied(proto)
        companion.input[position] = source
        if proto.op_type == "Pad":  # what is padded is exact
            companion.input[:] = [*companion.input[:2], "", *companion.input[3:]]
        return self._copy(companion, position)

    def _copied(self, proto: NodeProto) -> NodeProto:
        import onnx

        companion = onnx.NodeProto()
        companion.CopyFrom(proto)
        return companion

    def _copy(self, companion: NodeProto, position: int) -> str:
        output = self.fresh("through")
        companion.name = f"{output}:{companion.op_type}"
        companion.output[:] = [output]
        self.nodes.append(companion)
        return output
