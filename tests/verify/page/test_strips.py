"""The pictures of a proof survive the disk, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.verify.page import strips
from edgemat.verify.page.strips import Strips


def make(k: int = 2, **changes: object) -> Strips:
    rng = np.random.default_rng(3)

    def plane() -> np.ndarray:
        return rng.integers(0, 256, (k, 8, 6), np.uint8)

    values = {
        "images": rng.integers(0, 256, (k, 8, 6, 3), np.uint8),
        "alphas": {"tflite int8": plane(), "coreml fp16": plane()},
        "reference": plane(),
        "truth": plane(),
        "uncertainty": plane(),
        "names": tuple(f"image {i}: hand" for i in range(k)),
    }
    return Strips(**{**values, **changes})


def test_what_is_saved_is_what_is_loaded_and_the_bytes_repeat(tmp_path: Path) -> None:
    one = make()
    strips.save(one, tmp_path / "a" / "strips.npz")
    strips.save(one, tmp_path / "b.npz")
    assert (tmp_path / "a" / "strips.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    two = strips.load(tmp_path / "b.npz")
    for name in ("images", "reference", "truth", "uncertainty"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert list(two.alphas) == list(one.alphas)
    assert all(np.array_equal(two.alphas[name], alpha) for name, alpha in one.alphas.items())
    assert two.names == one.names


def test_truth_uncertainty_and_names_may_be_unknown(tmp_path: Path) -> None:
    strips.save(make(truth=None, uncertainty=None, names=()), tmp_path / "s.npz")
    found = strips.load(tmp_path / "s.npz")
    assert found.truth is None
    assert found.uncertainty is None
    assert found.names == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"images": np.zeros((2, 8, 6), np.uint8)}, "images"),
        ({"images": np.zeros((0, 8, 6, 3), np.uint8)}, "images"),
        ({"reference": np.zeros((2, 8, 7), np.uint8)}, "reference"),
        ({"truth": np.zeros((2, 8, 6), np.float32)}, "truth"),
        ({"alphas": {"onnx fp32": np.zeros((1, 8, 6), np.uint8)}}, "onnx fp32"),
        ({"names": ("one",)}, "names"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make(**changes)


def test_a_file_that_is_missing_damaged_pickled_or_of_another_version_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "strips.npz"
    with pytest.raises(InputError, match="edgemat parity"):
        strips.load(place)
    place.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="cannot be read"):
        strips.load(place)
    with place.open("wb") as stream:
        np.savez(stream, schema_version=np.array(1), images=np.array([{}], object))
    with pytest.raises(InputError, match="cannot be read"):
        strips.load(place)
    with place.open("wb") as stream:
        np.savez(stream, schema_version=np.array(9))
    with pytest.raises(InputError, match="schema version 9"):
        strips.load(place)
