"""The saved package computes what the trunk computes, and a planted fault is seen and placed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.errors import InputError
from edgemat.export._target import Gate, Trunk
from edgemat.export.coreml import TARGET, _back

Images = npt.NDArray[np.uint8]
Tensors = dict[str, npt.NDArray[np.float32]]
Reference = Callable[[Path, Images], Tensors]
Damage = Callable[[Path, Callable[[Any, Any], None]], Path]
First = Callable[[Tensors, Tensors, float], str | None]
SHARE = {"fp16": 2e-2, "fp32": 1e-4}


def passes(gate: Gate, expected: Images, found: Images) -> bool:
    difference = np.abs(expected - found)
    return bool(difference.max() <= gate.max_abs and difference.mean() <= gate.mean_abs)


def alphas(reference: Reference, trunk: Trunk, images: Images) -> npt.NDArray[np.float32]:
    return np.stack([reference(trunk.path, image)["alpha"][0, 0] for image in images])


def test_stored_weights_agree_with_the_network_of_their_codes(
    packages: dict[str, Path], int_trunk: Trunk, images: Images, reference: Reference, tmp_path: Path
) -> None:
    from edgemat.quantize import qdq

    assert int_trunk.grid is not None
    stored = qdq.with_stored_weights(onnx.load(int_trunk.path), int_trunk.grid)
    onnx.save(stored, tmp_path / "stored.onnx")
    expected = np.stack([reference(tmp_path / "stored.onnx", image)["alpha"][0, 0] for image in images])
    with TARGET.load(packages["w8"]) as runner:
        found = runner.run(images)
    gate = TARGET.gates["w8"]
    assert isinstance(gate, Gate)
    assert passes(gate, expected, found)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_package_agrees_with_trunk(
    precision: str, packages: dict[str, Path], trunk: Trunk, images: Images, reference: Reference
) -> None:
    expected = alphas(reference, trunk, images)
    with TARGET.load(packages[precision]) as runner:
        found = runner.run(images)
    assert found.dtype == np.float32
    assert found.shape == images.shape[:3]
    assert expected.std() > 0.02  # a constant alpha would agree with anything
    assert passes(TARGET.gates[precision], expected, found)


def test_fp16_really_rounds(packages: dict[str, Path], trunk: Trunk, images: Images, reference: Reference) -> None:
    with TARGET.load(packages["fp16"]) as runner:
        found = runner.run(images)
    assert not passes(TARGET.gates["fp32"], alphas(reference, trunk, images), found)
    assert np.array_equal(found, found.astype(np.float16))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_trace_holds_every_trunk_tensor_by_its_own_name(
    precision: str,
    packages: dict[str, Path],
    trunk: Trunk,
    images: Images,
    reference: Reference,
    first_difference: First,
) -> None:
    expected = reference(trunk.path, images[0])
    with TARGET.load(packages[precision]) as runner:
        found = dict(runner.trace(images[0]))
    assert set(expected) <= set(found)
    assert first_difference(expected, found, SHARE[precision]) is None


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_mobile_architecture(
    precision: str, tmp_path: Path, images: Images, reference: Reference, first_difference: First
) -> None:
    import torch

    from edgemat.export import _trunk
    from edgemat.model import weights
    from edgemat.model.student import Student, StudentConfig

    torch.manual_seed(2)
    net = Student(StudentConfig(arch="mobile"))
    card = {"version": "0", "license": "Apache-2.0", "author": "the tests", "description": "A mobile student."}
    weights.save(net.eval(), tmp_path / "mobile.safetensors", card)
    trunk = _trunk.from_student(tmp_path / "mobile.safetensors", 64, 64, tmp_path / "mobile.onnx")
    TARGET.convert(trunk, precision, tmp_path / "mobile.mlpackage")
    with TARGET.load(tmp_path / "mobile.mlpackage") as runner:
        found = runner.run(images)
        traced = dict(runner.trace(images[0]))
    expected = reference(trunk.path, images[0])
    assert passes(TARGET.gates[precision], expected["alpha"][0, 0], found[0])
    assert set(expected) <= set(traced)
    assert first_difference(expected, traced, SHARE[precision]) is None


def test_back_translation_agrees_with_interpreter(packages: dict[str, Path], images: Images, tmp_path: Path) -> None:
    import onnxruntime

    _back.to_onnx(packages["fp32"], tmp_path / "back.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "back.onnx", providers=["CPUExecutionProvider"])
    with TARGET.load(packages["fp32"]) as runner:
        for image in images:
            pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
            assert np.abs(session.run(None, {"image": pixels})[0][0] - runner.run(image[None])).max() <= 1e-6


@pytest.mark.parametrize("precision", ["w8", "w8a8"])
def test_another_engine_reads_the_integers_likewise(
    precision: str, packages: dict[str, Path], images: Images, tmp_path: Path
) -> None:
    """ONNX Runtime computes in float32 what the package rounds to float16: an equal grid, not equal codes."""
    import onnxruntime

    _back.to_onnx(packages[precision], tmp_path / "back.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "back.onnx", options, providers=["CPUExecutionProvider"])
    pixels = images.transpose(0, 3, 1, 2)[:, None].astype(np.float32)
    expected = np.stack([session.run(None, {"image": one})[0][0, 0] for one in pixels])
    with TARGET.load(packages[precision]) as runner:
        difference = np.abs(runner.run(images) - expected)
    assert difference.max() <= (0.05 if precision == "w8a8" else 1e-2)
    assert difference.mean() <= (1e-3 if precision == "w8a8" else 2e-4)


def _constant(operations: Any, name: str) -> Any:
    return next(op for op in operations if op.type == "const" and op.outputs[0].name == name)


def _flip_align_corners(spec: Any, operations: Any) -> str:
    resize = next(op for op in operations if op.type == "upsample_bilinear")
    for key, value in (("align_corners", True), ("half_pixel_centers", False)):
        flag = _constant(operations, resize.inputs[key].arguments[0].name)
        flag.attributes["val"].immediateValue.tensor.bools.values[:] = [value]
    return str(resize.outputs[0].name)


def _shift_mean(spec: Any, operations: Any) -> str:
    """Give the image a bias of 0.02, as coremltools writes an ImageType's bias."""
    index = next(i for i, op in enumerate(operations) if op.outputs[0].name == "image__scaled__")
    for op in operations:
        for argument in op.inputs.values():
            for binding in argument.arguments:
                if binding.name == "image__scaled__":
                    binding.name = "image__biased__"
    add, value = type(operations[index])(), type(operations[index])()
    add.CopyFrom(operations[index])
    add.type, add.outputs[0].name = "add", "image__biased__"
    add.inputs["x"].arguments[0].name = "image__scaled__"
    value.CopyFrom(_constant(operations, add.inputs["y"].arguments[0].name))
    value.outputs[0].name = add.inputs["y"].arguments[0].name = "bias"
    value.attributes["val"].immediateValue.tensor.floats.values[:] = [0.02]
    operations.insert(index + 1, value)
    operations.insert(index + 2, add)
    return "image"


