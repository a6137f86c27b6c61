"""Faults planted into an int8 file: each is caught by what the frame asks of it, and the tensor is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.export import _compare
from edgemat.export._target import Trunk
from edgemat.export.tflite import TARGET, _flatbuffer, _reading

schema = _flatbuffer.schema
Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def whole(int_trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "student.tflite"
    TARGET.convert(int_trunk, "int8", path)
    return path


@pytest.fixture(scope="module")
def references(images: Images, tmp_path_factory: pytest.TempPathFactory) -> _compare.References:
    """Return the references, computed once for all faults."""
    return _compare.References(images[:2], tmp_path_factory.mktemp("references"))


def wrong(trunk: Trunk, path: Path, references: _compare.References) -> dict[str, list[str]]:
    """Return what the check of the file says of it, and what the comparison with grid and reference does.

    The frame asks the first alone where it complains.
    """
    found = {"check": list(TARGET.check(path))}
    if not any("cannot load" in line for line in found["check"]):
        with TARGET.load(path) as runner:
            alpha = runner.run(references.images)
            verdict = _compare.judge(TARGET, "int8", trunk, path, runner, alpha, references)
        found["judge"] = list(verdict.wrong)
    return found


def conv_of(model: Any, position: int = 1) -> Any:
    """Return a convolution of a file; the first may have no bias worth dropping."""
    return [op for op in model.subgraphs[0].operators if _reading.kind_of(model, op) == "CONV_2D"][position]


def quantization(model: Any, index: int) -> Any:
    return model.subgraphs[0].tensors[index].quantization


def scale_stretched(model: Any) -> tuple[str, dict[str, str]]:
    """One activation's scale is 1.01 of the grid's."""
    index = int(conv_of(model).outputs[0])
    quantization(model, index).scale = np.asarray(quantization(model, index).scale) * np.float32(1.01)
    name = _reading.name_of(model.subgraphs[0], index)
    return name, {"judge": "the file states scale"}


def zero_point_shifted(model: Any) -> tuple[str, dict[str, str]]:
    """One activation's zero point is off by one."""
    index = int(conv_of(model).outputs[0])
    quantization(model, index).zeroPoint = np.asarray(quantization(model, index).zeroPoint) + 1
    return _reading.name_of(model.subgraphs[0], index), {"judge": "the file states zero point"}


def input_shifted(model: Any) -> tuple[str, dict[str, str]]:
    """The image's zero point is off by one: an app would feed other pixels."""
    index = int(model.subgraphs[0].inputs[0])
    quantization(model, index).zeroPoint = np.asarray([-127])
    return "image", {"judge": "the file states zero point", "check": "its codes are not pixels"}


def weight_scales_rolled(model: Any) -> tuple[str, dict[str, str]]:
    """Each channel of a weight has its neighbour's scale, and the bias with it, so that the file agrees with itself."""
    op = conv_of(model)
    for index in map(int, op.inputs[1:3]):
        quantization(model, index).scale = np.roll(quantization(model, index).scale, 1)
    return _reading.name_of(model.subgraphs[0], int(op.inputs[1])), {"judge": "channels' scales differ"}


def only_weight_scales_rolled(model: Any) -> tuple[str, dict[str, str]]:
    """The same without the bias."""
    index = int(conv_of(model).inputs[1])
    quantization(model, index).scale = np.roll(quantization(model, index).scale, 1)
    return _reading.name_of(model.subgraphs[0], index), {"judge": "channels' scales differ", "check": "scales are not"}


def weight_codes_rolled(model: Any) -> tuple[str, dict[str, str]]:
    """Each channel has its neighbour's codes: every scale is right."""
    op, graph = conv_of(model), model.subgraphs[0]
    tensor = graph.tensors[int(op.inputs[1])]
    codes = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape([int(n) for n in tensor.shape])
    model.buffers[tensor.buffer].data = np.frombuffer(np.roll(codes, 1, 0).tobytes(), np.uint8)
    return _reading.name_of(graph, int(op.outputs[0])), {"judge": "LSB"}


def bias_dropped(model: Any) -> tuple[str, dict[str, str]]:
    """One convolution adds zeros."""
    op, graph = conv_of(model), model.subgraphs[0]
    buffer = model.buffers[graph.tensors[int(op.inputs[2])].buffer]
    buffer.data = np.zeros(len(buffer.data), np.uint8)
    return _reading.name_of(graph, int(op.outputs[0])), {"judge": "LSB"}


def float_island(model: Any) -> tuple[str, dict[str, str]]:
    """A Relu in float32 between DEQUANTIZE and QUANTIZE behind a convolution: no code changes."""
    op, graph = conv_of(model), model.subgraphs[0]
    old = int(op.outputs[0])
    name = _reading.name_of(graph, old)
    first = len(graph.tensors)
    for suffix, kind in (("before", schema.TensorType.INT8), ("in", 0), ("out", 0)):
        tensor = schema.TensorT(shape=graph.tensors[old].shape, type=kind, name=f"{name}#{suffix}".encode())
        tensor.quantization = quantization(model, old) if kind else None
        graph.tensors.append(tensor)
    op.outputs = [first]
    place = graph.operators.index(op) + 1
    steps = [("DEQUANTIZE", 2, first, first + 1), ("RELU", 1, first + 1, first + 2), ("QUANTIZE", 1, first + 2, old)]
    for step, version, source, goal in reversed(steps):
        model.operatorCodes.append(_flatbuffer._operator_code(step, version))
        code = len(model.operatorCodes) - 1
        graph.operators.insert(place, schema.OperatorT(opcodeIndex=code, inputs=[source], outputs=[goal]))
    return name, {"check": "in an integer file: RELU"}


def resize_on_two_scales(model: Any) -> tuple[str, dict[str, str]]:
    """A resize's output has twice its input's scale."""
    graph = model.subgraphs[0]
    op = next(op for op in graph.operators if _reading.kind_of(model, op) == "RESIZE_BILINEAR")
    index = int(op.outputs[0])
    quantization(model, index).scale = np.asarray(quantization(model, index).scale) * np.float32(2)
    return _reading.name_of(graph, index), {"check": "expected the same"}


FAULTS: list[Callable[[Any], tuple[str, dict[str, str]]]] = [
    scale_stretched,
    zero_point_shifted,
    input_shifted,
    weight_scales_rolled,
    only_weight_scales_rolled,
    weight_codes_rolled,
    bias_dropped,
    float_island,
    resize_on_two_scales,
]


def test_an_untouched_file_is_right(
    whole: Path, int_trunk: Trunk, references: _compare.References, tmp_path: Path
) -> None:
    path = tmp_path / "same.tflite"
    path.write_bytes(_flatbuffer.write(_reading.verified(whole)))
    assert wrong(int_trunk, path, references) == {"check": [], "judge": []}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_caught_and_its_tensor_named(
    whole: Path,
    int_trunk: Trunk,
    references: _compare.References,
    tmp_path: Path,
    fault: Callable[[Any], tuple[str, dict[str, str]]],
) -> None:
    model = _reading.verified(whole)
    tensor, expected = fault(model)
    path = tmp_path / "faulty.tflite"
    path.write_bytes(_flatbuffer.write(model))
    found = wrong(int_trunk, path, references)
    for who, what in expected.items():
        assert any(tensor in line and what in line for line in found[who]), (tensor, found)
