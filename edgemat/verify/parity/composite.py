"""Composite space: the filtered 8-bit frame that a user sees, with the float network's alpha and with an artefact's."""

from __future__ import annotations

from dataclasses import dataclass

from edgemat.verify.parity.images import Alphas, ParitySet
from edgemat.verify.parity.report import Figure


@dataclass(frozen=True)
class CompositeLimits:
    """How far a filtered frame may be from the one that the float network's alpha gives.

    Attributes:
        share: Per cent of all pixels off by more than 2 of 255.
        worst: The same of the worst image.
    """

    share: float = 1.0
    worst: float = 5.0


class Composite:
    """Filters the images once, and compares each artefact's frames with the float network's."""

    def __init__(self, images: ParitySet, reference: Alphas, limits: CompositeLimits | None = None) -> None:
        """Make the filtered frames of the float network.

        Args:
            images: What everything was run on.
            reference: The float trunk's alpha (ONNX Runtime) of ``images.to_run``, float32, (N + C * T, H, W).
            limits: The defaults if None.
        """
        raise NotImplementedError

    def figures(self, alphas: Alphas) -> tuple[Figure, ...]:
        """Return one artefact's figures.

        Args:
            alphas: The artefact's alpha of ``images.to_run``, float32, (N + C * T, H, W), in [0, 1].
        """
        raise NotImplementedError
