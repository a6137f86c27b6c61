"""How a teacher's uncertainty becomes the pixel weights of a student's losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

WEIGHTINGS = ("none", "up", "down", "both")
"""What the uncertainty does to the ground-truth term: nothing, raise it, or lower it as a likelihood would."""

_SAME = 0.99
"""Mean of u beyond which a pixel that is a little surer than the rest would weigh a hundred times more."""


@dataclass(frozen=True)
class Weighting:
    """Pixel weights from a teacher's uncertainty, with constants measured once, so that each pixel stands alone.

    With u the uncertainty divided by ``reference`` and cut at 1:

    ====== ======================== =====================
    kind   ground-truth term        teacher-target term
    ====== ======================== =====================
    none   1                        1
    up     (1 + strength * u) / m   (1 + trust * u) / m
    down   (1 - u) / m              (1 - u) / m
    both   (1 + strength * u) / m   (1 + strength * u) / m
    ====== ======================== =====================

    where m is the mean over the pixels that the constants were measured on, so that a weighting moves emphasis, not
    the size of the step. A likelihood weighs uncertain pixels down ("down"); the student is meant to work hardest there
    ("up"), on the truth, while its teacher is believed less where it doubts (``trust`` -1), as much as anywhere (0), or
    more (above 0).

    Attributes:
        kind: One of `WEIGHTINGS`.
        strength: How many times more than a sure pixel the least sure one counts, less one.
        reference: Uncertainty at which u is 1; positive.
        mean_u: Mean of u where the constants were measured, in [0, 1).
        trust: How many times more than where it is surest the teacher counts where it is least sure, less one; at
            least -1. Of ``up`` alone.
    """

    kind: str
    strength: float
    reference: float
    mean_u: float
    trust: float = -1.0

    @classmethod
    def measure(
        cls,
        kind: str,
        strength: float,
        uncertainty: npt.NDArray[np.float32],
        percentile: float = 99.0,
        trust: float = -1.0,
    ) -> Weighting:
        """Take the constants from a teacher's uncertainty on images that stand for all.

        Args:
            kind: One of `WEIGHTINGS`.
            strength: At least 0.
            uncertainty: Expected absolute error, float32, any shape, at least 0.
            percentile: Of the pixels, at which u reaches 1: beyond it a few pixels would outweigh all others.
            trust: At least -1.

        Raises:
            ValueError: The uncertainty is 0, or the same, nearly everywhere, so that it tells no pixel from another.

        Example:
            >>> Weighting.measure("up", 4.0, np.array([0.0, 0.1, 0.2], np.float32), percentile=100).reference
            0.20000000298023224
        """
        reference = float(np.percentile(uncertainty, percentile))
        if not reference > 0:
            raise ValueError(f"uncertainty is {reference} at its {percentile:g}th percentile, expected above 0")
        mean_u = float(np.minimum(uncertainty / reference, 1.0).mean(dtype=np.float64))
        if mean_u > _SAME:
            raise ValueError(f"uncertainty is nearly the same everywhere: its mean is {mean_u:.4f} of {reference:.4g}")
        return cls(kind, strength, reference, mean_u, trust)

    def truth(self, uncertainty: Tensor) -> Tensor | None:
        """Return the weight of the ground-truth term, the same shape, at least 0; None for one everywhere."""
        if self.kind == "none":
            return None
        return self._weight(uncertainty, -1.0 if self.kind == "down" else self.strength)

    def target(self, uncertainty: Tensor) -> Tensor | None:
        """Return the weight of the teacher-target term, the same shape, at least 0; None for one everywhere."""
        if self.kind == "none":
            return None
        return self._weight(uncertainty, {"up": self.trust, "down": -1.0, "both": self.strength}[self.kind])

    def _weight(self, uncertainty: Tensor, more: float) -> Tensor:
        u = (uncertainty / self.reference).clamp(max=1.0)
        weight: Tensor = (1.0 + more * u) / (1.0 + more * self.mean_u)
        return torch.clamp(weight, min=0.0)
