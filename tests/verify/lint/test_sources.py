"""Which target and which reader a path gets; what no reader knows is said to be unknown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgemat import export
from edgemat.errors import InputError
from edgemat.export._target import Trunk
from edgemat.inspection import Inspection, OpFact
from edgemat.verify.lint import sources
from edgemat.verify.lint.rules import rules
from edgemat.verify.lint.run import lint


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.onnx", "onnx"),
        ("a.tensorrt.onnx", "tensorrt"),
        ("a.tflite", "tflite"),
        ("a.mlpackage", "coreml"),
        ("a.xml", "openvino"),
        ("a.qnn", "qnn"),
        ("out", None),
        ("a.txt", None),
    ],
)
def test_the_longest_ending_decides(name: str, target: str | None) -> None:
    assert sources.target_of(Path(name)) == target


def test_a_format_without_a_reader_is_read_by_its_inspection_and_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"")
    made = Inspection(str(path), "Other", (OpFact("up", "Resize", "float32"),), {})
    other = dataclasses.replace(export.get("onnx"), name="other", suffix=".onnx", inspect=lambda path: made)
    monkeypatch.setattr(export, "get", lambda name: other)
    monkeypatch.setattr(export, "targets", lambda: (other,))
    facts = sources.read(path, "other")
    assert [op.kind for op in facts.ops] == ["Resize"]
    assert [f for rule in rules() for f in rule.findings(facts)] == [], "nothing is said of what was not read"
    report = lint([path])
    assert report.artefacts[0].unknown == (
        "no reader knows the format of target other: tensors, resizes, placement and metadata were not looked at",
    )


def test_a_folder_whose_report_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a.qnn"
    folder.mkdir()
    (folder / "report.json").write_text("{}")
    with pytest.raises(InputError, match="not a whole report"):
        sources.read(folder, "qnn")


def test_a_bare_ir_is_read_beside_its_numbers(trunk: Trunk, tmp_path: Path) -> None:
    made = tmp_path / "a.openvino"
    export.get("openvino").convert(trunk, "fp32", made)
    for name, ending in (("model.xml", "xml"), ("model.bin", "bin")):
        (tmp_path / f"theirs.{ending}").write_bytes((made / name).read_bytes())
    bare, whole = sources.read(tmp_path / "theirs.xml", "openvino"), sources.read(made, "openvino")
    assert bare.file == "theirs.xml"
    assert bare.resizes == whole.resizes
    assert [w.name for w in bare.weighted] == [w.name for w in whole.weighted]
    (tmp_path / "theirs.bin").unlink()
    with pytest.raises(InputError, match=r"model\.bin"):
        sources.read(tmp_path / "theirs.xml", "openvino")
