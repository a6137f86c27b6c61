"""The whole student: each architecture, each precision, the file's structure and bytes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.errors import OutputError, UnsupportedOpError
from edgemat.export import _compare, tflite
from edgemat.export._target import Trunk
from edgemat.export.onnx import OnnxRunner
from edgemat.export.tflite import _flatbuffer, _metadata, _reading, _runner
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme

Images = npt.NDArray[np.uint8]
TARGET = tflite.TARGET


@pytest.fixture(scope="session", params=["friendly", "bottleneck", "mobile"])
def either(
    request: pytest.FixtureRequest, trunk: Trunk, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trunk:
    """Return the trunk of a small student of each architecture."""
    if request.param == "friendly":
        return trunk
    import torch

    from edgemat.export import _trunk
    from edgemat.model import weights as files
    from edgemat.model.student import Student

    folder = tmp_path_factory.mktemp("mobile")
    torch.manual_seed(2)
    net = Student(dataclasses.replace(files.load(weights).net.config, arch=request.param)).eval()
    card = {"version": "0.0", "license": "Apache-2.0", "author": "the tests", "description": "A small student."}
    files.save(net, folder / "mobile.safetensors", card)
    return _trunk.from_student(folder / "mobile.safetensors", trunk.height, trunk.width, folder / "trunk.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_student_passes_its_gate(either: Trunk, images: Images, precision: str, tmp_path: Path) -> None:
    path = tmp_path / "student.tflite"
    TARGET.convert(either, precision, path)
    assert TARGET.check(path) == ()
    with OnnxRunner(either.path) as reference, TARGET.load(path) as runner:
        expected = reference.run(images)
        difference = np.abs(runner.run(images) - expected)
    assert np.ptp(expected) > 0.05
    assert difference.max() <= TARGET.gates[precision].max_abs
    assert difference.mean() <= TARGET.gates[precision].mean_abs


@pytest.mark.parametrize("precision", ["int8", "int8_float_io"])
def test_the_student_passes_its_integer_gate(either: Trunk, images: Images, precision: str, tmp_path: Path) -> None:
    path = tmp_path / "student.tflite"
    grid = calibrate(onnx.load(either.path), images, Scheme(), "minmax")
    on_grid = dataclasses.replace(either, grid=grid)
    TARGET.convert(on_grid, precision, path)
    assert TARGET.check(path) == ()
    references = _compare.References(images, tmp_path)
    with TARGET.load(path) as runner:
        alpha = runner.run(images)
        verdict = _compare.judge(TARGET, precision, on_grid, path, runner, alpha, references)
        shown = runner.codes(images[0])["alpha"][0, 0]
    assert verdict.wrong == ()
    assert np.ptp(alpha) > 0.05
    # the copy that shows every tensor computes what the file does
    assert np.array_equal(grid.activations["alpha"].codes(alpha[0]), shown)


def test_bytes_are_pixels_and_alpha(int_trunk: Trunk, images: Images, tmp_path: Path) -> None:
    """What an app does with an int8 file: pixels less 128 in, alpha's bytes less 128 out."""
    path = tmp_path / "student.tflite"
    TARGET.convert(int_trunk, "int8", path)
    interpreter = _runner.open_interpreter(path.read_bytes(), path)
    (source,), (goal,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["dtype"], goal["dtype"]) == (np.int8, np.int8)
    for details in (source, goal):
        assert details["quantization"] == (np.float32(1 / 255), -128)
    interpreter.set_tensor(source["index"], (images[:1].astype(np.int16) - 128).astype(np.int8))
    interpreter.invoke()
    alpha = interpreter.get_tensor(goal["index"]).astype(np.int16) + 128
    with TARGET.load(path) as runner:
        assert np.array_equal(alpha[0, :, :, 0], np.rint(runner.run(images[:1])[0] * 255))
    entries = _reading.metadata_of(_reading.verified(path))
    facts = json.loads(entries["EDGEMAT_METADATA"])
    ends = {"scale": float(np.float32(1 / 255)), "zero_point": -128}
    assert (facts["scheme"], facts["input"], facts["output"]) == ("static_w8c_a8", ends, ends)
    metadata = _metadata.parse(entries, "student.tflite")
    assert "pixel - 128" in metadata.input_description
    assert "code + 128" in metadata.output_description
    assert entries["min_runtime_version"].rstrip(b"\0") == b"2.5.0"  # DEPTH_TO_SPACE of int8


def test_float16_halves_the_file(trunk: Trunk, tmp_path: Path) -> None:
    for precision in ("fp32", "fp16"):
        TARGET.convert(trunk, precision, tmp_path / precision)
    weights = sum(len(t.raw_data) for t in onnx.load(trunk.path).graph.initializer if t.name.endswith(".weight"))
    saved = (tmp_path / "fp32").stat().st_size - (tmp_path / "fp16").stat().st_size
    assert weights / 2 * 0.8 < saved < weights / 2  # DEQUANTIZE operators take a little of it back


