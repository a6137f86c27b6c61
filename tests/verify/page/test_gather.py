"""Documents are read strictly and missed leniently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.verify import proof
from edgemat.verify.page.gather import gather


def test_everything_that_was_left_there_is_found(folder) -> None:  # type: ignore[no-untyped-def]
    found = gather(folder())
    assert found.absent == {}
    assert found.parity
    assert found.made["litert_qualcomm int8"].device_bytes == 597456
    assert found.stale == ()


def test_what_is_missing_is_told_with_the_command_that_makes_it(folder) -> None:  # type: ignore[no-untyped-def]
    found = gather(folder(proof.BENCH, proof.STRIPS))
    assert set(found.absent) == {proof.BENCH, proof.STRIPS}
    assert "edgemat bench" in found.absent[proof.BENCH]
    assert found.lint is not None


@pytest.mark.parametrize("name", [proof.PARITY, proof.WATERFALL, proof.BENCH, proof.LINT])
@pytest.mark.parametrize("fault", ["version", "missing", "text", "list", "damaged"])
def test_a_document_of_another_version_or_damaged_is_told_and_left_out(folder, name: str, fault: str) -> None:  # type: ignore[no-untyped-def]
    home = folder()
    place = home / proof.FOLDER / name
    document = json.loads(place.read_text())
    if fault == "version":
        document["schema_version"] = 99
    elif fault == "missing":
        document = {"schema_version": document["schema_version"], "kind": document.get("kind")}
    elif fault == "list":
        document = [document]
    text = {"text": "no JSON", "damaged": place.read_text()[:-20]}.get(fault, json.dumps(document))
    place.write_text(text)
    found = gather(home)
    assert list(found.absent) == [name]
    assert found.absent[name].startswith("cannot be shown: ")


def test_damaged_pictures_are_told(folder) -> None:  # type: ignore[no-untyped-def]
    home = folder()
    (home / proof.FOLDER / proof.STRIPS).write_bytes(b"no archive")
    assert list(gather(home).absent) == [proof.STRIPS]


def test_an_artefact_that_was_exported_again_is_stale(folder) -> None:  # type: ignore[no-untyped-def]
    home = folder()
    report = json.loads((home / "report.json").read_text())
    report["results"][0]["sha256"] = "other"
    (home / "report.json").write_text(json.dumps(report))
    assert gather(home).stale == ("coreml fp16",)
    (home / "report.json").unlink()
    assert gather(home).made == {}


def test_nothing_to_show_is_refused(tmp_path: Path, folder) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="edgemat parity"):
        gather(tmp_path)
    home = folder()
    shutil.rmtree(home / proof.FOLDER)
    (home / proof.FOLDER).mkdir()
    with pytest.raises(InputError, match="nothing to show"):
        gather(home)
