"""An export folder is read as it lies, moved or changed, and refused when it is none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.export import _frame, get
from edgemat.export._target import Trunk, Trunks
from edgemat.verify import exported


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, trunk: Trunk, int_trunk: Trunk) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert int_trunk.grid is not None
    images = np.random.default_rng(0).integers(0, 256, (2, trunk.height, trunk.width, 3), np.uint8)
    trunks = Trunks(trunk, {int_trunk.grid.scheme.name: int_trunk})
    assert _frame.export(trunks, [(get("onnx"), "fp32"), (get("onnx"), "int8")], folder, images)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "moved"))


def test_a_moved_folder_is_read(folder: Path) -> None:
    found = exported.read(folder)
    assert [entry.name for entry in found.entries] == ["onnx fp32", "onnx int8"]
    assert [entry.path.parent for entry in found.entries] == [folder, folder]
    assert [entry.changed for entry in found.entries] == [False, False]
    assert [entry.trunk.grid is None for entry in found.entries] == [True, False]
    assert found.failed == ()
    assert found.entries[1].gate == get("onnx").gates["int8"]


def test_a_changed_artefact_says_so(folder: Path) -> None:
    path = folder / "student-int8.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    assert [entry.changed for entry in exported.read(folder).entries] == [False, True]


def test_an_artefact_is_found_by_itself(folder: Path) -> None:
    assert exported.find(folder / "student-int8.onnx").precision == "int8"
    with pytest.raises(InputError, match=r"other\.onnx: not found"):
        exported.find(folder / "other.onnx")
    (folder / "other.onnx").touch()
    with pytest.raises(InputError, match=r"does not name it; it names student-fp32\.onnx, student-int8\.onnx"):
        exported.find(folder / "other.onnx")


def test_what_the_export_could_not_make_is_kept(folder: Path) -> None:
    place = folder / "report.json"
    document = json.loads(place.read_text())
    document["results"][1] |= {"state": "gate", "message": "too far"}
    place.write_text(json.dumps(document))
    found = exported.read(folder)
    assert [entry.name for entry in found.entries] == ["onnx fp32"]
    assert found.failed == (exported.Failed("onnx", "int8", "gate", "too far"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "cannot be read"), ("[]", "cannot be read"), ('{"schema_version": 1, "results": []}', "schema version 1")],
)
def test_another_report_is_refused(folder: Path, text: str, reason: str) -> None:
    (folder / "report.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        exported.read(folder)


def test_no_export_folder_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="this is no export folder; make the folder with: edgemat export"):
        exported.read(tmp_path)
    (folder / "student-fp32.onnx").unlink()
    with pytest.raises(InputError, match=r"student-fp32\.onnx: gone since the export"):
        exported.read(folder)
