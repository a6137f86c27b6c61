"""What a set on disk says of itself: how it was rendered, whose word it bears, and whether it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgemat.errors import InputError
from edgemat.files import read_json

RENDERED = "render.json"
"""Written by ``edgemat data render`` beside its shards."""
ANNOTATED = "annotation.json"
"""Written by ``edgemat data annotate`` beside its shards."""


def read_record(data: Path, name: str) -> dict[str, Any] | None:
    """Return a set's record, or None where it has none.

    Args:
        data: The set: a folder, or shards in one.
        name: `RENDERED` or `ANNOTATED`.

    Raises:
        InputError: The record is no JSON object.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / RENDERED).write_text('{"complete": true}')
        >>> read_record(folder / "000000.tar", RENDERED), read_record(folder, ANNOTATED)
        ({'complete': True}, None)
    """
    path = (data if data.is_dir() else data.parent) / name
    if not path.is_file():
        return None
    record = read_json(path, "make the set anew in another folder")
    if not isinstance(record, dict):
        raise InputError(f"{path}: found {type(record).__name__}, expected an object; make the set anew elsewhere")
    return record


def expect_complete(data: Path) -> None:
    """Refuse a set that is still being made, or whose making was interrupted.

    Args:
        data: The set. Single shards are each complete, so only a whole folder is refused.

    Raises:
        InputError: A record in the folder says that it is not complete.
    """
    if not data.is_dir():
        return
    for name, maker in ((RENDERED, "render"), (ANNOTATED, "annotate")):
        record = read_record(data, name)
        if record is not None and record.get("complete") is False:
            raise InputError(
                f"{data}: not complete, says its {name}; go on with the command that makes it: "
                f"edgemat data {maker} ... --out {data}"
            )
