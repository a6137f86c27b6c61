"""What a training run is told: frozen, validated values that read and write as plain TOML or JSON."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from edgemat.errors import InputError
from edgemat.model.student import Normalization, StudentConfig
from edgemat.model.teacher import TeacherConfig
from edgemat.quantize.ranges import METHODS
from edgemat.quantize.scheme import Scheme
from edgemat.train.weighting import WEIGHTINGS


@dataclass(frozen=True)
class Recipe:
    """What every stage is told.

    Attributes:
        size: Height and width of the training images, pixels.
        mild: Share of composites that vary as little as everyday photos do; the others vary as far as they can. It
            counts where composites are made on the way, not where ready examples are read.
        steps: Optimiser steps.
        batch: Samples a step, over all processes.
        learning_rate: Peak of the schedule (linear warm-up, then cosine to a hundredth).
        warmup: Steps of warm-up.
        weight_decay: AdamW's, on convolution weights only.
        ema: Decay of the averaged weights, which are what is shipped.
        seed: Of the initial weights and of the samples' order.
        bfloat16: Forward and backward in bfloat16 where that is safe (losses stay float32).
        checkpoint_every: Steps between checkpoints.
        validate_every: Steps between figures, and a sheet of pictures, on the validation split.
        validation_per_face: Composites of each validation face.
        patience: Validations without a lower MAD after which the run ends early; 0 for never. With patience, the best
            validated weights are kept, otherwise the last.
        workers: Processes that make or read samples.
    """

    size: int = 256
    mild: float = 0.0
    steps: int = 10_000
    batch: int = 16
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.02
    ema: float = 0.998
    seed: int = 0
    bfloat16: bool = True
    checkpoint_every: int = 200
    validate_every: int = 1000
    validation_per_face: int = 4
    patience: int = 0
    workers: int = 1

    network: ClassVar[str] = ""
    """Name of the field that holds the network's configuration."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name in ("steps", "batch", "checkpoint_every", "validate_every", "validation_per_face", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}, expected at least 1")
        for name in ("warmup", "workers", "weight_decay", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}, expected at least 0")
        _expect_share(self, "mild")
        if self.size % 32:
            raise InputError(f"size = {self.size}, expected a multiple of 32 (five Laplacian levels)")
        if not 0 < self.learning_rate < 1 or not 0 <= self.ema < 1:
            raise InputError(
                f"learning_rate = {self.learning_rate}, ema = {self.ema}, expected 0 < lr < 1, 0 <= ema < 1"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build a recipe from plain values, as TOML and JSON hold them.

        Args:
            values: Field names to values; the network's is a mapping of its own, and fields may be left out.

        Raises:
            InputError: A name is unknown or a value impossible.

        Example:
            >>> StudentRecipe.from_mapping({"steps": 5, "student": {"arch": "mobile"}}).student.arch
            'mobile'
        """
        values = dict(values)
        try:
            if cls.network:
                config = dict(values.pop(cls.network, {}))
                norm = {k: tuple(v) for k, v in config.pop("normalization", {}).items()}
                config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
                kind = StudentConfig if cls.network == "student" else TeacherConfig
                values[cls.network] = kind(normalization=Normalization(**norm), **config)
            return cls(**values)
        except (TypeError, ValueError) as error:
            known = ", ".join(f.name for f in dataclasses.fields(cls))
            raise InputError(f"recipe: {error}; known fields: {known}") from error

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a recipe from a TOML file.

        Raises:
            InputError: The file is missing, not TOML, or holds an unknown or impossible field.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as TOML ({error})") from error
        return cls.from_mapping(values)

    def to_toml(self) -> str:
        """Return the recipe as TOML; `from_toml` reads it back.

        Example:
            >>> print(StudentRecipe(steps=5).to_toml().splitlines()[2])
            steps = 5
        """
        return "\n".join(_toml(self.plain())) + "\n"

    def plain(self) -> dict[str, Any]:
        """Return the recipe as JSON values; `from_mapping` reads them back."""
        result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return result


@dataclass(frozen=True)
class TeacherRecipe(Recipe):
    """Train a teacher: L1 and Laplacian on alpha, and a likelihood that teaches it its own doubt.

    Attributes:
        teacher: The network.
        nll: Weight of the likelihood beside L1 and Laplacian.
        beta: Of the beta-NLL, in [0, 1]: how much of an uncertain pixel's pull on alpha is given back.
        sure_after: Steps of L1 and Laplacian alone: errors of a network that knows nothing yet teach no doubt.
    """

    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    nll: float = 0.2
    beta: float = 0.5
    sure_after: int = 500

    network: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        _expect_share(self, "beta")
        if self.nll <= 0 or self.sure_after < 0:
            raise InputError(f"nll = {self.nll}, sure_after = {self.sure_after}, expected nll > 0, sure_after >= 0")
        if self.size % self.teacher.stride:
            raise InputError(f"size = {self.size}, expected a multiple of {self.teacher.stride}, the teacher's stride")


@dataclass(frozen=True)
class StudentRecipe(Recipe):
    """Train a student on ground truth, and on a teacher's alpha where ``teacher_share`` says so.

    Attributes:
        student: The network.
        teacher_share: Share of the loss whose target is the teacher's alpha; 0 needs no teacher.
        weighting: What the teacher's uncertainty does to the pixels' weights (`edgemat.train.weighting`).
        strength: How many times more than a sure pixel the least sure one counts in the ground-truth term, less one.
        trust: The same in the teacher-target term, of the weighting ``up``: -1 asks the teacher nothing where it is
            least sure, 0 asks it everywhere alike.
        keep_init: Share of the weights given to begin with in the result, which interpolates between them and the
            trained ones (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
    """

    student: StudentConfig = field(default_factory=StudentConfig)
    teacher_share: float = 0.0
    weighting: str = "none"
    strength: float = 4.0
    trust: float = -1.0
    keep_init: float = 0.0

    network: ClassVar[str] = "student"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        for name in ("teacher_share", "keep_init"):
            _expect_share(self, name)
        if self.weighting not in WEIGHTINGS:
            raise InputError(f"weighting = {self.weighting!r}, expected one of {', '.join(WEIGHTINGS)}")
        if self.strength < 0 or self.trust < -1:
            raise InputError(f"strength = {self.strength}, trust = {self.trust}, expected at least 0 and -1")

    @property
    def needs_teacher(self) -> bool:
        """Whether any part of the loss asks a teacher."""
        return self.teacher_share > 0 or self.weighting != "none"


@dataclass(frozen=True)
class QatRecipe(Recipe):
    """Train a finished student on its integer grid: weights, biases and, until they are frozen, scales.

    Attributes:
        scheme: What kind of grid, such as ``static_w8c_a8``.
        calibration: Images of the training set from which the scales begin.
        method: How their ranges are chosen, one of `edgemat.quantize.calibrate.METHODS`.
        student_share: Share of the loss whose target is the alpha of the float student that training begins with.
        weighting: What the teacher's uncertainty does to the pixels' weights in the ground-truth term
            (`edgemat.train.weighting`); ``none`` needs no teacher.
        strength: How many times more than a sure pixel the least sure one counts in the ground-truth term, less one.
        edges: Weight of `edgemat.train.losses.edges` against the truth beside the other terms; 0 leaves it out.
        frozen_after: Share of the steps after which scales stay as they are and only weights and biases move on.
        keep_init: Share of the weights and scales given to begin with in the result.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    scheme: str = "static_w8c_a8"
    calibration: int = 128
    method: str = "mse"
    student_share: float = 0.5
    weighting: str = "up"
    strength: float = 4.0
    edges: float = 0.0
    frozen_after: float = 0.75
    keep_init: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        Scheme.parse(self.scheme)
        for name in ("student_share", "keep_init", "frozen_after"):
            _expect_share(self, name)
        if self.weighting not in WEIGHTINGS:
            raise InputError(f"weighting = {self.weighting!r}, expected one of {', '.join(WEIGHTINGS)}")
        if self.method not in METHODS:
            raise InputError(f"method = {self.method!r}, expected one of {', '.join(METHODS)}")
        if min(self.strength, self.edges) < 0 or self.calibration < 1:
            found = f"strength = {self.strength}, edges = {self.edges}, calibration = {self.calibration}"
            raise InputError(f"{found}, expected at least 0, 0 and 1")

    @property
    def needs_teacher(self) -> bool:
        """Whether any part of the loss asks a teacher."""
        return self.weighting != "none"

    @property
    def frozen_from(self) -> int:
        """The first step that leaves the scales alone, at least 1."""
        return max(1, round(self.frozen_after * self.steps))


def _toml(values: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """Yield lines of TOML; JSON's numbers, strings, truth values and arrays are TOML's too."""
    yield from (f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict))
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ("", f"[{table}{key}]", *_toml(value, f"{table}{key}."))


def _expect_share(recipe: Recipe, name: str) -> None:
    if not 0 <= getattr(recipe, name) <= 1:
        raise InputError(f"{name} = {getattr(recipe, name)}, expected a share from 0 to 1")
