"""A lint of real artefacts: silent on what the export made, and it names the fault that is planted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.calib_data import CalibrationSet
from edgemat.errors import InputError
from edgemat.export import _frame, get
from edgemat.export._target import Trunk, Trunks
from edgemat.verify.lint.finding import ERROR, WARNING, LintReport
from edgemat.verify.lint.run import lint

from ...export import faults

WANTED = (
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("tflite", "fp32"),
    ("tflite", "fp16"),
    ("tflite", "int8"),
    ("coreml", "fp16"),
    ("coreml", "w8a8"),
    ("tensorrt", "int8"),
)


@pytest.fixture(scope="module")
def shown(images: npt.NDArray[np.uint8]) -> CalibrationSet:
    return CalibrationSet(("a", "b"), tuple(images[:2]), (None, None))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks, images: npt.NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert _frame.export(trunks, [(get(target), precision) for target, precision in WANTED], folder, images[:2])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def rules_of(report: LintReport, level: str = WARNING) -> dict[str, set[str]]:
    """Return the rules found, each with the tensors."""
    found: dict[str, set[str]] = {}
    for finding in report.at_least(level):
        found.setdefault(finding.rule, set()).add(finding.tensor)
    return found


def test_what_an_export_made_has_no_error_and_no_warning(made: Path, shown: CalibrationSet) -> None:
    report = lint([made], shown)
    assert report
    assert rules_of(report) == {}
    assert len(report.artefacts) == len(WANTED)
    assert {a.images for a in report.artefacts} == {2}
    assert {reason for a in report.artefacts for reason in a.unknown} == set()


def test_a_lint_says_the_same_twice(made: Path, shown: CalibrationSet) -> None:
    assert lint([made], shown).to_json() == lint([made], shown).to_json()


@pytest.mark.parametrize(
    "name", ["student-fp16.onnx", "student-fp32.tflite", "student-int8.tflite", "student-int8.onnx"]
)
def test_a_bare_file_is_looked_at_by_itself(made: Path, tmp_path: Path, shown: CalibrationSet, name: str) -> None:
    shutil.copyfile(made / name, tmp_path / name)
    report = lint([tmp_path / name], shown)
    assert rules_of(report) == {}
    assert report.artefacts[0].images == 2
    assert report.artefacts[0].unknown == ()


def edited_tflite(path: Path, edit: Callable[[Any, Any], None]) -> None:
    from edgemat.export.tflite import _flatbuffer, _reading

    model = _reading.read_model(path.read_bytes())
    edit(model, model.subgraphs[0])
    path.write_bytes(_flatbuffer.write(model))


def test_a_flipped_resize_of_a_tflite_is_named(folder: Path, shown: CalibrationSet) -> None:
    def flip(model: Any, graph: Any) -> None:
        from edgemat.export.tflite import _reading

        op = next(op for op in graph.operators if _reading.kind_of(model, op) == "RESIZE_BILINEAR")
        op.builtinOptions.alignCorners, op.builtinOptions.halfPixelCenters = True, False

    edited_tflite(folder / "student-fp32.tflite", flip)
    found = rules_of(lint([folder / "student-fp32.tflite"], shown), ERROR)
    assert found["EM001"] == {""}
    assert found["EM010"] == {"laterals.0.resize"} or found["EM010"] == {"laterals.1.resize"}


def test_one_scale_of_a_tflite_that_is_not_the_grids_is_named(folder: Path, shown: CalibrationSet) -> None:
    def widen(model: Any, graph: Any) -> None:
        from edgemat.export.tflite import _reading

        tensor = next(i for i in range(len(graph.tensors)) if _reading.name_of(graph, i) == "downs.0.relu")
        scale = np.asarray(graph.tensors[tensor].quantization.scale, np.float32)
        graph.tensors[tensor].quantization.scale = (scale * np.float32(1.01)).tolist()

    edited_tflite(folder / "student-int8.tflite", widen)
    assert rules_of(lint([folder / "student-int8.tflite"], shown), ERROR)["EM060"] == {"downs.0.relu"}


def test_an_operator_that_xnnpack_leaves_is_named(made: Path, tmp_path: Path) -> None:
    def foreign(model: Any, graph: Any) -> None:
        """Make the first addition of floats one that only LiteRT's own kernel knows."""
        from ai_edge_litert import schema_py_generated as schema

        from edgemat.export.tflite import _reading

        op = next(op for op in graph.operators if _reading.kind_of(model, op) == "ADD")
        code = schema.BuiltinOperator.FLOOR_MOD
        model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=1))
        op.opcodeIndex, op.builtinOptions = len(model.operatorCodes) - 1, None
        op.builtinOptionsType = schema.BuiltinOptions.NONE

    path = tmp_path / "student.tflite"
    shutil.copyfile(made / "student-fp32.tflite", path)
    edited_tflite(path, foreign)
    report = lint([path])
    left = [finding for finding in report.findings if finding.rule == "EM050"]
    assert len(left) == 1
    assert "FLOOR_MOD" in left[0].op
    assert "EM051" in rules_of(report)
    assert "EM052" not in rules_of(report), "the GPU delegate takes FLOOR_MOD of two operands"


