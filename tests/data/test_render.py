"""Rendering: the same bytes by any number of processes, whole shards whatever ends it, and no mix of two renderings."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgemat.cli import main
from edgemat.data import render as rendering
from edgemat.data.render import Composites, Rendering, RenderProgress, render
from edgemat.data.shards import Shards
from edgemat.data.types import Face, Occluder
from edgemat.errors import EdgematError, InputError, OutputError

WHAT = Rendering(count=5, size=32, per_shard=2, seed=4)
Sources = tuple[list[Face], list[Occluder]]


@pytest.fixture(scope="module")
def sources(synthetic: ModuleType) -> Sources:
    return [synthetic.face(i, 64) for i in range(2)], [synthetic.occluder("cup")]


@pytest.fixture(scope="module")
def done(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a complete rendering by two processes."""
    out = tmp_path_factory.mktemp("render") / "set"
    render(WHAT, *sources, out, workers=2)
    return out


def contents(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.iterdir())}


def test_the_shards_hold_the_composites_and_say_of_what(done: Path, sources: Sources) -> None:
    shards, composites = Shards(done), Composites(*sources, size=32, seed=4, mild=0.7)
    assert len(shards) == 5
    assert [len(Shards(file)) for file in shards.files] == [2, 2, 1]
    for index in range(5):
        wanted, found, facts = composites(index), shards[index], shards.metadata(index)
        assert shards.key(index) == f"{index:09d}"
        assert np.array_equal(found.image, wanted.image)
        assert np.abs(found.alpha - wanted.alpha).max() <= 0.5 / 255 + 1e-6
        assert facts["face_id"] == wanted.face_id
        assert facts["kinds"] == list(wanted.kinds)
        assert facts["occluder_ids"] == list(wanted.occluder_ids)
        assert facts["ita"] == wanted.ita


def test_the_record_says_how_they_were_made(done: Path) -> None:
    record = json.loads((done / "render.json").read_text(encoding="utf-8"))
    assert record["arguments"] == {
        "count": 5, "split": "train", "mild": 0.7, "seed": 4, "size": 32, "per_shard": 2,
    }  # fmt: skip
    assert record["sources"]["faces"] == 2
    assert (record["shards"], record["complete"]) == (3, True)
    assert set(record["versions"]) == {"edgemat", "numpy", "opencv"}


def test_the_number_of_processes_changes_no_byte(done: Path, sources: Sources, tmp_path: Path) -> None:
    told: list[RenderProgress] = []
    render(WHAT, *sources, tmp_path, workers=1, on_progress=told.append)
    assert contents(tmp_path) == contents(done)
    assert (told[-1].done, told[-1].count, told[-1].eta) == (5, 5, 0)


def test_only_missing_shards_are_made_again(done: Path, sources: Sources, tmp_path: Path) -> None:
    for name, content in contents(done).items():
        if name != "000001.tar":
            (tmp_path / name).write_bytes(content)
    (tmp_path / ".000001.tar.x.part").mkdir()  # what a killed process leaves
    kept = (tmp_path / "000000.tar").stat().st_mtime_ns
    told: list[RenderProgress] = []
    render(WHAT, *sources, tmp_path, on_progress=told.append)
    assert contents(tmp_path) == contents(done)
    assert (tmp_path / "000000.tar").stat().st_mtime_ns == kept
    assert told[-1].done == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, r"arguments\.seed is 4 there, 5 here"),
        ({"count": 7}, r"arguments\.count is 5 there, 7 here; shards is 3 there, 4 here"),
    ],
)
def test_another_rendering_is_not_mixed_in(change: dict[str, int], message: str, done: Path, sources: Sources) -> None:
    before = contents(done)
    changed = Rendering(**{"count": 5, "size": 32, "per_shard": 2, "seed": 4, **change})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        render(changed, *sources, done)
    with pytest.raises(InputError, match=r"sources\.faces is 2 there, 1 here"):
        render(WHAT, sources[0][:1], sources[1], done)
    mended = dataclasses.replace(sources[0][1], alpha=sources[0][1].alpha * np.float32(0.5))
    with pytest.raises(InputError, match=r"sources\.sha256 is \w+ there, \w+ here"):
        render(WHAT, [sources[0][0], mended], sources[1], done)
    assert contents(done) == before


