"""Checkpoints: one safetensors file that holds all that a run needs to go on, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.model.tensorfile import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "edgemat-checkpoint"
SCHEMA_VERSION = 1

_AGAIN = "remove it to start anew, or give another --out"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a number of steps.

    Attributes:
        step: Optimiser steps done.
        config: The run's configuration as plain JSON values; a resumed run must have the same.
        tensors: Everything else, by name: ``model.*``, ``ema.*``, ``optimizer.*``, ``stopping.*``, and ``best.*`` where
            a run may end early.
    """

    step: int
    config: dict[str, object]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix.``, without it."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(prefix + ".")}

    def expect(self, shapes: Mapping[str, Sequence[int]], path: Path) -> None:
        """Check that tensors are there and have their shapes.

        Args:
            shapes: By name.
            path: The checkpoint's file, for the message.

        Raises:
            InputError: A tensor is missing or has another shape.
        """
        found = {k: tuple(v.shape) for k, v in self.tensors.items()}
        wrong = [k for k, shape in shapes.items() if found.get(k) != tuple(shape)]
        faults = [f"{k}: found {found.get(k)}, expected {tuple(shapes[k])}" for k in wrong]
        if faults:
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise InputError(f"{path}: is no whole checkpoint of this run ({faults[0]}{more}); {_AGAIN}")


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; what stood at ``path`` stays until the new one is complete.

    Raises:
        OutputError: The file cannot be written (no space, no permission).
    """
    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "step": str(checkpoint.step),
        "config": json.dumps(checkpoint.config, sort_keys=True),
    }
    write_tensors(checkpoint.tensors, path, metadata)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: The file is missing, truncated, or no checkpoint of this format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as a checkpoint ({error}); {_AGAIN}") from error
    found = (metadata.get("format"), metadata.get("schema_version"))
    if found != (FORMAT, str(SCHEMA_VERSION)):
        raise InputError(f"{path}: format {found}, expected {(FORMAT, str(SCHEMA_VERSION))}; {_AGAIN}")
    return Checkpoint(int(metadata["step"]), json.loads(metadata["config"]), tensors)
