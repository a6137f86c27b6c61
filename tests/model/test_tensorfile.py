"""Tensor files: read back by safetensors, the same bytes for the same values, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from edgemat.errors import OutputError
from edgemat.model.tensorfile import write_tensors

from ..full_disk import a_full_disk

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a": torch.tensor([1.5, -2.0, 0.25], dtype=torch.float16),
    "count": torch.tensor(7),
    "turned": torch.arange(8.0).view(2, 4).t(),
}
METADATA = {f"key {i}": f"völlig {i}" for i in range(20)}


def test_safetensors_reads_what_was_written(tmp_path: Path) -> None:
    write_tensors(TENSORS, tmp_path / "t.safetensors", METADATA)
    with safe_open(tmp_path / "t.safetensors", framework="pt") as file:
        assert file.metadata() == METADATA
        read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert read.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def test_the_same_values_are_the_same_bytes_in_whatever_order_they_come(tmp_path: Path) -> None:
    for number in range(5):
        turned = dict(reversed(METADATA.items())) if number % 2 else METADATA
        write_tensors(TENSORS, tmp_path / f"{number}.safetensors", turned)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    (content,) = contents
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_a_full_disk_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_text("earlier")
    with a_full_disk(100), pytest.raises(OutputError, match=r"t\.safetensors: cannot be written"):
        write_tensors(TENSORS, path, METADATA)
    assert path.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]
