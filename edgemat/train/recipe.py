"""What a training run is told: a frozen, validated value that reads and writes as plain TOML or JSON."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgemat.errors import InputError
from edgemat.model.student import Normalization, StudentConfig


@dataclass(frozen=True)
class PlainRecipe:
    """Train a student on ground truth alone: L1 plus Laplacian.

    Attributes:
        student: The network.
        size: Height and width of the training images, pixels.
        mild: Share of composites that vary as little as everyday photos do; the others vary as far as they can.
        steps: Optimiser steps.
        batch: Samples a step.
        learning_rate: Peak of the schedule (linear warm-up, then cosine to a hundredth).
        warmup: Steps of warm-up.
        weight_decay: AdamW's, on convolution weights only.
        ema: Decay of the averaged weights, which are what is shipped.
        keep_init: Share of the weights given to begin with in the result, which interpolates between them and the
            trained ones (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
        seed: Of the initial weights and of the composites.
        bfloat16: Forward and backward in bfloat16 where that is safe (losses stay float32).
        checkpoint_every: Steps between checkpoints.
        validate_every: Steps between figures on the validation split.
        validation_per_face: Composites of each validation face.
        workers: Processes that make composites.
    """

    student: StudentConfig = field(default_factory=StudentConfig)
    size: int = 256
    mild: float = 0.0
    steps: int = 10_000
    batch: int = 16
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.02
    ema: float = 0.998
    keep_init: float = 0.0
    seed: int = 0
    bfloat16: bool = True
    checkpoint_every: int = 200
    validate_every: int = 1000
    validation_per_face: int = 4
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        for name in ("steps", "batch", "checkpoint_every", "validate_every", "validation_per_face", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}, expected at least 1")
        for name in ("warmup", "workers", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}, expected at least 0")
        for name in ("mild", "keep_init"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} = {getattr(self, name)}, expected a share from 0 to 1")
        if self.size % 32:
            raise InputError(f"size = {self.size}, expected a multiple of 32 (five Laplacian levels)")
        if not 0 < self.learning_rate < 1 or not 0 <= self.ema < 1:
            raise InputError(
                f"learning_rate = {self.learning_rate}, ema = {self.ema}, expected 0 < lr < 1, 0 <= ema < 1"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PlainRecipe:
        """Build a recipe from plain values, as TOML and JSON hold them.

        Args:
            values: Field names to values; ``student`` is a mapping of its own, and fields may be left out.

        Raises:
            InputError: A name is unknown or a value impossible.

        Example:
            >>> PlainRecipe.from_mapping({"steps": 5, "student": {"arch": "mobile"}}).student.arch
            'mobile'
        """
        values = dict(values)
        try:
            student = dict(values.pop("student", {}))
            norm = student.pop("normalization", {})
            norm = Normalization(**{k: tuple(v) for k, v in norm.items()})
            student = {k: tuple(v) if isinstance(v, list) else v for k, v in student.items()}
            return cls(student=StudentConfig(normalization=norm, **student), **values)
        except (TypeError, ValueError) as error:
            known = ", ".join(f.name for f in dataclasses.fields(cls))
            raise InputError(f"recipe: {error}; known fields: {known}") from error

    @classmethod
    def from_toml(cls, path: Path) -> PlainRecipe:
        """Read a recipe from a TOML file.

        Raises:
            InputError: The file is missing, not TOML, or holds an unknown or impossible field.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as TOML ({error})") from error
        return cls.from_mapping(values)

    def plain(self) -> dict[str, Any]:
        """Return the recipe as JSON values; `from_mapping` reads them back."""
        result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return result
