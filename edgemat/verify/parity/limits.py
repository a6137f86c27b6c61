"""The limits of parity, with defaults that a team can live with and the reason for each."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgemat.verify.parity.composite import CompositeLimits
from edgemat.verify.parity.quality import QualityLimits


@dataclass(frozen=True)
class ConversionLimits:
    """How far an artefact may be from its reference at the same precision; None shows a figure and does not judge it.

    Attributes:
        max_abs: Largest difference of alpha, in [0, 1], of an artefact that computes in float. The target's own gate
            where none is given: what its back end was measured to keep.
        mean_abs: Mean difference of alpha, likewise.
        psnr: Least peak signal-to-noise ratio in dB, of an artefact that computes in float. 60 dB is a root mean square
            error of 0.001, a quarter of an 8-bit matte's step: nothing that a pixel could show. float16 has 72 dB or
            more, float32 138 dB; a wrong bias, scale or order of channels has less than 50.
        rounding: How many times as far as rounding explains a tensor of a float artefact may be from what the trunk's
            operator makes of the artefact's own inputs (`edgemat.verify.bisect`). 1 is that bound itself: what is
            beyond it is no rounding.
        lsb: Codes by which a tensor of an integer artefact may differ from what the reference makes of the same inputs;
            the target's own gate where none is given.
        differ: Share of a tensor's codes that may differ at all, likewise.
        within_one: Least share of alpha's pixels within one code of the reference end to end, likewise.
    """

    max_abs: float | None = None
    mean_abs: float | None = None
    psnr: float | None = 60.0
    rounding: float | None = 1.0
    lsb: int | None = None
    differ: float | None = None
    within_one: float | None = None


@dataclass(frozen=True)
class RatchetLimits:
    """How much worse than in an earlier report a judged figure may be.

    The same artefacts on the same images give the same figures, to the bit. The slack is for another version of a run
    time, or another processor, whose sums round differently.

    Attributes:
        relative: Share of the earlier figure.
        points: Added to it where the figure is in per cent: a tenth of a point is what a handful of flipped codes move.
        decibels: Added where it is in dB.
        alpha: Added where it is a difference of alpha, in [0, 1]: one float32 network beside another is all rounding.
        lsb: Added where it is in codes.
    """

    relative: float = 0.01
    points: float = 0.1
    decibels: float = 0.5
    alpha: float = 1e-6
    lsb: int = 0


@dataclass(frozen=True)
class Limits:
    """All limits of one artefact.

    Attributes:
        conversion: Beside the reference at the same precision.
        quality: On ground truth, beside the float network.
        composite: In the frame that a user sees.
        ratchet: Beside an earlier report.
    """

    conversion: ConversionLimits = field(default_factory=ConversionLimits)
    quality: QualityLimits = field(default_factory=QualityLimits)
    composite: CompositeLimits = field(default_factory=CompositeLimits)
    ratchet: RatchetLimits = field(default_factory=RatchetLimits)
