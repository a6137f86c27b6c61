"""Checkpoints: one safetensors file that holds all that a run needs to go on, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "edgemat-checkpoint"
SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a number of steps.

    Attributes:
        step: Optimiser steps done.
        config: The run's configuration as plain JSON values; a resumed run must have the same.
        tensors: Everything else, by name: ``model.*``, ``ema.*``, ``optimizer.*``.
    """

    step: int
    config: dict[str, object]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix.``, without it."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(prefix + ".")}


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; what stood at ``path`` stays until the new one is complete.

    Raises:
        OutputError: The file cannot be written (no space, no permission).
    """
    from safetensors.torch import save_file

    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "step": str(checkpoint.step),
        "config": json.dumps(checkpoint.config, sort_keys=True),
    }
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in checkpoint.tensors.items()}, temporary, metadata)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: The file is missing, truncated, or no checkpoint of this format.
    """
    from safetensors import SafetensorError, safe_open

    again = "remove it to start anew, or give another --out"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as a checkpoint ({error}); {again}") from error
    found = (metadata.get("format"), metadata.get("schema_version"))
    if found != (FORMAT, str(SCHEMA_VERSION)):
        raise InputError(f"{path}: format {found}, expected {(FORMAT, str(SCHEMA_VERSION))}; {again}")
    return Checkpoint(int(metadata["step"]), json.loads(metadata["config"]), tensors)
