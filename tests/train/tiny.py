"""What the tests of training share: a tiny student, a tiny teacher, and examples that cost nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgemat.data.types import Example, Sample
from edgemat.model import weights
from edgemat.model.student import StudentConfig
from edgemat.model.teacher import Teacher, TeacherConfig
from edgemat.train.recipe import StudentRecipe, TeacherRecipe

STUDENT = StudentConfig(widths=(8, 8, 8), depths=(1, 1, 1))
TEACHER = TeacherConfig(widths=(4, 8), depths=(0, 1))
CARD = {"version": "0", "license": "none", "author": "test", "description": "test", "command": "test"}
_VALUES = {"size": 32, "steps": 6, "batch": 2, "warmup": 2, "checkpoint_every": 2, "validate_every": 3, "workers": 0}


def square(index: int) -> Example:
    """A bright square on a dark ground: alpha is the square."""
    rng = np.random.default_rng(index)
    alpha = np.zeros((32, 32), np.float32)
    y, x = rng.integers(0, 16, 2)
    alpha[y : y + 16, x : x + 16] = 1.0
    image = np.where(alpha[..., None] > 0, 200, 30) + rng.integers(0, 20, (32, 32, 3))
    return Example(image=image.astype(np.uint8), alpha=alpha)


def samples(count: int) -> list[Sample]:
    """Squares that are not trained on, each of a face of its own."""
    examples = [square(10**6 + i) for i in range(count)]
    return [Sample(e.image, e.alpha, e.alpha, e.alpha, face_id=f"face-{i}") for i, e in enumerate(examples)]


VALIDATION = samples(4)
IMAGES = np.stack([s.image for s in VALIDATION])


def student_recipe(**changes: object) -> StudentRecipe:
    """A recipe of six steps."""
    return StudentRecipe(**{**_VALUES, "student": STUDENT, **changes})  # type: ignore[arg-type]


def teacher_recipe(**changes: object) -> TeacherRecipe:
    """A recipe of six steps; doubt counts from the third on."""
    return TeacherRecipe(**{**_VALUES, "teacher": TEACHER, "sure_after": 2, **changes})  # type: ignore[arg-type]


def teacher(seed: int = 0, config: TeacherConfig = TEACHER) -> Teacher:
    """A teacher whose doubt differs from pixel to pixel, as a trained one's does."""
    torch.manual_seed(seed)
    net = Teacher(config)
    torch.nn.init.normal_(net.doubt[-1].weight, std=0.5)  # type: ignore[arg-type]
    torch.nn.init.normal_(net.alpha.weight, std=0.1)
    return net.eval()


def teacher_file(path: Path, seed: int = 0) -> Path:
    """Write a teacher."""
    weights.save_teacher(teacher(seed), path, CARD)
    return path