def test_the_same_trunk_gives_the_same_bytes(trunk: Trunk, tmp_path: Path) -> None:
    for name in ("a", "b"):
        TARGET.convert(trunk, "fp16", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_have_the_trunk_s_names(trunk: Trunk, tmp_path: Path) -> None:
    TARGET.convert(trunk, "fp32", tmp_path / "a.tflite")
    model = _reading.read_model((tmp_path / "a.tflite").read_bytes())
    graph = onnx.load(trunk.path).graph
    known = {"image", *(n for node in graph.node for n in node.output), *(t.name for t in graph.initializer)}
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert len(names) == len(set(names))
    assert {name.partition("#")[0] for name in names} <= known


def test_the_file_says_what_it_is(trunk: Trunk, tmp_path: Path) -> None:
    TARGET.convert(trunk, "fp16", tmp_path / "a.tflite")
    content = (tmp_path / "a.tflite").read_bytes()
    assert content[4:8] == b"TFL3"
    entries = _reading.metadata_of(_reading.read_model(content))
    metadata = _metadata.parse(entries, "a.tflite")
    assert (metadata.name, metadata.version, metadata.author) == (trunk.info.name, "0.0", "the tests")
    assert (metadata.license, metadata.description) == ("Apache-2.0", "A small student.")
    assert (metadata.mean, metadata.std) == ((0, 0, 0), (255, 255, 255))
    assert "skin" in metadata.output_description
    assert entries["min_runtime_version"].rstrip(b"\0") == b"2.2.0"  # RESIZE_BILINEAR with half pixel centres
    assert json.loads(entries["EDGEMAT_METADATA"]) == {"precision": "fp16", **trunk.info.extra}


def test_buffers_lie_at_multiples_of_16_bytes(trunk: Trunk, tmp_path: Path) -> None:
    TARGET.convert(trunk, "fp32", tmp_path / "a.tflite")
    content = np.frombuffer((tmp_path / "a.tflite").read_bytes(), np.uint8)
    model = _flatbuffer.schema.Model.GetRootAs(content, 0)
    data = [model.Buffers(i).DataAsNumpy() for i in range(model.BuffersLength())]
    starts = [part.ctypes.data - content.ctypes.data for part in data if not isinstance(part, int)]
    assert len(starts) > 20
    assert {start % 16 for start in starts} == {0}


def test_the_metadata_tables_are_at_the_schema_s_field_numbers() -> None:
    """Read with nothing but field numbers of metadata_schema.fbs: 3 subgraphs, 2 inputs, 3 content, 1 image, 1 size."""
    from edgemat.export._target import ModelInfo

    info = ModelInfo("n", "v", "a", "l", "d")
    root = _metadata._root(_metadata.build(info, 48, 80, "2.2.0", {"precision": "fp32"})["TFLITE_METADATA"])
    image = _metadata._tables(_metadata._tables(root, 3)[0], 2)[0]
    size = _metadata._table(_metadata._table(_metadata._table(image, 3), 1), 1)
    flags = _metadata.number_types.Uint32Flags
    assert [size.Get(flags, _metadata._field(size, slot)) for slot in (0, 1)] == [80, 48]
    stats = _metadata._table(image, 5)
    assert [_metadata._floats(stats, slot) for slot in (0, 1)] == [(1, 1, 1), (0, 0, 0)]


def test_a_refused_graph_leaves_the_earlier_file(trunk: Trunk, tmp_path: Path) -> None:
    model = onnx.load(trunk.path)
    path, goal = tmp_path / "changed.onnx", tmp_path / "a.tflite"
    resize = next(n for n in model.graph.node if n.op_type == "Resize")
    kept = [a for a in resize.attribute if a.name != "antialias"]
    del resize.attribute[:]
    resize.attribute.extend([*kept, onnx.helper.make_attribute("antialias", 1)])
    onnx.save(model, path)
    goal.write_bytes(b"earlier")
    with pytest.raises(UnsupportedOpError, match="antialias"):
        TARGET.convert(Trunk(path, trunk.height, trunk.width, trunk.info), "fp32", goal)
    assert goal.read_bytes() == b"earlier"
    assert set(tmp_path.iterdir()) == {path, goal}


def test_a_goal_that_cannot_be_written_is_named(trunk: Trunk, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        TARGET.convert(trunk, "fp32", tmp_path / "file" / "a.tflite")


def test_quantization_parameters_are_kept(tmp_path: Path) -> None:
    schema: Any = _flatbuffer.schema
    builder = _flatbuffer.ModelBuilder()
    grid = schema.QuantizationParametersT(scale=[0.5], zeroPoint=[-128])
    image = builder.activation("image", (1, 2, 2, 3), grid)
    alpha = builder.activation("alpha", (1, 2, 2, 3), grid)
    builder.operator("MAXIMUM", [image, image], [alpha], schema.MaximumMinimumOptionsT())
    content = builder.finish("d", {"image": image}, {"alpha": alpha}, {})
    interpreter = _runner.open_interpreter(content, tmp_path)
    details = interpreter.get_input_details()[0]
    assert (details["dtype"], details["quantization"]) == (np.int8, (0.5, -128))
    real = np.array([-1.0, 0.0, 0.26, 200.0], np.float32)
    stored = _runner.quantize(real, details)
    assert stored.tolist() == [-128, -128, -127, 127]
    assert _runner.dequantize(stored, details).tolist() == [0.0, 0.0, 0.5, 127.5]
