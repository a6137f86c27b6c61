"""Faults that no graph can say, planted into the file itself: the image arrives with rows and columns swapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _onnx(path: Path) -> None:
    import onnx
    from onnx import helper

    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["image@turned" if name == "image" else name for name in node.input]
    turned = helper.make_node("Transpose", ["image"], ["image@turned"], "image@turned", perm=[0, 1, 3, 2])
    model.graph.node.insert(0, turned)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _tflite(path: Path) -> None:
    from edgemat.export.tflite import _flatbuffer, _reading

    schema = _flatbuffer.schema
    model = _reading.verified(path)
    graph = model.subgraphs[0]
    image = int(graph.inputs[0])
    given = graph.tensors[image]
    turned, order = len(graph.tensors), len(graph.tensors) + 1
    model.buffers.append(schema.BufferT(data=np.frombuffer(np.array([0, 2, 1, 3], np.int32).tobytes(), np.uint8)))
    goal = schema.TensorT(shape=given.shape, type=given.type, name=b"image#turned")
    goal.quantization = given.quantization
    goal.buffer = 0
    perm = schema.TensorT(shape=[4], type=schema.TensorType.INT32, name=b"image#order", buffer=len(model.buffers) - 1)
    graph.tensors += [goal, perm]
    for op in graph.operators:
        op.inputs = [turned if int(i) == image else int(i) for i in op.inputs]
    model.operatorCodes.append(_flatbuffer._operator_code("TRANSPOSE", 2 if given.quantization else 1))
    code = len(model.operatorCodes) - 1
    graph.operators.insert(0, schema.OperatorT(opcodeIndex=code, inputs=[image, order], outputs=[turned]))
    path.write_bytes(_flatbuffer.write(model))


def _coreml(path: Path) -> None:
    from edgemat.export.coreml import _coremltools

    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = _coremltools.load("coremltools.proto.Model_pb2").Model()
    spec.ParseFromString(file.read_bytes())
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    scaled = next(op for op in operations if op.outputs[0].name == "image__scaled__")
    for op in operations:
        for argument in op.inputs.values():
            for binding in argument.arguments:
                if binding.name == "image__scaled__":
                    binding.name = "image__turned__"
    turned, order = type(scaled)(), type(scaled)()
    turned.type = "transpose"
    turned.outputs.add().CopyFrom(scaled.outputs[0])
    turned.outputs[0].name = "image__turned__"
    turned.inputs["x"].arguments.add().name = "image__scaled__"
    turned.inputs["perm"].arguments.add().name = "image__order__"
    order.type = "const"
    kind = order.outputs.add()
    kind.name = "image__order__"
    _integers(kind.type.tensorType)
    value = order.attributes["val"]
    _integers(value.type.tensorType)
    value.immediateValue.tensor.ints.values.extend([0, 1, 3, 2])
    place = next(i for i, op in enumerate(operations) if op.outputs[0].name == "image__scaled__") + 1
    operations.insert(place, order)
    operations.insert(place + 1, turned)
    file.write_bytes(spec.SerializeToString(deterministic=True))


def _integers(kind: Any) -> None:
    """Say that a MIL tensor holds four int32."""
    from edgemat.export.coreml import _coremltools

    kind.dataType = _coremltools.load("coremltools.proto.MIL_pb2").DataType.Value("INT32")
    kind.rank = 1
    kind.dimensions.add().constant.size = 4


TURN: dict[str, Callable[[Path], None]] = {"onnx": _onnx, "tflite": _tflite, "coreml": _coreml}
"""Target to what swaps the image's rows and columns in its file, in place."""
