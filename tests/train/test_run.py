"""The sampler of a recipe: the share of mild composites is what the recipe says, in order and at random access."""

from __future__ import annotations

import pytest

from edgemat.data.types import Face
from edgemat.train import run
from edgemat.train.recipe import PlainRecipe


class Named:
    """A compositor that only says which it is."""

    def __init__(self, faces: object, occluders: object, size: int, seed: int, level: object) -> None:
        self.name = "mild" if level == run.Augmentation.mild() else "wild"

    def sample(self, index: int) -> tuple[str, int]:
        return self.name, index


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 1.0])
def test_the_share_of_mild_composites(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Compositor", Named)
    faces: list[Face] = []
    sample = run.sampler(PlainRecipe(mild=share), faces, [])
    drawn = [sample(i) for i in range(100)]
    assert [index for _, index in drawn] == list(range(100))  # type: ignore[misc]
    assert sum(name == "mild" for name, _ in drawn) == round(100 * share)  # type: ignore[misc]
    assert sample(42) == drawn[42]


def test_the_card_carries_what_the_licence_asks_for() -> None:
    card = run.card(PlainRecipe(seed=3), "edgemat train ...")
    assert card["license"] == "CC-BY-NC-4.0"
    assert (card["seed"], card["command"]) == ("3", "edgemat train ...")
