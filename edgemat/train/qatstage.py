"""The stage that trains a student on its integer grid, towards the truth and towards its float self."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgemat.model.predict import predict
from edgemat.model.student import Student
from edgemat.model.teacher import Teacher
from edgemat.quantize import checkpoint
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Grid
from edgemat.train import losses
from edgemat.train.batches import Batch
from edgemat.train.qat import QuantizedNet
from edgemat.train.recipe import QatRecipe
from edgemat.train.stages import TOTAL, asked, constants_of, interpolated, measured

_MOVED = "ranges and saturation are those of the calibration that training began with; scales have been learned since"


class QatStage:
    """Quantization-aware distillation: ground truth weighted by a teacher's doubt, and the float student's own alpha.

    What is validated and saved is the converted network: integer weights and biases, every tensor on its codes.
    """

    def __init__(
        self,
        recipe: QatRecipe,
        student: Student,
        graph: Graph,
        grid: Grid,
        teacher: Teacher | None = None,
        representative: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Set what training begins with, and measure the weighting's constants.

        Args:
            recipe: What to train and how.
            student: Float and deployed: the target, and the configuration of the result.
            graph: Of this student; its constants are the weights to begin with.
            grid: The scales to begin with.
            teacher: Asked wherever a batch does not bring a teacher's word along; needed when the recipe needs one.
            representative: RGB, uint8, (N, H, W, 3): images whose uncertainty stands for all.

        Raises:
            InputError: The recipe needs a teacher and there is none, or its doubt tells no pixel from another.
        """
        self.recipe, self.student, self.graph, self.grid, self.teacher = recipe, student.eval(), graph, grid, teacher
        self.weights_name = f"student-{recipe.scheme}.safetensors"
        self.weighting = measured(recipe, teacher, representative)
        size = sum(float(p.detach().abs().sum(dtype=torch.float64)) for p in student.parameters())
        self.constants: Mapping[str, float] = {**constants_of(self.weighting), "init": size}

    def check(self, init: Path | None) -> None:
        """Accept both: the graph holds the weights to begin with."""

    def build(self, init: Path | None) -> nn.Module:
        """Return the network on its grid, with the weights and scales to begin with."""
        return QuantizedNet(self.graph, self.grid, self.recipe.bfloat16)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Batch:
        """Ask the teacher for its doubt where the batch does not bring it along, and the float student for alpha."""
        if self.weighting is not None:
            batch = asked(self.teacher, batch, self.recipe.bfloat16)
        if not self.recipe.student_share:
            return batch
        student = self.student.to(batch.image.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return replace(batch, teacher=student(batch.image))

    def losses(self, outputs: Tensor | tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the weighted loss against the truth and the loss against the float student's alpha."""
        assert isinstance(outputs, Tensor)
        alpha, share = losses.leaky_clamp(outputs), self.recipe.student_share
        doubt = None if self.weighting is None or batch.uncertainty is None else batch.uncertainty
        weight = None if self.weighting is None or doubt is None else self.weighting.truth(doubt)
        truth = losses.matting(alpha, batch.alpha, weight)
        terms = {TOTAL: (1.0 - share) * truth, "truth": truth}
        if share:
            assert batch.teacher is not None
            terms["student"] = losses.matting(alpha, batch.teacher)
            terms[TOTAL] = terms[TOTAL] + share * terms["student"]
        if self.recipe.edges:
            terms["edges"] = losses.edges(alpha, batch.alpha)
            terms[TOTAL] = terms[TOTAL] + self.recipe.edges * terms["edges"]
        return terms

    def held(self, net: nn.Module, step: int) -> Iterable[nn.Parameter]:
        """Hold the scales once they are frozen."""
        assert isinstance(net, QuantizedNet)
        return net.steps() if step >= self.recipe.frozen_from else ()

    def predict(
        self, net: nn.Module, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return alphas of the converted network."""
        assert isinstance(net, QuantizedNet)
        return predict(net, images), None

    def save(self, net: nn.Module, path: Path, card: Mapping[str, str], init: Path | None) -> None:
        """Write the student and its grid, with the share of the first weights and scales that the recipe keeps."""
        assert isinstance(net, QuantizedNet)
        if self.recipe.keep_init:
            first = self.build(None).state_dict()
            net.load_state_dict(interpolated(net.state_dict(), first, self.recipe.keep_init))
        notes = self.grid.passport.get("notes")
        passport = {
            **self.grid.passport,
            "notes": [*(notes if isinstance(notes, list) else ()), _MOVED],
            "engine": "qat",
            "began": f"{self.recipe.method} of {self.recipe.calibration} training images",
            "steps": self.recipe.steps,
            "scales_frozen_from_step": self.recipe.frozen_from,
            "seed": self.recipe.seed,
        }
        checkpoint.save(net.student(self.student.config), net.grid(passport), path, card)
