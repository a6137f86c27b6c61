"""What precision costs on ground truth: every metric beside the float network's, overall and stratum by stratum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgemat.verify.parity.images import Alphas, ParitySet
from edgemat.verify.parity.report import Figure

WHOLE: Mapping[str, float] = {"mad": 5.0, "mse": 10.0, "grad": 5.0, "conn": 5.0, "iou": 0.5, "dtssd": 5.0}
"""Default limits over all images, per cent worse than the float network."""
STRATA: Mapping[str, float] = {"mad": 10.0, "grad": 10.0, "conn": 10.0}
"""Default limits in any stratum."""


@dataclass(frozen=True)
class QualityLimits:
    """How much worse than the float network an artefact may be, in per cent of the float network's figure, by metric.

    Attributes:
        whole: Over all images (whole frame, and unknown region); a metric that is not named is shown and not judged.
        strata: In the worst stratum, likewise.
    """

    whole: Mapping[str, float] = field(default_factory=lambda: dict(WHOLE))
    strata: Mapping[str, float] = field(default_factory=lambda: dict(STRATA))


class Quality:
    """Measures artefacts beside the float network, whose own figures are computed once."""

    def __init__(self, images: ParitySet, reference: Alphas, limits: QualityLimits | None = None) -> None:
        """Measure the float network.

        Args:
            images: What everything was run on.
            reference: The float trunk's alpha (ONNX Runtime) of ``images.to_run``, float32, (N + C * T, H, W).
            limits: The defaults if None.
        """
        raise NotImplementedError

    @property
    def not_proven(self) -> tuple[str, ...]:
        """What a reader must not conclude, a sentence each (no truth, no clips, strata too small to judge)."""
        raise NotImplementedError

    def figures(self, alphas: Alphas) -> tuple[Figure, ...]:
        """Return one artefact's figures; empty where there is no truth.

        Args:
            alphas: The artefact's alpha of ``images.to_run``, float32, (N + C * T, H, W), in [0, 1].
        """
        raise NotImplementedError
