"""Files are written whole or not at all, whatever stands in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat.errors import OutputError
from edgemat.files import atomic_path, remove_leftovers, sha256, write_json

from .full_disk import a_full_disk


def write(goal: Path, text: str) -> None:
    with atomic_path(goal) as temporary:
        temporary.write_text(text)


def write_folder(goal: Path, text: str) -> None:
    with atomic_path(goal) as temporary:
        temporary.mkdir()
        (temporary / "inside").write_text(text)


def test_a_file_and_a_folder_replace_earlier_ones(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "new" / "file", text)
        write_folder(tmp_path / "folder", text)
        assert (tmp_path / "new" / "file").read_text() == text
        assert (tmp_path / "folder" / "inside").read_text() == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "new"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_earlier_file(tmp_path: Path, error: type[BaseException]) -> None:
    goal = tmp_path / "file"
    write(goal, "good")

    def fail() -> None:
        with atomic_path(goal) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert goal.read_text() == "good"
    assert list(tmp_path.iterdir()) == [goal]


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path) -> None:
    goal = tmp_path / "file"
    write(goal, "good")
    with a_full_disk(1000), pytest.raises(OutputError, match=r"file: cannot be written .*nothing was changed"):
        write(goal, "x" * 100_000)
    assert goal.read_text() == "good"
    assert list(tmp_path.iterdir()) == [goal]


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "goal", "a file")
    with pytest.raises(OutputError, match="a file stands where the result belongs"):
        write_folder(tmp_path / "goal", "x")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "goal" / "below", "x")
    assert (tmp_path / "goal").read_text() == "a file"


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), atomic_path(tmp_path / "file"):
        pass


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_the_hash_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for number, (name, text) in enumerate([("a", "x"), ("b", "x"), ("a", "y")]):
        write_folder(tmp_path / str(number), "same")
        write(tmp_path / str(number) / name, text)
        hashes.add(sha256(tmp_path / str(number)))
    assert len(hashes) == 3


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    goal = tmp_path / "run [1].tar"  # brackets mean something to a pattern
    kept = [goal, tmp_path / ".run 1.tar.abc.part", tmp_path / ".other.abc.part", tmp_path / ".run [1].tar"]
    write(goal, "whole")
    for path in kept[1:]:
        path.mkdir()
    for name in ("abc", "xyz"):
        write(tmp_path / f".run [1].tar.{name}.part" / "run [1].tar", "half")
    remove_leftovers(goal)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert goal.read_text() == "whole"
    remove_leftovers(tmp_path / "none" / "such")  # nothing there is nothing to remove
