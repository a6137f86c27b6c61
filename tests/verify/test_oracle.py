"""The oracle: what it is asked, how it is judged, that faults of an artefact and of the oracle itself are told.

Another runtime stands in for Core AI, but in the slow tests: those need pip install 'edgemat[coreai]'.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("coremltools")

from edgemat import export
from edgemat.errors import InputError
from edgemat.export._isolated import CrashedError, HungError
from edgemat.export._target import Trunks, Unavailable
from edgemat.export.coreml import _package
from edgemat.verify import oracle
from edgemat.verify.exported import Entry
from edgemat.verify.opinion import Opinion

Images = npt.NDArray[np.uint8]
CASES = [("coreml", p) for p in ("fp32", "fp16", "w8", "w8a8")]
CASES += [("onnx", p) for p in ("fp32", "fp16", "int8", "int8_byte_io")]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks) -> dict[tuple[str, str], Entry]:
    folder, found = tmp_path_factory.mktemp("exported"), {}
    for name, precision in CASES:
        target = export.get(name)
        trunk = trunks.get(target, precision)
        path = folder / f"student-{precision}{target.suffix}"
        target.convert(trunk, precision, path)
        found[name, precision] = Entry(target, precision, path, trunk)
    return found


@pytest.fixture(scope="module")
def two(images: Images) -> Images:
    """Return two images, which is enough to tell."""
    return images[:2]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that has another function answer in place of Core AI."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    target = dataclasses.replace(export.get("coreai"), requires=(), platforms=())
    get = export.get
    monkeypatch.setattr(export, "get", lambda name: target if name == "coreai" else get(name))
    monkeypatch.setattr(oracle, "_PACKAGES", ("onnxruntime",))
    monkeypatch.setattr(oracle, "_ROUNDING", "unfused")

    def answer(function: str) -> None:
        monkeypatch.setattr(oracle, "_CHILD", f"oracle_child:{function}")

    answer("in_onnxruntime")
    return answer


@pytest.fixture
def core_ai() -> None:
    missing = export.get("coreai").unavailable()
    if missing is not None:
        pytest.skip(missing.reason)


def asked(entry: Entry, images: Images) -> Opinion:
    found = oracle.coreai(entry, images)
    assert isinstance(found, Opinion), found
    return found


def copied(entry: Entry, folder: Path) -> Entry:
    """Return an entry of a copy that may be changed."""
    path = folder / entry.path.name
    (shutil.copytree if entry.path.is_dir() else shutil.copyfile)(entry.path, path)
    return dataclasses.replace(entry, path=path, changed=True)


def with_another_resize(entry: Entry, folder: Path) -> Entry:
    """Return an entry whose first Resize samples other positions."""
    made = copied(entry, folder)
    if entry.target.name == "onnx":
        model = onnx.load(made.path)
        node = next(node for node in model.graph.node if node.op_type == "Resize")
        mode = next(a for a in node.attribute if a.name == "coordinate_transformation_mode")
        mode.s = b"align_corners"
        onnx.save(model, made.path)
        return made
    spec = _package.read(made.path)
    kinds = {op.kind for op in spec.operations if "bilinear" in op.kind}
    assert kinds == {"upsample_bilinear"}

    def flip(operation: Any) -> bool:
        if operation.type != "upsample_bilinear":
            return False
        for key, value in (("align_corners", True), ("half_pixel_centers", False)):
            set_flag(operation, key, value)
        return True

    change(made.path, flip)
    return made


def with_a_scaled_weight(entry: Entry, folder: Path) -> Entry:
    """Return an entry with one convolution's float weights, or their scales, 2 % larger."""
    made = copied(entry, folder)
    if entry.target.name == "onnx":
        model = onnx.load(made.path)
        first = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
        dequantized = {n.output[0]: n.input[1] for n in model.graph.node if n.op_type == "DequantizeLinear"}
        held = next(t for t in model.graph.initializer if t.name == dequantized.get(first, first))
        value = numpy_helper.to_array(held)
        held.CopyFrom(numpy_helper.from_array((value * value.dtype.type(1.02)).astype(value.dtype), held.name))
        onnx.save(model, made.path)
        return made
    package = _package.read(made.path)
    op = next(op for op in package.operations if op.kind in ("conv", "constexpr_affine_dequantize"))
    value = np.asarray(op.inputs["weight" if op.kind == "conv" else "scale"][0])
    scaled = (value * value.dtype.type(1.02)).astype(value.dtype).tobytes()
    files = [path for path in made.path.rglob("*") if path.suffix in (".bin", ".mlmodel")]
    holding = [path for path in files if value.tobytes() in path.read_bytes()]
    assert len(holding) == 1
    holding[0].write_bytes(holding[0].read_bytes().replace(value.tobytes(), scaled))
    return made