def edited_package(path: Path, edit: Callable[[Any], None]) -> None:
    from edgemat.export.coreml import _coremltools, _package

    spec = _coremltools.load("coremltools.proto.Model_pb2").Model()
    place = _package.spec_path(path)
    spec.ParseFromString(place.read_bytes())
    edit(spec)
    place.write_bytes(spec.SerializeToString())


def test_flexible_sizes_and_recurrent_cells_of_a_package_are_named(made: Path, tmp_path: Path) -> None:
    def damage(spec: Any) -> None:
        sizes = spec.description.input[0].type.imageType.imageSizeRange
        sizes.widthRange.lowerBound, sizes.widthRange.upperBound = 32, 128
        block = spec.mlProgram.functions["main"].block_specializations["CoreML6"]
        next(op for op in block.operations if op.type == "relu").type = "lstm"

    path = Path(shutil.copytree(made / "student-fp16.mlpackage", tmp_path / "student.mlpackage"))
    edited_package(path, damage)
    report = lint([path])
    assert {"EM022", "EM053"} <= set(rules_of(report))
    (engine,) = [finding for finding in report.findings if finding.rule == "EM053"]
    assert "(lstm)" in engine.op
    assert "recurrent cells" in engine.found


def test_a_flipped_resize_of_a_package_is_named(folder: Path, shown: CalibrationSet) -> None:
    def flip(spec: Any) -> None:
        block = spec.mlProgram.functions["main"].block_specializations["CoreML6"]
        resize = next(op for op in block.operations if op.type == "upsample_bilinear")
        name = resize.inputs["align_corners"].arguments[0].name
        constant = next(op for op in block.operations if op.outputs[0].name == name)
        constant.attributes["val"].immediateValue.tensor.bools.values[0] = True

    edited_package(folder / "student-fp16.mlpackage", flip)
    found = rules_of(lint([folder / "student-fp16.mlpackage"], shown), ERROR)
    assert any("resize" in tensor for tensor in found["EM010"])


def test_an_overflow_in_half_is_found_before_anyone_runs_in_half(
    trunk: Trunk, tmp_path: Path, shown: CalibrationSet
) -> None:
    large = faults.overflowing(trunk, tmp_path / "large.onnx")
    path = tmp_path / "student-fp32.onnx"
    get("onnx").convert(large, "fp16", path)
    report = lint([path], shown)
    assert "large" in rules_of(report, ERROR)["EM030"]


def test_another_teams_onnx_is_read_under_its_own_names(trunk: Trunk, tmp_path: Path, shown: CalibrationSet) -> None:
    from edgemat.export import _graph

    model = onnx.load(trunk.path)
    _graph.rename(model, {"image": "pixels", "alpha": "mask"})
    faults.align_corners(model)
    del model.metadata_props[:]
    path = tmp_path / "theirs.onnx"
    onnx.save(model, path)
    found = rules_of(lint([path], shown))
    assert set(found) == {"EM003", "EM004", "EM011"}


def test_rules_are_left_out_by_id_and_name_and_counted(trunk: Trunk, tmp_path: Path) -> None:
    model = onnx.load(trunk.path)
    del model.metadata_props[:]
    path = tmp_path / "theirs.onnx"
    onnx.save(model, path)
    report = lint([path], ignore=["em003", "colour-order-missing"])
    assert rules_of(report) == {}
    assert report.ignored == {"EM003": 1, "EM004": 1}
    assert "EM003" not in {rule.id for rule in report.rules}
    with pytest.raises(InputError, match="no such rule"):
        lint([path], ignore=["EM998"])


def test_several_paths_are_told_apart(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "student-fp32.onnx"
    shutil.copyfile(made / "student-fp32.onnx", other)
    report = lint([made / "student-fp32.onnx", other])
    assert len({a.file for a in report.artefacts}) == 2


def test_what_is_no_artefact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no artefact given"):
        lint([])
    with pytest.raises(InputError, match="no such artefact; expected an export folder"):
        lint([tmp_path / "notes.txt"])
    with pytest.raises(InputError, match="not found"):
        lint([tmp_path / "gone.onnx"])
    with pytest.raises(InputError, match="no export folder"):
        lint([tmp_path])


def test_what_the_export_could_not_make_is_told(folder: Path) -> None:
    import json

    place = folder / "report.json"
    document = json.loads(place.read_text())
    document["results"][3] |= {"state": "error", "message": "it crashed\n  somewhere"}
    place.write_text(json.dumps(document))
    (finding,) = [f for f in lint([folder]).findings if f.rule == "EM005"]
    assert finding.found == "tflite fp32: error: it crashed"
