"""The limits that a student is held to: each is broken by a planted fault and kept otherwise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify.evaluate import Evaluation, evaluate
from edgemat.verify.limits import BETWEEN_TONES, OF_TEACHER, failures, mad_ratio

SIZE = 16


def planted(face: int, ita: float, error: float) -> Sample:
    """Make an image of skin; its red channel tells ``misses`` how much of it to miss."""
    alpha = np.ones((SIZE, SIZE), np.float32)
    image = np.full((SIZE, SIZE, 3), round(error * 255), np.uint8)
    return Sample(image, alpha, alpha, alpha, f"face-{face}", ita=ita)


def misses(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return (1 - images[..., 0] / 255).astype(np.float32)


def scored(light: float, brown: float) -> Evaluation:
    samples = [planted(i % 5, 45, light) for i in range(20)] + [planted(5 + i % 5, 0, brown) for i in range(20)]
    return evaluate(misses, samples, baseline=False)


def test_a_student_as_good_as_its_teacher_and_even_keeps_both() -> None:
    assert failures(scored(0.2, 0.2), scored(0.2, 0.2)) == []


@pytest.mark.parametrize(("student", "kept"), [(0.225, True), (0.24, False)])
def test_the_teachers_error_sets_the_limit(student: float, kept: bool) -> None:
    found = failures(scored(student, student), scored(0.2, 0.2))
    assert (found == []) is kept
    assert kept or ("x the teacher's" in found[0] and str(OF_TEACHER) in found[0])


@pytest.mark.parametrize(("brown", "kept"), [(0.28, True), (0.32, False)])
def test_one_skin_tone_may_not_pay_for_another(brown: float, kept: bool) -> None:
    found = failures(scored(0.2, brown))
    assert (found == []) is kept
    assert kept or ("worst skin tone is 1.6" in found[0] and str(BETWEEN_TONES) in found[0])


def test_the_ratio_resamples_faces() -> None:
    ratio = mad_ratio(scored(0.2, 0.4), scored(0.2, 0.2))
    assert ratio.value == pytest.approx(1.5)
    assert 1.0 < ratio.low < 1.45
    assert 1.55 < ratio.high < 2.0
    even = mad_ratio(scored(0.4, 0.4), scored(0.2, 0.2))
    assert even.low == pytest.approx(even.high) == pytest.approx(2.0)


def test_other_samples_and_a_perfect_teacher_are_refused() -> None:
    other = evaluate(misses, [planted(0, 45, 0.2)], baseline=False)
    with pytest.raises(InputError, match="other samples"):
        mad_ratio(scored(0.2, 0.2), other)
    with pytest.raises(InputError, match="no ratio"):
        mad_ratio(scored(0.2, 0.2), scored(0.0, 0.0))
