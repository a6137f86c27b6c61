"""The stages of training: what each trains, by which losses, and what it leaves behind; the loop is one for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.model.predict import predict, predict_teacher
from edgemat.model.student import Student
from edgemat.model.teacher import Teacher
from edgemat.train import losses
from edgemat.train.batches import Batch
from edgemat.train.recipe import QatRecipe, Recipe, StudentRecipe, TeacherRecipe
from edgemat.train.weighting import Weighting

TOTAL = "loss"
"""Name of the term that is minimised; the others are told beside it."""


class Stage(Protocol):
    """What the loop asks of a stage.

    Attributes:
        weights_name: File name of the result.
        constants: Numbers that the stage measured before the first step, for the card.
    """

    @property
    def recipe(self) -> Recipe:
        """What to train and how."""

    weights_name: str
    constants: Mapping[str, float]

    def check(self, init: Path | None) -> None:
        """Refuse a recipe that lacks the weights to begin with."""

    def build(self, init: Path | None) -> nn.Module:
        """Return the network to train, with fresh weights or those of ``init``; its ``logits`` are trained."""

    def prepare(self, batch: Batch) -> Batch:
        """Add what the losses need and the batch lacks."""

    def losses(self, outputs: Tensor | tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the terms of the loss, `TOTAL` and its parts, from what ``logits`` gave."""

    def held(self, net: nn.Module, step: int) -> Iterable[nn.Parameter]:
        """Return the parameters that a step leaves as they are; they have moved in an earlier one."""

    def predict(
        self, net: nn.Module, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return alphas and, of a teacher, uncertainties, (N, H, W), of 8-bit images, (N, H, W, 3)."""

    def save(self, net: nn.Module, path: Path, card: Mapping[str, str], init: Path | None) -> None:
        """Write the trained network with its card."""


class TeacherStage:
    """Train a teacher on ground truth to know alpha and its own doubt."""

    weights_name = "teacher.safetensors"
    constants: Mapping[str, float] = {}

    def __init__(self, recipe: TeacherRecipe) -> None:
        """Set the recipe."""
        self.recipe = recipe

    def check(self, init: Path | None) -> None:
        """Accept both: a teacher begins with given weights or fresh ones."""

    def build(self, init: Path | None) -> nn.Module:
        """Return the teacher."""
        if init is None:
            return Teacher(self.recipe.teacher)
        loaded = weights.load_teacher(init)
        if loaded.config != self.recipe.teacher:
            raise InputError(f"--init {init}: a teacher of {loaded.config}, the recipe trains {self.recipe.teacher}")
        return loaded.net.train()

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch as it is: ground truth is all that a teacher learns from."""
        return batch

    def losses(self, outputs: Tensor | tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        """Return L1 plus Laplacian, and the beta-NLL, whose part is 0 until ``sure_after``."""
        assert isinstance(outputs, tuple)
        logits, log_scale = outputs
        recipe = self.recipe
        alpha = losses.plain(logits, batch.alpha)
        error = losses.leaky_clamp(logits) - batch.alpha
        if recipe.teacher.likelihood == "laplace":
            nll = losses.laplace_nll(error, log_scale, recipe.beta)
        else:
            nll = losses.gaussian_nll(error, 2.0 * log_scale, recipe.beta)
        # Multiplied rather than left out, so that every parameter has a gradient in every process from the first step.
        share = recipe.nll if step >= recipe.sure_after else 0.0
        return {TOTAL: alpha + share * nll, "alpha": alpha, "nll": nll}

    def held(self, net: nn.Module, step: int) -> Iterable[nn.Parameter]:
        """Hold nothing."""
        return ()

    def predict(
        self, net: nn.Module, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return alphas and uncertainties."""
        assert isinstance(net, Teacher)
        return predict_teacher(net, images)

    def save(self, net: nn.Module, path: Path, card: Mapping[str, str], init: Path | None) -> None:
        """Write the teacher."""
        assert isinstance(net, Teacher)
        weights.save_teacher(net, path, card)


class StudentStage:
    """Train a student on ground truth and, where the recipe says so, on a teacher's word."""

    weights_name = "student.safetensors"

    def __init__(
        self, recipe: StudentRecipe, teacher: Teacher | None = None, representative: npt.NDArray[np.uint8] | None = None
    ) -> None:
        """Set the recipe and measure the weighting's constants.

        Args:
            recipe: What to train and how.
            teacher: Asked wherever a batch does not bring a teacher's word along; needed when the recipe needs one.
            representative: RGB, uint8, (N, H, W, 3): images whose uncertainty stands for all, such as the validation
                split's.

        Raises:
            InputError: The recipe needs a teacher and there is none, or its doubt tells no pixel from another.
        """
        self.recipe = recipe
        self.teacher = teacher
        self.weighting = measured(recipe, teacher, representative)
        self.constants = constants_of(self.weighting)

    def check(self, init: Path | None) -> None:
        """Refuse to keep a share of weights that are not given."""
        share = self.recipe.keep_init
        if share and init is None:
            raise InputError(f"keep_init = {share} keeps a share of the weights of --init; give --init")

    def build(self, init: Path | None) -> nn.Module:
        """Return the student."""
        if init is None:
            return Student(self.recipe.student)
        return self._given(init)

    def _given(self, init: Path) -> Student:
        """Read the weights to begin with; they must be of the recipe's network."""
        loaded = weights.load(init)
        if loaded.config != self.recipe.student:
            raise InputError(f"--init {init}: a student of {loaded.config}, the recipe trains {self.recipe.student}")
        return loaded.net.train()

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Batch:
        """Ask the teacher where the batch does not bring its word along."""
        return batch if self.weighting is None else asked(self.teacher, batch, self.recipe.bfloat16)

    def losses(self, outputs: Tensor | tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the loss against the truth and, where the recipe has a teacher, against its alpha, each weighted."""
        assert isinstance(outputs, Tensor)
        if self.weighting is None:
            return {TOTAL: losses.plain(outputs, batch.alpha)}
        assert batch.teacher is not None
        assert batch.uncertainty is not None
        alpha, share = losses.leaky_clamp(outputs), self.recipe.teacher_share
        truth = losses.matting(alpha, batch.alpha, self.weighting.truth(batch.uncertainty))
        target = losses.matting(alpha, batch.teacher, self.weighting.target(batch.uncertainty))
        return {TOTAL: (1.0 - share) * truth + share * target, "truth": truth, "teacher": target}

    def held(self, net: nn.Module, step: int) -> Iterable[nn.Parameter]:
        """Hold nothing."""
        return ()

    def predict(
        self, net: nn.Module, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return alphas."""
        assert isinstance(net, Student)
        return predict(net, images), None

    def save(self, net: nn.Module, path: Path, card: Mapping[str, str], init: Path | None) -> None:
        """Write the student, with the share of the first weights that the recipe keeps."""
        assert isinstance(net, Student)
        if self.recipe.keep_init:
            assert init is not None
            net.load_state_dict(interpolated(net.state_dict(), self._given(init).state_dict(), self.recipe.keep_init))
        weights.save(net, path, card)


def measured(
    recipe: StudentRecipe | QatRecipe, teacher: Teacher | None, representative: npt.NDArray[np.uint8] | None
) -> Weighting | None:
    """Return a recipe's weighting with constants from a teacher's uncertainty; None where it asks no teacher.

    Raises:
        InputError: The recipe needs a teacher and there is none, or its doubt tells no pixel from another.
    """
    if not recipe.needs_teacher:
        return None
    if teacher is None or representative is None:
        raise no_teacher(recipe)
    try:
        doubt = predict_teacher(teacher, representative)[1]
        trust = recipe.trust if isinstance(recipe, StudentRecipe) else -1.0
        return Weighting.measure(recipe.weighting, recipe.strength, doubt, trust=trust)
    except ValueError as error:
        raise InputError(f"--teacher: {error}; judge it with: edgemat uncertainty") from error


def constants_of(weighting: Weighting | None) -> Mapping[str, float]:
    """Return what a card and a checkpoint note of a weighting."""
    return {} if weighting is None else {"reference": weighting.reference, "mean_u": weighting.mean_u}


def asked(teacher: Teacher | None, batch: Batch, bfloat16: bool) -> Batch:
    """Return a batch with a teacher's word: the one that it brings along, or what the teacher says now.

    Either is the mean over an image and its mirror image, as `edgemat.train.annotate` writes it.
    """
    if batch.teacher is not None:
        return batch
    assert teacher is not None
    teacher.to(batch.image.device)
    with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=bfloat16):
        alpha, uncertainty = teacher.word(batch.image, flip=True)
    return replace(batch, teacher=alpha, uncertainty=uncertainty)


def no_teacher(recipe: StudentRecipe | QatRecipe) -> InputError:
    """Return the error of a recipe that needs a teacher where none is given."""
    share = f"teacher_share = {recipe.teacher_share}, " if isinstance(recipe, StudentRecipe) else ""
    return InputError(
        f"{share}weighting = {recipe.weighting!r} need a teacher; "
        "give one with --teacher, or train one with: edgemat train teacher --out runs/teacher"
    )


def interpolated(trained: Mapping[str, Tensor], first: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the trained tensors with a share of the first ones; whole numbers stay the trained ones."""
    return {
        name: torch.lerp(value, first[name], share) if value.is_floating_point() else value
        for name, value in trained.items()
    }
