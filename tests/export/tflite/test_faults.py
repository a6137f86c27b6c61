"""Planted faults: a converter that did this would fail the gate, and the trace would show where it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.export._target import Trunk
from edgemat.export.onnx import OnnxRunner
from edgemat.export.tflite import TARGET, _flatbuffer, _reading

Images = npt.NDArray[np.uint8]


def change(
    model: onnx.ModelProto, name: str, edit: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    value = np.ascontiguousarray(edit(onnx.numpy_helper.to_array(tensor).copy()), np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))


def align_corners_flipped(model: onnx.ModelProto) -> str:
    """The first resize samples other places."""
    resize = next(n for n in model.graph.node if n.op_type == "Resize")
    next(a for a in resize.attribute if a.name == "coordinate_transformation_mode").s = b"align_corners"
    return str(resize.output[0])


def first_conv(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(n for n in model.graph.node if "image" in n.input)


def mean_shifted(model: onnx.ModelProto) -> str:
    """The image arrives 0.05 brighter: the first convolution has no padding, so its bias can say that."""
    conv = first_conv(model)
    weight = next(onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == conv.input[1])
    change(model, conv.input[2], lambda bias: bias + 0.05 * weight.sum((1, 2, 3)))
    return str(conv.output[0])


def channels_swapped(model: onnx.ModelProto) -> str:
    """The image arrives as BGR."""
    conv = first_conv(model)
    change(model, conv.input[1], lambda weight: weight[:, ::-1])
    return str(conv.output[0])


def bias_dropped(model: onnx.ModelProto) -> str:
    """The last 3x3 convolution of the encoder forgets its bias."""
    convs = [n for n in model.graph.node if n.op_type == "Conv" and n.input[1].startswith("stages.")]
    change(model, convs[-1].input[2], np.zeros_like)
    return str(convs[-1].output[0])


def shown(trunk: Trunk, tensor: str, names: list[str]) -> str:
    """Return where a tensor's fault shows first: the tensor, or the activation that is fused into its operator."""
    graph = onnx.load(trunk.path).graph
    while tensor not in names:
        tensor = next(n.output[0] for n in graph.node if tensor in n.input)
    return tensor


def differing(trunk: Trunk, path: Path, images: Images, precision: str) -> list[str]:
    """Return the tensors that differ from the reference by more than rounding explains, in order."""
    share = {"fp32": 1e-4, "fp16": 1e-2}[precision]
    with OnnxRunner(trunk.path) as reference, TARGET.load(path) as runner:
        expected, found = reference.trace(images[0]), runner.trace(images[0])
    return [n for n, v in found.items() if np.abs(v - expected[n]).max() > share * np.abs(expected[n]).max()]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("fault", [align_corners_flipped, mean_shifted, channels_swapped, bias_dropped])
def test_a_fault_fails_the_gate_and_is_located(
    trunk: Trunk, images: Images, tmp_path: Path, fault: Callable[[onnx.ModelProto], str], precision: str
) -> None:
    model = onnx.load(trunk.path)
    culprit = fault(model)
    wrong, path = tmp_path / "wrong.onnx", tmp_path / "wrong.tflite"
    onnx.save(model, wrong)
    TARGET.convert(Trunk(wrong, trunk.height, trunk.width, trunk.info), precision, path)
    with OnnxRunner(trunk.path) as reference, TARGET.load(path) as runner:
        difference = np.abs(runner.run(images) - reference.run(images))
        names = list(runner.trace(images[0]))
    assert difference.max() > TARGET.gates[precision].max_abs
    assert differing(trunk, path, images, precision)[0] == shown(trunk, culprit, names)


def test_a_flag_flipped_in_the_file_is_located(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    TARGET.convert(trunk, "fp32", path)
    assert differing(trunk, path, images, "fp32") == []
    model = _reading.read_model(path.read_bytes())
    graph = model.subgraphs[0]
    resize = next(o for o in graph.operators if isinstance(o.builtinOptions, _flatbuffer.schema.ResizeBilinearOptionsT))
    resize.builtinOptions.halfPixelCenters = False
    path.write_bytes(_flatbuffer.write(model))
    assert differing(trunk, path, images, "fp32")[0] == graph.tensors[resize.outputs[0]].name.decode()
