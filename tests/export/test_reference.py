"""The graphs beside the artefacts: what was written comes back, and nothing else does."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.export import _reference
from edgemat.export._target import Trunk, Trunks


@pytest.fixture
def folder(trunk: Trunk, int_trunk: Trunk, tmp_path: Path) -> Path:
    assert int_trunk.grid is not None
    _reference.save(Trunks(trunk, {int_trunk.grid.scheme.name: int_trunk}), tmp_path / "reference")
    return tmp_path / "reference"


def test_the_trunks_come_back_bit_for_bit(folder: Path, trunk: Trunk, int_trunk: Trunk) -> None:
    found = _reference.load(folder)
    assert found.plain is not None
    assert found.plain.path.read_bytes() == trunk.path.read_bytes()
    assert found.plain.info == trunk.info
    assert int_trunk.grid is not None
    other = found.on_grid[int_trunk.grid.scheme.name].grid
    assert other is not None
    assert dict(other.activations) == dict(int_trunk.grid.activations)
    assert other.kept == int_trunk.grid.kept
    assert other.scheme == int_trunk.grid.scheme
    for name, scales in int_trunk.grid.weights.items():
        np.testing.assert_array_equal(other.weights[name], scales)
        assert other.weights[name].dtype == np.float32


def test_another_graph_is_refused(folder: Path) -> None:
    (folder / "float.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"float\.onnx: not the graph that the export wrote"):
        _reference.load(folder)


@pytest.mark.parametrize("name", ["reference.json", "float.onnx"])
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}: missing.*edgemat export"):
        _reference.load(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 99}, "schema version 99, expected 1"),
        ({"trunks": {}}, "names no graph"),
        ({"trunks": {"float": {}}}, "KeyError"),
        ({"trunks": []}, "AttributeError"),
    ],
)
def test_an_impossible_index_is_refused(folder: Path, change: dict[str, object], reason: str) -> None:
    place = folder / "reference.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    with pytest.raises(InputError, match=reason):
        _reference.load(folder)


def test_an_impossible_scale_is_refused(folder: Path) -> None:
    place = folder / "reference.json"
    index = json.loads(place.read_text())
    facts = next(facts for facts in index["trunks"].values() if facts["grid"])
    facts["grid"]["activations"]["alpha"][0] = -1.0
    place.write_text(json.dumps(index))
    with pytest.raises(InputError, match="positive, normal float32"):
        _reference.load(folder)
