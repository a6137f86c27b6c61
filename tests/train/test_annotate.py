"""A teacher's word in shards: what is written, what survives, and whose word is believed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edgemat.data.records import ANNOTATED, RENDERED
from edgemat.data.shards import Shards, open_examples, shuffled, write_shard, write_shards
from edgemat.errors import InputError
from edgemat.files import sha256
from edgemat.images import write_png
from edgemat.model.predict import predict_teacher
from edgemat.train import annotate as module
from edgemat.train.annotate import annotate, expect_teacher
from edgemat.train.batches import Batch, batches
from edgemat.train.stages import StudentStage

from .tiny import IMAGES, square, student_recipe, teacher_file

COUNT = 20


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teacher_file(tmp_path_factory.mktemp("teacher") / "teacher.safetensors")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards whose keys and metadata are not what annotate would make up."""
    out = tmp_path_factory.mktemp("set")
    for number, first in enumerate(range(0, COUNT, 12)):
        named = (
            (f"face/{i:03d}", square(i), {"kinds": ["cup"] * (i % 3)}) for i in range(first, min(first + 12, COUNT))
        )
        write_shard(named, out / f"{number:06d}.tar")
    (out / RENDERED).write_text('{"arguments": {"count": 20}, "complete": true}')
    return out


def test_shards_get_the_teachers_word_and_keep_what_they_had(shards: Path, net: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    assert annotate(shards, net, tmp_path, 32, lambda done, total: told.append((done, total)), per_shard=8) == COUNT
    before, after = Shards(shards), Shards(tmp_path)
    assert [p.name for p in after.files] == ["000000.tar", "000001.tar", "000002.tar"]
    assert len(after) == COUNT
    alphas, doubts = predict_teacher(teacher_as_written(net), np.stack([e.image for e in before]), flip=True)
    for i in range(COUNT):
        assert after.key(i) == before.key(i)
        assert after.metadata(i) == before.metadata(i)
        np.testing.assert_array_equal(after[i].image, before[i].image)
        np.testing.assert_array_equal(after[i].alpha, before[i].alpha)
        teachers, uncertainty = after[i].teacher, after[i].uncertainty
        assert teachers is not None
        assert uncertainty is not None
        np.testing.assert_allclose(teachers, alphas[i], atol=0.5 / 255 + 1e-6)
        np.testing.assert_allclose(uncertainty, doubts[i], atol=0.5 / 65535 + 1e-6)
    assert told[-1] == (COUNT, COUNT)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_two_processes_write_the_same_word(shards: Path, net: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        assert annotate(shards, net, tmp_path / str(workers), 32, per_shard=8, workers=workers) == COUNT
    for one, two in zip(Shards(tmp_path / "1"), Shards(tmp_path / "2"), strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        assert one.teacher is not None
        assert two.teacher is not None
        np.testing.assert_allclose(one.teacher, two.teacher, atol=1.01 / 255)  # sums may run in another order


def teacher_as_written(path: Path) -> module.Teacher:
    """Return the teacher with the float16 kernels of its file."""
    return module.weights.load_teacher(path).net


def test_the_manifest_names_teacher_and_origin(shards: Path, net: Path, tmp_path: Path) -> None:
    annotate(shards, net, tmp_path, 32)
    assert json.loads((tmp_path / ANNOTATED).read_text()) == {
        "schema_version": 1,
        "teacher": sha256(net),
        "flip": True,
        "set": shards.name,
        "rendered": {"arguments": {"count": 20}, "complete": True},
        "examples": COUNT,
        "size": 32,
        "per_shard": 1000,
        "complete": True,
    }


def test_a_folder_of_pictures_is_brought_to_size_and_its_names_are_kept(net: Path, tmp_path: Path) -> None:
    for i, name in enumerate(("anna.2", "ben")):  # a key may not hold a dot, a file's name may
        example = square(i)
        write_png(tmp_path / "set" / "image" / f"{name}.png", np.tile(example.image, (2, 2, 1)))
        write_png(tmp_path / "set" / "alpha" / f"{name}.png", np.tile(np.uint8(example.alpha * 255), (2, 2)))
    assert annotate(tmp_path / "set", net, tmp_path / "out", 32) == 2
    found = Shards(tmp_path / "out")
    assert [found.metadata(i) for i in range(2)] == [{"name": "anna.2"}, {"name": "ben"}]
    assert found[0].alpha.shape == (32, 32)
    assert found[0].teacher is not None


def test_reading_the_word_is_as_good_as_asking(shards: Path, net: Path, tmp_path: Path) -> None:
    annotate(shards, net, tmp_path, 32)
    recipe = student_recipe(steps=2, batch=4, teacher_share=0.5, weighting="up", bfloat16=False)
    stage = StudentStage(recipe, teacher_as_written(net), IMAGES)
    read = list(batches(shuffled(open_examples(tmp_path), 0, size=32, flip=False), recipe, 0))
    asked = [stage.prepare(b) for b in batches(shuffled(open_examples(shards), 0, size=32, flip=False), recipe, 0)]
    for mine, its in zip(read, asked, strict=True):
        assert torch.equal(mine.image, its.image)
        assert stage.prepare(mine) is mine
        for name, bits in (("teacher", 8), ("uncertainty", 16)):
            difference = (getattr(mine, name) - getattr(its, name)).abs().max()
            assert float(difference) <= 0.5 / (2**bits - 1) + 1e-6
        logits = torch.rand(mine.alpha.shape, generator=torch.Generator().manual_seed(0))
        one, other = (float(stage.losses(logits, b, 0)["loss"]) for b in (mine, its))
        assert one == pytest.approx(other, abs=2e-2)


def test_another_teachers_word_is_refused(shards: Path, net: Path, tmp_path: Path) -> None:
    annotate(shards, net, tmp_path / "out", 32)
    other = teacher_file(tmp_path / "other.safetensors", seed=1)
    expect_teacher(tmp_path / "out", net)
    for path in (tmp_path / "out", tmp_path / "out" / "000000.tar"):
        with pytest.raises(InputError, match=r"bears the word of the teacher .*--teacher .*other\.safetensors has"):
            expect_teacher(path, other)
    with pytest.raises(InputError, match="bears the word of the teacher"):
        annotate(shards, other, tmp_path / "out", 32)
    expect_teacher(shards, other)  # a set that bears nobody's word suits every teacher


def test_an_interrupted_annotation_is_refused_until_it_is_finished(
    shards: Path, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(shards, net, tmp_path / "whole", 32, per_shard=8)
    asked: list[int] = []

    def interrupted(net: module.Teacher, images: np.ndarray, flip: bool) -> object:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(images))
        return predict_teacher(net, images, flip=flip)

    out = tmp_path / "out"
    monkeypatch.setattr(module, "predict_teacher", interrupted)
    with pytest.raises(KeyboardInterrupt):
        annotate(shards, net, out, 32, per_shard=8)
    monkeypatch.undo()
    assert sorted(p.name for p in out.iterdir()) == ["000000.tar", "000001.tar", ANNOTATED]
    with pytest.raises(InputError, match=r"not complete, says its annotation\.json; .*edgemat data annotate"):
        open_examples(out)
    (out / ".000002.tar.x.part").mkdir()  # as a kill leaves it

    kept = (out / "000000.tar").stat().st_mtime_ns
    assert annotate(shards, net, out, 32, per_shard=8) == COUNT
    assert (out / "000000.tar").stat().st_mtime_ns == kept
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
    }


def test_the_same_command_again_changes_nothing(shards: Path, net: Path, tmp_path: Path) -> None:
    annotate(shards, net, tmp_path, 32)
    before = (tmp_path / "000000.tar").stat().st_mtime_ns
    assert annotate(shards, net, tmp_path, 32) == COUNT
    assert (tmp_path / "000000.tar").stat().st_mtime_ns == before


def test_another_sets_annotation_is_not_continued(shards: Path, net: Path, tmp_path: Path) -> None:
    write_shards([("a", square(0))], tmp_path / "small")
    annotate(tmp_path / "small", net, tmp_path / "out", 32)
    with pytest.raises(InputError, match=r"holds another annotation \(.*examples is 1 there, 20 here"):
        annotate(shards, net, tmp_path / "out", 32)


def test_shards_that_are_no_annotation_are_left_alone(shards: Path, net: Path) -> None:
    before = sha256(shards)
    with pytest.raises(InputError, match=r"holds shards but no annotation\.json"):
        annotate(shards, net, shards, 32)
    assert sha256(shards) == before


def test_a_size_that_the_teacher_cannot_take_is_refused(shards: Path, net: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--size 30: expected a multiple of 4"):
        annotate(shards, net, tmp_path / "out", 30)
    assert not (tmp_path / "out").exists()


def test_an_unfinished_rendering_is_not_annotated(net: Path, tmp_path: Path) -> None:
    write_shards([("a", square(0))], tmp_path / "set")
    (tmp_path / "set" / RENDERED).write_text('{"complete": false}')
    with pytest.raises(InputError, match=r"not complete, says its render\.json"):
        annotate(tmp_path / "set", net, tmp_path / "out", 32)


def test_a_batch_holds_the_word(shards: Path, net: Path, tmp_path: Path) -> None:
    annotate(shards, net, tmp_path, 32)
    (batch,) = batches(shuffled(open_examples(tmp_path), 0), student_recipe(steps=1), 0)
    assert isinstance(batch, Batch)
    assert batch.teacher is not None
    assert batch.uncertainty is not None
