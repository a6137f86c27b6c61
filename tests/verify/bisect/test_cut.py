"""Where a backend shows no inner tensors, shorter trunks find the fault; where they cannot, that is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.errors import UnsupportedOpError
from edgemat.export._target import Target, Trunk
from edgemat.export.onnx import TARGET, OnnxRunner
from edgemat.verify.bisect import bisect
from edgemat.verify.exported import Entry

from .planting import edit, state

Images = npt.NDArray[np.uint8]


class Silent(OnnxRunner):
    """Shows no inner tensors, as an accelerator does."""

    def trace(self, image: Images) -> Mapping[str, npt.NDArray[np.float32]]:
        return {}


def wrong_converter(trunk: Trunk, precision: str, path: Path) -> None:
    """Resize with aligned corners, whatever the trunk says."""
    model = onnx.load(trunk.path)
    for node in model.graph.node:
        if node.op_type == "Resize":
            state(node.output[0], coordinate_transformation_mode="align_corners")(model)
    onnx.save(model, path.with_suffix(".wrong"))
    TARGET.convert(replace(trunk, path=path.with_suffix(".wrong")), precision, path)


def silent(**changes: object) -> Target:
    return replace(TARGET, load=Silent, **changes)  # type: ignore[arg-type]


def made(target: Target, trunk: Trunk, folder: Path) -> Entry:
    target.convert(trunk, "fp32", folder / "a.onnx")
    return Entry(target, "fp32", folder / "a.onnx", trunk)


def test_the_first_resize_of_a_wrong_converter_is_found(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    found = bisect(made(silent(convert=wrong_converter), trunk, tmp_path), images[:2])
    assert not found
    assert found.first is not None
    assert (found.first.tensor, found.first.op) == ("laterals.1.resize", "Resize")
    assert "by exporting" in found.notes[-1]


def test_a_right_backend_that_shows_nothing_passes_by_its_output(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    found = bisect(made(silent(), trunk, tmp_path), images[:2])
    assert found
    assert found.compared == 1
    assert "the backend shows no inner tensors" in str(found)


def test_a_fault_of_the_file_alone_is_said_to_be_one(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    entry = made(silent(), trunk, tmp_path)
    model = onnx.load(entry.path)
    edit("decoders.1.body.bias", np.zeros_like)(model)
    onnx.save(model, entry.path)
    found = bisect(entry, images[:2])
    assert not found
    assert found.first is not None
    assert found.first.tensor == "alpha"
    assert "exported again, passes" in found.notes[-1]


def test_a_trunk_that_cannot_be_exported_again_is_said_to_be_one(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    def refuses(trunk: Trunk, precision: str, path: Path) -> None:
        raise UnsupportedOpError("no such operator")

    entry = made(silent(convert=wrong_converter), trunk, tmp_path)
    found = bisect(replace(entry, target=silent(convert=refuses)), images[:2])
    assert found.first is not None
    assert found.first.tensor == "alpha"
    assert "cannot be exported again" in found.notes[-1]


def test_no_trunk_is_cut_where_that_is_not_wanted(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    found = bisect(made(silent(convert=wrong_converter), trunk, tmp_path), images[:1], cuts=False)
    assert found.first is not None
    assert found.first.tensor == "alpha"
    assert found.notes == ()


@pytest.mark.parametrize("shows", ["right", "wrong"])
def test_what_runs_is_not_what_shows_its_tensors(shows: str, trunk: Trunk, images: Images, tmp_path: Path) -> None:
    class Delegate(OnnxRunner):
        def run(self, images: Images) -> npt.NDArray[np.float32]:
            return np.clip(super().run(images) + np.float32(0.02), 0, 1)

    target = replace(TARGET, load=Delegate if shows == "right" else OnnxRunner)
    found = bisect(made(target, trunk, tmp_path), images[:2], cuts=False)
    if shows == "wrong":
        assert found
        return
    assert found.first is not None
    assert found.first.tensor == "alpha"
    assert "what the runtime executes is not what shows its tensors" in found.first.hint
