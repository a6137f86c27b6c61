"""Find the first tensor where an artefact and its reference part, or the backend that disagrees with the others."""

from __future__ import annotations

from edgemat.verify.bisect.result import Bisection, Evidence, Part
from edgemat.verify.bisect.voting import Vote, vote
from edgemat.verify.bisect.walk import bisect

__all__ = ["Bisection", "Evidence", "Part", "Vote", "bisect", "vote"]
