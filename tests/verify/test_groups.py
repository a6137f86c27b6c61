"""The strata an image counts in: every boundary of the bins, what is unknown, and their order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgemat.verify.groups import FAMILIES, face_height, face_size, groups, ordered, skin_tone


@pytest.mark.parametrize(
    ("ita", "tone"),
    [
        (55.1, "very light"),
        (55, "light"),
        (41, "light"),
        (40.9, "intermediate"),
        (28, "intermediate"),
        (27.9, "tan"),
        (10, "tan"),
        (9.9, "brown"),
        (-30, "brown"),
        (-30.1, "dark"),
        (math.nan, "unknown"),
    ],
)
def test_skin_tone_at_every_boundary(ita: float, tone: str) -> None:
    assert skin_tone(ita) == tone


@pytest.mark.parametrize(
    ("height", "size"),
    [(0.01, "small"), (0.599, "small"), (0.6, "medium"), (0.699, "medium"), (0.7, "large"), (1.0, "large")],
)
def test_face_size_at_every_boundary(height: float, size: str) -> None:
    assert face_size(height) == size


def test_the_height_is_that_of_the_outline_and_not_of_visible_skin() -> None:
    hull = np.zeros((40, 30), np.float32)
    hull[5:25, 10:20] = 1
    hull[25, 10:20] = 0.4  # less than half a pixel of it
    assert face_height(hull) == 20 / 40
    assert math.isnan(face_height(np.zeros((8, 8), np.float32)))
    assert face_size(math.nan) == "unknown"


def test_every_image_counts_in_every_family() -> None:
    for found in (groups([], 0.0, 0.5), groups(["cup"], 60.0, 0.9), groups(["unknown"], math.nan, math.nan)):
        assert [group.partition(": ")[0] for group in found] == list(FAMILIES)
    two = groups(["hand", "cup", "hand"], 0.0, 0.5)
    assert two[:3] == ("occluder: cup", "occluder: hand", "number: 3")
    assert groups(["unknown"], math.nan, math.nan)[1:] == ("number: unknown", "size: unknown", "skin: unknown")


def test_groups_are_ordered_by_family_and_bin() -> None:
    right = [
        "occluder: cup",
        "occluder: none",
        "number: 0",
        "number: 2",
        "number: unknown",
        "size: small",
        "size: medium",
        "size: large",
        "skin: very light",
        "skin: dark",
        "skin: unknown",
    ]
    assert ordered(set(right)) == right
