"""A vote names a planted wrong backend, a wrong reference, and nobody where there is no majority."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.errors import InputError
from edgemat.export._target import Runner, Trunk, Trunks
from edgemat.export.onnx import OnnxRunner
from edgemat.verify.bisect import vote, voters
from edgemat.verify.exported import Entry

from .planting import PLANTED, entry

Images = npt.NDArray[np.uint8]


def faulty(trunk: Trunk, fault: str, folder: Path) -> Trunk:
    model = onnx.load(trunk.path)
    PLANTED[fault][2](model)
    onnx.save(model, folder / f"{fault}.onnx")
    return replace(trunk, path=folder / f"{fault}.onnx")


def three(trunk: Trunk, precisions: tuple[str, str, str], wrong: str, fault: str, folder: Path) -> list[Entry]:
    """Return an artefact of ONNX, Core ML and TFLite each; one of them is wrong."""
    found = []
    for target, precision in zip(("onnx", "coreml", "tflite"), precisions, strict=True):
        plant = PLANTED[fault][2] if target == wrong else None
        found.append(entry(target, precision, trunk, folder, plant))
    return found


@pytest.mark.parametrize("wrong", ["onnx", "coreml", "tflite"])
def test_the_wrong_backend_is_named(wrong: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    found = vote(three(trunks.plain, ("fp32",) * 3, wrong, "bias", tmp_path), images[:1])
    assert not found
    assert (found.state, found.wrong) == ("decided", (f"{wrong} fp32",))
    assert found.tensor is not None
    assert found.tensor.startswith("decoders.1.body")
    assert f"{wrong} fp32 disagrees with the majority" in str(found)
    assert len(found.pairs) == 6


def test_the_wrong_integer_backend_is_named(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    grid = trunks.on_grid["static_w8c_a8"]
    found = vote(three(grid, ("int8", "w8a8", "int8"), "tflite", "resize", tmp_path), images[:1])
    assert (found.state, found.wrong, found.tensor) == ("decided", ("tflite int8",), "laterals.0.resize")


def test_all_agree_where_nothing_is_wrong(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    found = vote(three(trunks.plain, ("fp32",) * 3, "", "bias", tmp_path), images[:2])
    assert found, str(found)
    assert found.wrong == ()
    assert found.voters == ("reference", "onnx fp32", "coreml fp32", "tflite fp32")
    assert "agree in" in str(found)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["passed"] is True


def test_a_wrong_reference_is_outvoted(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    right = three(trunks.plain, ("fp32",) * 3, "", "bias", tmp_path)
    other = faulty(trunks.plain, "bias", tmp_path)
    found = vote([replace(made, trunk=other) for made in right], images[:1])
    assert (found.state, found.wrong) == ("decided", ("reference",))
    assert found.tensor is not None
    assert found.tensor.startswith("decoders.1.body")


def test_two_against_two_is_undecided(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    entries = three(trunks.plain, ("fp32",) * 3, "", "bias", tmp_path)
    for number, made in enumerate(entries[1:]):  # two make the same mistake
        made.target.convert(faulty(trunks.plain, "bias", tmp_path), "fp32", tmp_path / f"{number}{made.target.suffix}")
    wrong = [replace(e, path=tmp_path / f"{n}{e.target.suffix}") for n, e in enumerate(entries[1:])]
    found = vote([entries[0], *wrong], images[:1])
    assert (found.state, found.wrong) == ("undecided", ())
    assert str(found).startswith("undecided: ")


def test_one_backend_alone_is_no_vote(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    alone = entry("onnx", "fp32", trunks.plain, tmp_path)
    with pytest.raises(InputError, match="needs two backends beside the reference"):
        vote([alone, alone], images[:1])
    with pytest.raises(InputError, match="not of one trunk and grid"):
        vote([alone, entry("onnx", "int8", trunks.on_grid["static_w8c_a8"], tmp_path)], images[:1])


class Silent(OnnxRunner):
    """Shows no inner tensors."""

    def trace(self, image: Images) -> Mapping[str, npt.NDArray[np.float32]]:
        return {}


def test_a_backend_that_shows_nothing_votes_on_its_output(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    onnx_, _, tflite = three(trunks.plain, ("fp32",) * 3, "onnx", "bias", tmp_path)

    def silent(path: Path) -> Runner:
        return Silent(path)

    silenced = replace(onnx_, target=replace(onnx_.target, load=silent))
    coreml = entry("coreml", "fp32", trunks.plain, tmp_path / "again") if (tmp_path / "again").mkdir() is None else None
    assert coreml is not None
    found = vote([silenced, coreml, tflite], images[:1])
    assert (found.state, found.wrong) == ("decided", ("onnx fp32",))
    assert found.tensor is not None
    assert "as it is returned" in found.tensor
    assert any("shows no inner tensors" in note for note in found.notes)


def test_backends_are_found_or_made(trunks: Trunks, tmp_path: Path) -> None:
    made = entry("tflite", "int8", trunks.on_grid["static_w8c_a8"], tmp_path)
    folder = tmp_path / "made"
    folder.mkdir()
    found = voters.others(made, ["onnx", "tflite", "onnx"], folder)
    assert [e.name for e in found] == ["tflite int8", "onnx int8"]
    assert found[1].path.parent == folder
    with pytest.raises(InputError, match="its grid is static_w8c_a8s"):
        voters.others(made, ["tensorrt"], folder)
    assert trunks.plain is not None
    halves = entry("tflite", "fp16", trunks.plain, tmp_path)
    with pytest.raises(InputError, match="--backends openvino: it makes"):
        voters.others(halves, ["openvino"], folder)
