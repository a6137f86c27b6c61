"""The pictures are those that show most, and the documents are whole."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgemat.verify.parity import documents
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.parity.run import Shown


def of(count: int) -> ParitySet:
    images = np.zeros((count, 8, 8, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    return ParitySet(
        images,
        np.ones((count, 8, 8), np.float32),
        np.full((count, 8, 8), 0.02, np.float32),
        (("occluder: hand", "skin: tan"), *(((),) * (count - 1))),
        tuple(map(str, range(count))),
        np.zeros((0, 2, 8, 8, 3), np.uint8),
        np.zeros((0, 2, 8, 8), np.float32),
        (),
    )


def test_the_images_that_differ_most_are_shown_in_order() -> None:
    codes = np.full((9, 8, 8), 128, np.uint8)
    codes[7] += 9
    codes[3] -= 5
    shown = Shown({"a fp16": codes, "b int8": np.full_like(codes, 128)}, np.full((9, 8, 8), 0.5, np.float32))
    found = documents.pictures(shown, of(9))
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 3, 7]
    assert found.names == ("occluder: hand, skin: tan", "image 1", "image 3", "image 7")
    assert found.alphas["a fp16"][3, 0, 0] == 137
    assert found.truth is not None
    assert found.uncertainty is not None
    assert (found.truth.min(), found.uncertainty.min()) == (255, 255)


def test_what_is_not_known_is_not_shown() -> None:
    plain = dataclasses.replace(of(2), truth=None, uncertainty=None)
    found = documents.pictures(Shown({}, np.zeros((2, 8, 8), np.float32)), plain)
    assert len(found) == 2
    assert (found.truth, found.uncertainty) == (None, None)