def change(package: Path, changed: Callable[[Any], bool]) -> None:
    """Change the first operation of a package that a function changes."""
    from coremltools.proto import Model_pb2

    (place,) = package.rglob("*.mlmodel")
    spec = Model_pb2.Model.FromString(place.read_bytes())
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    assert any(changed(operation) for operation in operations)
    place.write_bytes(spec.SerializeToString(deterministic=True))


def set_flag(operation: Any, key: str, value: bool) -> None:
    """State a boolean of an operation in place, whether it was a constant's name or a value."""
    from coremltools.proto import MIL_pb2

    argument = operation.inputs[key].arguments[0]
    held = MIL_pb2.Value()
    held.type.tensorType.dataType = MIL_pb2.DataType.BOOL
    held.immediateValue.tensor.bools.values.append(value)
    argument.ClearField("name")
    argument.value.CopyFrom(held)


FAULTS = {"resize": with_another_resize, "weight": with_a_scaled_weight}
STRICT = [("coreml", "fp32"), ("coreml", "w8a8"), ("onnx", "fp32"), ("onnx", "int8")]


@pytest.mark.parametrize("case", CASES)
def test_it_agrees(
    case: tuple[str, str], entries: Any, two: Images, stand_in: Any, record_property: Callable[[str, object], None]
) -> None:
    found = asked(entries[case], two)
    record_property("opinion", str(found))
    assert found, str(found)
    assert found.artifact == " ".join(case)
    assert (found.layers is not None) == (case[1] in ("w8a8", "int8", "int8_byte_io"))
    assert "agrees" in str(found)
    row = oracle.outcome(entries[case], found)
    assert row.state == "passed"
    assert "beta oracle" in row.name
    assert Opinion.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", STRICT)
def test_a_planted_fault_is_seen(
    case: tuple[str, str], fault: str, entries: Any, two: Images, stand_in: Any, tmp_path: Path
) -> None:
    changed = FAULTS[fault](entries[case], tmp_path)
    found = asked(changed, two)
    assert not found
    row = oracle.outcome(changed, found)
    assert (row.state, row.changed) == ("gate", True)
    assert "disagrees" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_core_ai_agrees(
    case: tuple[str, str], core_ai: None, entries: Any, two: Images, record_property: Callable[[str, object], None]
) -> None:
    found = asked(entries[case], two)
    record_property("opinion", str(found))
    assert found, str(found)
    if case[1] == "fp32":
        assert found.own is not None
        assert found.reference is not None
        assert max(found.own.max_abs, found.reference.max_abs) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["friendly", "mobile"])
