"""What a student must keep to before it is shipped: near its teacher, and even between skin tones."""

from __future__ import annotations

import math

import numpy as np

from edgemat.errors import InputError
from edgemat.verify.bootstrap import Interval, cluster_draws, interval
from edgemat.verify.evaluate import FRAME, MODEL, Evaluation
from edgemat.verify.strata import strata

OF_TEACHER = 1.15
"""A student's mean MAD may be this many times its teacher's."""
BETWEEN_TONES = 1.5
"""The MAD of the worst skin tone may be this many times that of the best; tones of few faces are not judged."""


def mad_ratio(student: Evaluation, teacher: Evaluation) -> Interval:
    """Return the student's mean MAD over the teacher's on the same samples; the interval resamples faces.

    Raises:
        InputError: The samples differ, or the teacher makes no error.
    """
    if [image.face_id for image in student.images] != [image.face_id for image in teacher.images]:
        raise InputError("the two were evaluated on other samples; evaluate both on the same split and per-face")
    own, others = (
        np.array([image.scores[MODEL][FRAME]["mad"] for image in e.images], np.float64) for e in (student, teacher)
    )
    if not others.any():
        raise InputError("the network to compare with makes no error, so there is no ratio to it")
    weights = cluster_draws([image.face_id for image in student.images])
    return interval(float(own.sum() / others.sum()), (weights @ own) / (weights @ others))


def failures(student: Evaluation, teacher: Evaluation | None = None) -> list[str]:
    """Say which limits a student does not keep, one sentence each.

    Args:
        student: Its figures.
        teacher: The teacher's on the same samples; without it, only the skin tones are looked at.

    Raises:
        InputError: As `mad_ratio`.
    """
    found = []
    between = strata(student).between("skin")
    if not math.isnan(between) and between > BETWEEN_TONES:
        found.append(f"MAD of the worst skin tone is {between:.2f} x that of the best, at most {BETWEEN_TONES} allowed")
    if teacher is not None and (ratio := mad_ratio(student, teacher)).value > OF_TEACHER:
        found.append(f"MAD is {ratio} x the teacher's, at most {OF_TEACHER} allowed")
    return found
