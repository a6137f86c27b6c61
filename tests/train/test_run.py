"""A run's card and its parts: what they say and what they refuse."""

from __future__ import annotations

from edgemat.train import run
from edgemat.train.recipe import StudentRecipe


def test_the_card_carries_what_the_licence_asks_for() -> None:
    card = run.card(StudentRecipe(seed=3), "edgemat train ...")
    assert card["license"] == "CC-BY-NC-4.0"
    assert (card["seed"], card["command"]) == ("3", "edgemat train ...")