def test_foreign_shards_and_a_damaged_record_are_refused(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "train.tar").touch()
    with pytest.raises(InputError, match=r"holds shards but no render\.json"):
        render(WHAT, *sources, tmp_path)
    (tmp_path / "render.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"render\.json: found list, expected an object"):
        render(WHAT, *sources, tmp_path)
    with pytest.raises(InputError, match="no face was given"):
        render(WHAT, [], [], tmp_path)


@pytest.mark.parametrize(
    "values", [{"count": 0}, {"count": 1, "mild": 1.5}, {"count": 1, "size": 16}, {"count": 1, "split": "all"}]
)
def test_senseless_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"render: {list(values)[-1]} "):
        Rendering(**values)  # type: ignore[arg-type]


def test_a_shard_that_cannot_be_written_ends_it(done: Path, sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "render.json").write_bytes((done / "render.json").read_bytes())
    (tmp_path / "000001.tar").mkdir()
    with pytest.raises(OutputError, match=r"000001\.tar: a folder stands where the result belongs"):
        render(WHAT, *sources, tmp_path)


def test_a_killed_process_is_told(sources: Sources, tmp_path: Path) -> None:
    def kill() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        children[0].kill()

    threading.Thread(target=kill).start()
    with pytest.raises(EdgematError, match="a process was ended by SIGKILL"):
        render(WHAT, *sources, tmp_path, workers=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_whole_shards(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import pathlib, synthetic\n"
        "from edgemat.data.render import Rendering, render\n"
        "render(Rendering(count=100_000, size=32, per_shard=20), [synthetic.face()], [], pathlib.Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
    try:
        limit = time.monotonic() + 300  # seconds on an idle machine, minutes on a crowded one
        while not any(tmp_path.glob("*.tar")):
            assert time.monotonic() < limit
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        os.kill(process.pid, number)
        process.communicate(timeout=60)  # ends when the children have closed the pipe as well
    finally:
        process.kill()  # a test that fails leaves nothing at work
    assert process.returncode != 0
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    shards = Shards(tmp_path)
    assert 0 < len(shards) < 100_000
    assert len(shards) == 20 * len(shards.files)
    assert json.loads((tmp_path / "render.json").read_text(encoding="utf-8"))["complete"] is False


class Named:
    """A compositor that only says which it is."""

    def __init__(self, faces: object, occluders: object, size: int, seed: int, level: object) -> None:
        self.name = "mild" if level == rendering.Augmentation.mild() else "wild"

    def sample(self, index: int) -> tuple[str, int]:
        return self.name, index


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 1.0])
def test_the_share_of_mild_composites(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "Compositor", Named)
    composites = Composites([], [], mild=share)
    drawn: list[tuple[str, int]] = [composites(i) for i in range(100)]  # type: ignore[misc]
    assert [index for _, index in drawn] == list(range(100))
    assert sum(name == "mild" for name, _ in drawn) == round(100 * share)
    assert composites(42) == drawn[42]  # type: ignore[comparison-overlap]


def test_the_command_renders_and_reports(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgemat.data.faces.load_faces", lambda split: sources[0])
    monkeypatch.setattr("edgemat.data.occluders.load_occluders", lambda split: sources[1])
    words = ["data", "render", "--out", str(tmp_path), "--size", "32", "--per-shard", "2", "--workers", "1"]
    assert main([*words, "--count", "3"]) == 0
    said = capsys.readouterr().err
    assert "3/3" in said
    assert "samples/s" in said
    assert "3 composites in 2 shards, complete" in said
    assert main([*words, "--count", "4"]) == 2
    assert "arguments.count is 3 there, 4 here" in capsys.readouterr().err
