"""Tests of shuffled classes: luck is called luck, and the worst faces being those of one class is not."""

from __future__ import annotations

import numpy as np
import pytest

from edgemat.verify.parity.exchange import ALARM, SHUFFLES, Exchange

SIZES = (14, 9, 9, 12, 12, 4, 4, 9, 8, 5, 5, 4, 7, 6, 5, 5, 5, 4, 4, 3, 3)
"""Images of each class that is judged, as in one composite of each face of the hold-out."""
FACES = [f"face {i:02d}" for i in range(32)]


def drawn(rng: np.random.Generator) -> Exchange:
    members = np.zeros((32, len(SIZES)), np.bool_)
    for column, size in enumerate(SIZES):
        members[rng.choice(32, size, replace=False), column] = True
    return Exchange(members, FACES)


@pytest.mark.parametrize("noise", ["normal", "heavy tails", "one outlier"])
def test_luck_alone_raises_no_alarm(noise: str) -> None:
    rng = np.random.default_rng(4)
    alarms, sets = 0, 40
    for _ in range(sets):
        loss = rng.normal(0, 1, (32, 3)) if noise == "normal" else rng.standard_t(2, (32, 3))
        if noise == "one outlier":
            loss[rng.integers(32)] += 100
        chances = drawn(rng).chances(loss)
        alarms += bool((chances <= ALARM / chances.size).any())
    assert alarms <= ALARM * sets


def test_the_worst_faces_being_those_of_one_class_is_no_luck() -> None:
    rng = np.random.default_rng(5)
    members = np.zeros((32, 2), np.bool_)
    members[:4, 0] = members[10:20, 1] = True
    loss = rng.normal(0, 1, (32, 1))
    loss[:4, 0] = [6, 20, 9, 300]  # as unequal as it may be
    chances = Exchange(members, FACES).chances(loss)
    assert chances[0, 0] < 5 / SHUFFLES
    assert chances[1, 0] > 0.05


def test_no_loss_is_as_likely_as_can_be() -> None:
    assert (drawn(np.random.default_rng(0)).chances(np.zeros((32, 2))) == 1).all()


def test_the_scale_of_a_loss_does_not_matter() -> None:
    loss = np.random.default_rng(6).normal(0, 1, (32, 1))
    exchange = drawn(np.random.default_rng(0))
    assert np.array_equal(exchange.chances(loss), exchange.chances(loss * 2.0**40))


def test_all_images_of_a_face_change_their_classes_together() -> None:
    faces = [name for name in FACES[:6] for _ in range(3)]  # 18 images of 6 faces
    members = np.arange(18)[:, None] < 6  # both images' classes of the first two
    loss = np.repeat(np.array([5.0, 5.0, 0, 0, 0, 0]), 3)[:, None]
    chance = Exchange(members, faces).chances(loss)[0, 0]
    assert chance == pytest.approx(1 / 15, abs=0.01)  # one pair of six faces; of 18 images it would be 1 / 18,564


def test_faces_of_one_image_and_of_several_do_not_mix() -> None:
    faces = ["a", "b", "b", "c", "c", "d"]
    exchange = Exchange(np.array([[True], [False], [False], [False], [False], [False]]), faces)
    chance = exchange.chances(np.array([[1.0], [0], [0], [0], [0], [0]]))[0, 0]
    assert chance == pytest.approx(1 / 2, abs=0.02)  # only d could take its place


def test_a_large_set_is_shuffled_part_by_part() -> None:
    names = [f"face {i:03d}" for i in range(256)]
    members = np.random.default_rng(0).random((256, 3)) < 0.1
    loss = np.random.default_rng(1).normal(0, 1, (256, 2))
    chances = Exchange(members, names).chances(loss)
    assert chances.shape == (3, 2)
    assert ((chances > 0) & (chances <= 1)).all()
