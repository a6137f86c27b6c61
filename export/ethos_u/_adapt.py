"""Say an int8 .tflite in the operators that an Ethos-U has; the same codes come out.

Space and depth change places by views alone. The rows of a block lie one after the other in memory: as rows of their
own after a RESHAPE, from where SPLIT and CONCATENATION, which the NPU does while it reads and writes, put them beside
each other as channels, or back. So SPACE_TO_DEPTH and DEPTH_TO_SPACE, which no core has, and a convolution that steps
by its own size (of more than 3, a core would take it pixel by pixel) before a convolution of 1x1.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemat.export.tflite import _flatbuffer, _reading

MARK = "#"
LONGEST_STEP = 3
"""Strides up to here are the core's own."""


def adapt(content: bytes) -> bytes:
    """Return a .tflite file whose operators an Ethos-U has, as far as views can say them.

    Args:
        content: An int8 file that the tflite target made.
    """
    model = _reading.read_model(content)
    editor = _Editor(model)
    for op in model.subgraphs[0].operators:
        kind = _reading.kind_of(model, op)
        if kind == "DEPTH_TO_SPACE":
            editor.to_space(int(op.inputs[0]), int(op.outputs[0]), int(op.builtinOptions.blockSize))
        elif kind == "SPACE_TO_DEPTH":
            editor.to_depth(int(op.inputs[0]), int(op.builtinOptions.blockSize), int(op.outputs[0]))
        elif kind == "CONV_2D" and editor.steps_by_its_size(op):
            editor.patches(op)
        else:
            editor.operators.append(op)
    model.subgraphs[0].operators = editor.operators
    return _flatbuffer.write(model)


class _Editor:
    """Collects the operators of the new file; tensors are added to the model."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.operators: list[Any] = []
        self._readers = Counter(int(i) for op in self.graph.operators for i in op.inputs)

    def steps_by_its_size(self, op: Any) -> bool:
        """Return whether a convolution cuts the image into whole patches, by steps that a core does not take."""
        image, weight = (_reading.shape_of(self.graph, int(i)) for i in op.inputs[:2])
        options, size = op.builtinOptions, weight[1]
        steps = {size, weight[2], int(options.strideH), int(options.strideW)}
        return (
            len(steps) == 1
            and size > LONGEST_STEP
            and options.dilationHFactor == options.dilationWFactor == 1
            and image[1] % size == image[2] % size == 0
            and self._readers[int(op.inputs[1])] == 1
        )

    def patches(self, op: Any) -> None:
        """Append a convolution of whole patches: these as channels, then 1x1; the weight's bytes stay as they lie."""
        weight = self.graph.tensors[int(op.inputs[1])]
        outputs, size, _, channels = (int(n) for n in weight.shape)
        image = self.to_depth(int(op.inputs[0]), size)
        weight.shape = [outputs, 1, 1, size * size * channels]
        op.inputs = [image, *(int(i) for i in op.inputs[1:])]
        op.builtinOptions.strideH = op.builtinOptions.strideW = 1
        self.operators.append(op)

    def to_depth(self, source: int, block: int, goal: int | None = None) -> int:
        """Append what puts blocks into channels, rows first; return the tensor."""
        count, rows, columns, channels = _reading.shape_of(self.graph, source)
        apart = self._reshape(source, (count, rows // block, block, columns * channels), "rows")
        parts = self._split(apart, 2, block)
        shape = (count, rows // block, columns // block, block * channels)
        return self._concat([self._reshape(part, shape, "patch") for part in parts], 3, goal)

    def to_space(self, source: int, goal: int, block: int) -> None:
        """Append what puts channels into blocks, rows first."""
        count, rows, columns, channels = _reading.shape_of(self.graph, source)
        parts = self._split(source, 3, block)
        shape = (count, rows, 1, columns * channels // block)
        together = self._concat([self._reshape(part, shape, "row") for part in parts], 2)
        self._reshape(together, _reading.shape_of(self.graph, goal), "", goal)

    def _reshape(self, source: int, shape: tuple[int, ...], label: str, goal: int | None = None) -> int:
        goal = self._like(source, shape, label) if goal is None else goal
        options = schema.ReshapeOptionsT(newShape=list(shape))
        size = self._constant(goal, "shape", np.array(shape, np.int32))
        self._append("RESHAPE", [source, size], [goal], options)
        return goal

    def _split(self, source: int, axis: int, count: int) -> list[int]:
        shape = list(_reading.shape_of(self.graph, source))
        shape[axis] //= count
        parts = [self._like(source, tuple(shape), f"part{i}") for i in range(count)]
        place = self._constant(parts[0], "axis", np.array(axis, np.int32))
        self._append("SPLIT", [place, source], parts, schema.SplitOptionsT(count))
        return parts

    def _concat(self, sources: list[int], axis: int, goal: int | None = None) -> int:
        shape = list(_reading.shape_of(self.graph, sources[0]))
        shape[axis] *= len(sources)
        goal = self._like(sources[0], tuple(shape), "joined") if goal is None else goal
        self._append("CONCATENATION", sources, [goal], schema.ConcatenationOptionsT(axis=axis), version=2)
        return goal

    def _like(self, source: int, shape: tuple[int, ...], label: str) -> int:
        """Add an activation on the scale of another; its mark says that the trunk has no such tensor."""
        tensor = self.graph.tensors[source]
        name = f"{_reading.name_of(self.graph, source).partition(MARK)[0]}{MARK}{label}{MARK}{len(self.graph.tensors)}"
        made = schema.TensorT(shape=list(shape), type=tensor.type, buffer=0, name=name.encode(), hasRank=True)
        made.quantization = tensor.quantization
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def _constant(self, owner: int, label: str, value: Any) -> int:
        name = f"{_reading.name_of(self.graph, owner)}{MARK}{label}"
        self.model.buffers.append(schema.BufferT(data=np.frombuffer(value.tobytes(), np.uint8)))
        made = schema.TensorT(shape=list(value.shape), type=schema.TensorType.INT32, name=name.encode(), hasRank=True)
        made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def _append(self, kind: str, inputs: list[int], outputs: list[int], options: Any, version: int = 1) -> None:
        number = getattr(schema.BuiltinOperator, kind)
        codes = self.model.operatorCodes
        known = [i for i, code in enumerate(codes) if (code.builtinCode, code.version) == (number, version)]
        if not known:
            codes.append(schema.OperatorCodeT(min(number, 127), None, version, number))
            known = [len(codes) - 1]
        kinds = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(schema.OperatorT(known[0], inputs, outputs, kinds, options))