def test_core_ai_agrees_at_256(
    arch: str, core_ai: None, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    import torch

    from edgemat.export import _trunk
    from edgemat.model import weights
    from edgemat.model.student import Student, StudentConfig

    torch.manual_seed(4)
    card = {"version": "0", "license": "Apache-2.0", "author": "the tests", "description": "A student."}
    weights.save(Student(StudentConfig(arch=arch)).eval(), tmp_path / "student.safetensors", card)
    trunk = _trunk.from_student(tmp_path / "student.safetensors", 256, 256, tmp_path / "trunk.onnx")
    target = export.get("coreml")
    target.convert(trunk, "fp32", tmp_path / "student.mlpackage")
    images = np.random.default_rng(6).integers(0, 256, (3, 256, 256, 3)).astype(np.uint8)
    with target.load(tmp_path / "student.mlpackage") as runner:
        own = runner.run(images)
    assert own.std() > 0.01
    found = oracle.coreai(Entry(target, "fp32", tmp_path / "student.mlpackage", trunk), images, own=own)
    record_property("opinion", str(found))
    assert found, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", STRICT)
def test_core_ai_sees_a_planted_fault(
    case: tuple[str, str], fault: str, core_ai: None, entries: Any, two: Images, tmp_path: Path
) -> None:
    assert not asked(FAULTS[fault](entries[case], tmp_path), two)


def test_an_oracle_that_answers_nonsense_disagrees(entries: Any, two: Images, stand_in: Any) -> None:
    entry = entries["onnx", "fp32"]
    for function, said in (
        ("of_another_shape", "(2, 63, 64), expected float32 (2, 64, 64)"),
        ("without_numbers", "output values are NaN or infinite"),
    ):
        stand_in(function)
        found = asked(entry, two)
        assert not found
        assert said in str(found)
        assert oracle.outcome(entry, found).state == "error"
    stand_in("a_little_off")
    assert "max 0.0001" in str(asked(entry, two))


def test_an_oracle_that_dies_is_told(entries: Any, two: Images, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entries["onnx", "fp32"]
    stand_in("crash")
    with pytest.raises(CrashedError, match="SIGSEGV"):
        oracle.coreai(entry, two)
    states = [row.state for row in oracle.rows([entry], two)]
    stand_in("raise_")
    (raised,) = oracle.rows([entry], two)
    assert "the beta has moved" in raised.message
    stand_in("hang")
    monkeypatch.setattr(oracle, "_SECONDS", 1.0)
    monkeypatch.setattr(oracle, "_SECONDS_EACH", 0.0)
    with pytest.raises(HungError):
        oracle.coreai(entry, two)
    states += [raised.state, *(row.state for row in oracle.rows([entry], two))]
    assert states == ["crashed", "error", "timeout"]


def test_an_artefact_that_cannot_be_read_is_a_row(entries: Any, two: Images, stand_in: Any, tmp_path: Path) -> None:
    broken = copied(entries["onnx", "fp32"], tmp_path)
    broken.path.write_bytes(b"no model")
    first, second = oracle.rows([broken, entries["onnx", "fp32"]], two)
    assert (first.state, second.state) == ("error", "passed")
    assert "not a whole ONNX model" in first.message


def test_without_its_packages_it_is_unavailable(entries: Any, two: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    target = dataclasses.replace(export.get("coreai"), requires=("no_such_package",))
    get = export.get
    monkeypatch.setattr(export, "get", lambda name: target if name == "coreai" else get(name))
    found = oracle.coreai(entries["onnx", "fp32"], two)
    assert isinstance(found, Unavailable)
    assert not found
    row = oracle.outcome(entries["onnx", "fp32"], found)
    assert row.state == "unavailable"
    assert "no_such_package" in row.message


def test_it_knows_what_it_can_be_asked_about(entries: Any, two: Images) -> None:
    other = dataclasses.replace(entries["onnx", "fp32"], target=export.get("tflite"))
    assert not oracle.applies(other)
    assert oracle.rows([other], two) == []
    with pytest.raises(InputError, match="no oracle for target tflite; for coreml, onnx"):
        oracle.coreai(other, two)


def test_what_is_known_is_not_computed_again(entries: Any, two: Images, stand_in: Any) -> None:
    entry = entries["onnx", "fp32"]
    with entry.target.load(entry.path) as runner:
        own = runner.run(two)
    assert oracle.coreai(entry, two, own=own)
    assert not oracle.coreai(entry, two, own=own + np.float32(0.001))


def test_an_opinion_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was compared"):
        Opinion("coreml fp32", "", None, None, None, {}, (), 0.0, {})
    with pytest.raises(InputError, match="schema version 7"):
        Opinion.from_json({"schema_version": 7})
    with pytest.raises(InputError, match="not an opinion"):
        Opinion.from_json({"schema_version": 1})
