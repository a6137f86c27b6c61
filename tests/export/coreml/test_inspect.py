"""What a package computes in and stores is read from the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat.export.coreml import TARGET


@pytest.mark.parametrize(
    ("precision", "arithmetic", "stored"),
    [
        ("fp32", "float32", "float32"),
        ("fp16", "float16", "float16"),
        ("w8", "float16", "int8"),
        ("w8a8", "int8", "int8"),
    ],
)
def test_a_package_says_what_it_is(precision: str, arithmetic: str, stored: str, packages: dict[str, Path]) -> None:
    found = TARGET.inspect(packages[precision])
    assert set(found.arithmetic()) == {"moves", arithmetic}
    sizes = found.weight_bytes()
    assert max(sizes, key=lambda kind: sizes[kind]) == stored
    assert found.is_integer == (precision == "w8a8")
    assert found.islands == ()
    assert max(found.activations, key=lambda kind: found.activations[kind]) == arithmetic
    assert found.to_json()["format"] == "Core ML"


def test_weights_are_counted_where_they_are_read(packages: dict[str, Path]) -> None:
    whole, eighth = (TARGET.inspect(packages[p]).weight_bytes() for p in ("fp32", "w8"))
    assert set(eighth) == {"int8", "float16"}
    convolutions = sum(op.kind == "conv" for op in TARGET.inspect(packages["w8"]).ops)
    assert convolutions > 5
    assert whole["float32"] == 4 * eighth["int8"] + 2 * (eighth["float16"] - _scales(packages["w8"]))


def _scales(path: Path) -> int:
    """Return the bytes of the weights' scales, which are stored as float16."""
    assert TARGET.scales is not None
    return 2 * sum(scales.size for scales in TARGET.scales(path).weights.values())


def test_notes_say_what_a_file_cannot(packages: dict[str, Path]) -> None:
    assert "cannot say which unit" in TARGET.inspect(packages["w8a8"]).notes[0]
    assert "arithmetic stays float16" in TARGET.inspect(packages["w8"]).notes[0]
    assert TARGET.inspect(packages["fp16"]).notes == ()
