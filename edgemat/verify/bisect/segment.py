"""The piece of the trunk between what an artefact shows and one tensor, to be run by itself, as it is and altered."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from edgemat.quantize.graph import Graph

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segment:
    """Some of a trunk's nodes.

    Attributes:
        graph: Of the trunk.
        model: The trunk, for its constants.
        nodes: In the trunk's order; the last one makes the tensor.
        inputs: Tensors that are fed.
        output: The tensor.
    """

    graph: Graph
    model: ModelProto
    nodes: tuple[NodeProto, ...]
    inputs: tuple[str, ...]
    output: str

    @property
    def source(self) -> tuple[str, str]:
        """Operators and names of the nodes, the first one first."""
        return " + ".join(n.op_type for n in self.nodes), " + ".join(n.name or n.output[0] for n in self.nodes)

    def run(self, fed: Mapping[str, Floats]) -> Floats:
        """Return the tensor that the nodes make.

        Args:
            fed: At least the `inputs`, float32.
        """
        from edgemat.export.onnx import session

        model = self._alone(fed)
        opened = session(model.SerializeToString())
        (made,) = opened.run([self.output], {name: np.ascontiguousarray(fed[name]) for name in self.inputs})
        return np.asarray(made, np.float32)

    def altered(self, nodes: tuple[NodeProto, ...], constants: Mapping[str, npt.NDArray[Any]] | None = None) -> Segment:
        """Return the segment with other nodes, and other values of constants."""
        import onnx
        from onnx import numpy_helper

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        changed = constants or {}
        kept = [tensor for tensor in model.graph.initializer if tensor.name not in changed]
        kept += [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in changed.items()]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        return Segment(self.graph, model, nodes, self.inputs, self.output)

    def _alone(self, fed: Mapping[str, Floats]) -> ModelProto:
        """Return a model of the nodes alone; no shape but those of the inputs is stated."""
        import onnx
        from onnx import helper

        read = {name for node in self.nodes for name in node.input}
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        inner, kind = model.graph, onnx.TensorProto.FLOAT
        constants = [tensor for tensor in inner.initializer if tensor.name in read]
        stated = [node for node in inner.node if node.op_type == "Constant" and node.output[0] in read]
        del inner.initializer[:], inner.node[:], inner.input[:], inner.output[:], inner.value_info[:]
        inner.initializer.extend(constants)
        inner.node.extend([*stated, *self.nodes])
        inner.input.extend(helper.make_tensor_value_info(name, kind, fed[name].shape) for name in self.inputs)
        inner.output.append(helper.make_tensor_value_info(self.output, kind, None))
        return model


def before(model: ModelProto, graph: Graph, tensor: str, shown: Set[str]) -> Segment:
    """Return the nodes that make a tensor from others that are shown, or from the image.

    Args:
        model: A trunk.
        graph: The same.
        tensor: Made by one of its nodes.
        shown: Tensors that can be fed; ``tensor`` itself does not count.
    """
    makers = {name: node for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    wanted, inputs, queue = set(), [], [tensor]
    while queue:
        name = queue.pop()
        if name != tensor and (name in shown or name in graph.inputs):
            inputs.append(name)
        elif name in makers and name not in wanted:
            wanted.add(name)
            queue += [source for source in makers[name].input if source and source not in graph.constants]
    nodes = tuple(node for node in model.graph.node if wanted & set(node.output) and node.op_type != "Constant")
    return Segment(graph, model, nodes, tuple(dict.fromkeys(reversed(inputs))), tensor)
