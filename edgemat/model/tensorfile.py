"""Write tensors and text as one safetensors file: completely or not at all, the same values as the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

_LENGTH = 8
"""Bytes of the header's length, little-endian, which the header follows; it ends at a multiple of as many bytes."""


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Args:
        tensors: By name, on the CPU or a device.
        path: The goal.
        metadata: Text to text.

    Raises:
        OutputError: The goal cannot be written (no space, no permission).

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> write_tensors({"x": torch.zeros(2)}, path, {"b": "1", "a": "2"})
        >>> path.read_bytes()[8:47]
        b'{"__metadata__":{"a":"2","b":"1"},"x":{'
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(metadata))
    with atomic_path(path) as temporary:
        # Not by save_file, whose errors are no OSError.
        temporary.write_bytes(_sorted(content))


def _sorted(content: bytes) -> bytes:
    """Return the file with its header in alphabetical order: safetensors shuffles the metadata at each writing."""
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    text = json.dumps(json.loads(content[_LENGTH:end]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    header = text.encode()
    header += b" " * (-len(header) % _LENGTH)
    return len(header).to_bytes(_LENGTH, "little") + header + content[end:]
