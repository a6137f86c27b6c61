"""Pictures inside the page: what is drawn, what is said instead, and how much it may take."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
from PIL import Image

from edgemat.verify.page import pictures
from edgemat.verify.page.strips import Strips


def make(size: int = 32, k: int = 1, **alphas: int) -> Strips:
    """Return strips whose artefacts differ from the reference, 100 everywhere, by so many codes in one pixel."""
    reference = np.full((k, size, size), 100, np.uint8)
    made = {}
    for name, by in alphas.items():
        made[name] = reference.copy()
        made[name][:, 3, 4] = 100 + by
    return Strips(np.zeros((k, size, size, 3), np.uint8), made, reference)


def drawn(page: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_a_difference_is_red_where_there_is_more_blue_where_less_and_strong_as_amplified() -> None:
    page = pictures.section(make(more=16, less=-8))
    colours = [np.asarray(picture.convert("RGB")) for picture in drawn(page) if picture.mode == "P"]
    assert [tuple(colour[3, 4]) for colour in colours] == [(255, 92, 72), (42, 80, 128)]
    assert all(not colour[0].any() for colour in colours)


def test_artefacts_with_the_same_alpha_share_a_picture_and_what_nobody_sees_is_named() -> None:
    page = pictures.section(make(first=9, second=9, third=1, fourth=0))
    assert "first, second: off by 9 of 255 at most" in page
    assert "Within 1 of 255 of the float network&#x27;s: " in page.replace("'", "&#x27;")
    assert "third, fourth." in page
    assert sum(picture.mode == "P" for picture in drawn(page)) == 1


def test_what_is_unknown_is_left_out() -> None:
    assert "ground truth" not in pictures.section(make(a=2))
    assert "uncertainty" not in pictures.section(make(a=2))


def test_large_pictures_are_reduced_and_one_odd_pixel_survives() -> None:
    page = pictures.section(make(size=700, a=-16))
    for picture in drawn(page):
        assert max(picture.size) <= pictures.SIDE
        if picture.mode == "P":
            assert np.asarray(picture.convert("RGB")).max() == 255


def test_images_beyond_the_budget_are_counted_not_drawn() -> None:
    strips = make(k=5, a=4)
    page = pictures.section(strips, budget=len(pictures.section(make(a=4))) + 100)
    assert "4 more images are in proof/strips.npz" in page or "3 more images are in proof/strips.npz" in page
    assert page.count("<details") < 5


def test_every_picture_has_words() -> None:
    strips = dataclasses.replace(make(a=4), names=("hand <1>",))
    page = pictures.section(strips)
    assert page.count("<img") == page.count('alt="Image 1: hand &lt;1&gt;') == 4
