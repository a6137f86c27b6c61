"""Write a file or a folder completely or not at all, and hash what is on disk."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgemat.errors import InputError, OutputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends without an error.

    The block may create a file or a folder there (or nothing, which is an error). What stood at ``path``
    before stays intact until the rename; if the block raises, it stays for good and the temporary is removed.

    Args:
        path: The goal. Missing parent folders are created.

    Yields:
        A path that does not exist yet, in a private folder on the same file system, with the goal's name, because
        some writers take a model's name from the file's.

    Raises:
        OutputError: The goal cannot be written (permission, no space, a file where a folder is needed).

    Example:
        >>> import pathlib, tempfile
        >>> goal = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_path(goal) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> goal.read_text()
        'whole'
    """
    goal = Path(path)
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{goal.name}.", suffix=".part", dir=goal.parent))
    except OSError as error:
        raise OutputError(_cannot_write(goal, error)) from error
    try:
        temporary = stage / goal.name
        yield temporary
        _replace(temporary, goal, stage)
    except OSError as error:
        raise OutputError(_cannot_write(goal, error)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(temporary: Path, goal: Path, stage: Path) -> None:
    """Move ``temporary`` to ``goal``; a folder that stood there is set aside first and put back on failure."""
    if goal.is_dir() != temporary.is_dir() and goal.exists():
        found = "a folder" if goal.is_dir() else "a file"
        raise OutputError(f"{goal}: {found} stands where the result belongs; remove it or choose another --out")
    if goal.is_dir():  # os.replace cannot put a folder over a folder that is not empty
        aside = stage / (goal.name + ".old")
        os.replace(goal, aside)
        try:
            os.replace(temporary, goal)
        except OSError:
            os.replace(aside, goal)
            raise
    else:
        os.replace(temporary, goal)


def _cannot_write(goal: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{goal}: cannot be written ({reason}); nothing was changed there. Free space or choose another --out"


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what writers of ``path`` that were killed left beside it; nobody may be writing it now.

    Args:
        path: The goal of `atomic_path`; what stands there is not touched.

    Example:
        >>> import pathlib, tempfile
        >>> goal = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> (goal.parent / ".a.txt.x1.part").mkdir()
        >>> remove_leftovers(goal)
        >>> list(goal.parent.iterdir())
        []
    """
    goal = Path(path)
    for stage in goal.parent.glob(f".{glob.escape(goal.name)}.*.part"):
        shutil.rmtree(stage, ignore_errors=True)


def write_json(path: str | os.PathLike[str], value: Mapping[str, object]) -> None:
    """Write ``value`` as readable JSON (sorted keys kept as given, no NaN), atomically.

    Args:
        path: The goal.
        value: JSON-ready mapping; floats must be finite.

    Raises:
        OutputError: The goal cannot be written.
        ValueError: A float is NaN or infinite.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike[str], again: str) -> Any:
    """Return what a JSON file holds; whether it is what was wanted is the caller's to say.

    Args:
        path: The file.
        again: What to do where it cannot be read, for the error.

    Raises:
        InputError: It is missing, or no JSON.

    Example:
        >>> import pathlib, tempfile
        >>> place = pathlib.Path(tempfile.mkdtemp()) / "a.json"
        >>> write_json(place, {"a": 1})
        >>> read_json(place, "write it again")
        {'a': 1}
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {again}") from error


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of a folder's sorted relative names and contents, as 64 hex digits.

    Args:
        path: An existing file or folder.

    Example:
        >>> import pathlib, tempfile
        >>> f = pathlib.Path(tempfile.mkdtemp()) / "empty"
        >>> f.touch()
        >>> sha256(f)[:8]
        'e3b0c442'
    """
    root = Path(path)
    digest = hashlib.sha256()
    if not root.is_dir():
        _update(digest, root)
        return digest.hexdigest()
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0")
        _update(digest, file)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, file: Path) -> None:
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