def _swap_channels(spec: Any, operations: Any) -> str:
    image = spec.description.input[0].type.imageType
    image.colorSpace = image.ColorSpace.Value("BGR")
    return "image"


def _drop_bias(spec: Any, operations: Any) -> str:
    conv = [op for op in operations if op.type == "conv"][3]
    del conv.inputs["bias"]
    return str(conv.outputs[0].name)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("fault", [_flip_align_corners, _shift_mean, _swap_channels, _drop_bias])
def test_planted_fault_fails_the_gate_and_is_placed(
    fault: Callable[[Any, Any], str],
    precision: str,
    packages: dict[str, Path],
    damaged: Damage,
    trunk: Trunk,
    images: Images,
    reference: Reference,
    first_difference: First,
) -> None:
    where = []
    path = damaged(packages[precision], lambda spec, operations: where.append(fault(spec, operations)))
    with TARGET.load(path) as runner:
        found = runner.run(images)
        traced = dict(runner.trace(images[0]))
    assert not passes(TARGET.gates[precision], alphas(reference, trunk, images), found)
    expected = reference(trunk.path, images[0])
    by_mil_name = {name.replace(".", "_"): name for name in expected}
    assert first_difference(expected, traced, SHARE[precision]) == by_mil_name[where[0].removesuffix("_cast_fp16")]


def _scaled(trunk: Trunk, factor: float, count: int, out: Path) -> tuple[Trunk, str]:
    """Return the trunk with its first convolutions' weights times a factor, and the first one's weights' name."""
    model = onnx.load(trunk.path)
    names = [node.input[1] for node in model.graph.node if node.op_type == "Conv"][:count]
    for tensor in model.graph.initializer:
        if tensor.name in names:
            value = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    onnx.save(model, out)
    return Trunk(out, trunk.height, trunk.width, trunk.info), str(names[0])


def test_weights_beyond_fp16_are_refused_by_name(trunk: Trunk, tmp_path: Path) -> None:
    large, weight = _scaled(trunk, 1e6, 1, tmp_path / "large.onnx")
    with pytest.raises(InputError, match=rf"large\.onnx: beyond float16's 65504: '{weight}'.*--precision fp32"):
        TARGET.convert(large, "fp16", tmp_path / "large.mlpackage")
    TARGET.convert(large, "fp32", tmp_path / "large.mlpackage")
    assert TARGET.check(tmp_path / "large.mlpackage") == ()


def test_activations_beyond_fp16_fail_the_gate_and_are_placed(
    trunk: Trunk, tmp_path: Path, images: Images, reference: Reference, first_difference: First
) -> None:
    large, _ = _scaled(trunk, 300, 3, tmp_path / "large.onnx")
    TARGET.convert(large, "fp16", tmp_path / "large.mlpackage")
    expected = reference(large.path, images[0])
    with TARGET.load(tmp_path / "large.mlpackage") as runner:
        found = dict(runner.trace(images[0]))
    assert not passes(TARGET.gates["fp16"], expected["alpha"], found["alpha"])
    overflown = next(name for name, value in expected.items() if np.abs(value).max() > 65504)
    assert first_difference(expected, found, SHARE["fp16"]) == overflown
