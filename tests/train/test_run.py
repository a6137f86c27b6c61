"""A run's card and its parts: what they say and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgemat.data.records import RENDERED
from edgemat.data.shards import write_shards
from edgemat.errors import InputError
from edgemat.files import sha256
from edgemat.train import run
from edgemat.train.annotate import annotate
from edgemat.train.recipe import StudentRecipe
from edgemat.train.stages import Stage

from .tiny import VALIDATION, square, student_recipe, teacher_file, teacher_recipe


def test_the_card_carries_what_the_licence_asks_for() -> None:
    card = run.card(StudentRecipe(seed=3), "edgemat train ...")
    assert card["license"] == "CC-BY-NC-4.0"
    assert (card["seed"], card["command"]) == ("3", "edgemat train ...")


def rendered(folder: Path, **record: object) -> Path:
    """Write a set of three squares and what edgemat data render would say of it."""
    write_shards([(f"{i}", square(i)) for i in range(3)], folder)
    arguments = {"count": 3, "split": "train", "mild": 0.7, "seed": 4, "size": 32, "per_shard": 1000}
    text = {"arguments": arguments, "sources": {"faces": 1, "sha256": "5a" * 32}, "complete": True, **record}
    (folder / RENDERED).write_text(json.dumps(text, indent=2))
    return folder


def test_the_card_tells_of_a_rendered_set_in_one_line(tmp_path: Path) -> None:
    data = run.card(student_recipe(), "edgemat train ...", rendered(tmp_path / "set"))["data"]
    assert "\n" not in data
    assert data.startswith("fake-avatars")
    assert data.endswith(f"; rendered with count = 3, split = train, seed = 4, mild = 0.7, sources sha256 {'5a' * 32}")


def test_an_annotated_set_remembers_how_it_was_rendered(tmp_path: Path) -> None:
    rendered(tmp_path / "set")
    annotate(tmp_path / "set", teacher_file(tmp_path / "t.safetensors"), tmp_path / "out", 32)
    before, after = (run.card(student_recipe(), "", tmp_path / name)["data"] for name in ("set", "out"))
    assert before == after


def test_the_card_names_ones_own_set_but_no_path(tmp_path: Path) -> None:
    write_shards([("a", square(0))], tmp_path / "ours")
    assert run.card(student_recipe(), "", tmp_path / "ours")["data"] == "own set ours"
    annotate(tmp_path / "ours", teacher_file(tmp_path / "t.safetensors"), tmp_path / "out", 32)
    assert run.card(student_recipe(), "", tmp_path / "out")["data"] == "own set ours"


def test_an_unfinished_set_is_not_trained_on(tmp_path: Path) -> None:
    data = rendered(tmp_path / "set", complete=False)
    with pytest.raises(InputError, match=r"not complete, says its render\.json"):
        run.source_of(student_recipe(), data)


def test_a_set_on_disk_is_shuffled_by_the_recipes_seed(tmp_path: Path) -> None:
    data = rendered(tmp_path / "set")
    one, same, other = (run.source_of(student_recipe(seed=seed), data) for seed in (0, 0, 1))
    images = [[source(i).image.tobytes() for i in range(12)] for source in (one, same, other)]
    assert images[0] == images[1] != images[2]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Stage, dict[str, str]]]:
    """Let a run end at once; return its stage and card."""
    seen: list[tuple[Stage, dict[str, str]]] = []

    def train(stage: Stage, *_: object, card: dict[str, str], **__: object) -> bool:
        seen.append((stage, card))
        return True

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(run, "validation_of", lambda *_: VALIDATION)
    return seen


def test_a_distilled_student_names_its_teacher(trained: list[tuple[Stage, dict[str, str]]], tmp_path: Path) -> None:
    net = teacher_file(tmp_path / "t.safetensors")
    recipe = student_recipe(teacher_share=0.5)
    assert run.train_student(recipe, tmp_path / "out", command="x", teacher=net, data=rendered(tmp_path / "set"))
    (stage, card), *_ = trained
    assert card["teacher"] == f"sha256 {sha256(net)}"
    assert stage.constants["reference"] > 0


def test_another_teachers_word_is_not_learned_from(trained: list[tuple[Stage, dict[str, str]]], tmp_path: Path) -> None:
    one, other = (teacher_file(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    annotate(rendered(tmp_path / "set"), one, tmp_path / "word", 32)
    recipe = student_recipe(teacher_share=0.5)
    assert run.train_student(recipe, tmp_path / "out", command="x", teacher=one, data=tmp_path / "word")
    with pytest.raises(InputError, match="bears the word of the teacher"):
        run.train_student(recipe, tmp_path / "out", command="x", teacher=other, data=tmp_path / "word")


def test_a_missing_teacher_is_noticed_before_the_validation_set_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "validation_of", lambda *_: pytest.fail("made before the options were checked"))
    with pytest.raises(InputError, match="give one with --teacher"):
        run.train_student(student_recipe(weighting="up"), tmp_path, command="x")
    with pytest.raises(InputError, match="--teacher: the recipe asks no teacher"):
        run.train_student(student_recipe(), tmp_path, command="x", teacher=tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="no such file"):
        run.train_student(student_recipe(weighting="up"), tmp_path, command="x", teacher=tmp_path / "none.safetensors")


def test_a_teachers_card_says_what_it_gives(trained: list[tuple[Stage, dict[str, str]]], tmp_path: Path) -> None:
    first = teacher_file(tmp_path / "t.safetensors")
    assert run.train_teacher(teacher_recipe(), tmp_path, command="x", init=first, data=rendered(tmp_path / "set"))
    (_, card), *_ = trained
    assert "log scale of its error" in card["description"]
    assert card["begun_from"] == f"sha256 {sha256(first)}, made by: test"


@pytest.mark.parametrize("begin", [run.train_teacher, run.train_student])
def test_weights_to_begin_with_that_are_missing_are_named(begin: Callable[..., bool], tmp_path: Path) -> None:
    recipe = teacher_recipe() if begin is run.train_teacher else student_recipe()
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        begin(recipe, tmp_path, command="x", init=tmp_path / "none.safetensors")
