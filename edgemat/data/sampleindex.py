"""Find the samples of tar shards: which files belong together, and what each of them is."""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.data.tarindex import Member, members
from edgemat.errors import InputError

_FORMATS = ("png", "jpg", "jpeg", "webp")
_ROLE_OF = {
    **{name: "image" for end in _FORMATS for name in (end, f"image.{end}")},
    **{f"{role}.{end}": "matte" for end in _FORMATS for role in ("alpha", "mask")},
    "teacher.png": "teacher",
    "uncertainty.png": "uncertainty",
    "json": "metadata",
}
ROLES = ("image", "matte", "teacher", "uncertainty", "metadata")
"""What the files of a sample are, in the order that an index has them."""
_CODE = frozenset({"pickle", "pkl", "pth", "pt", "pyd"})
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


@dataclass(frozen=True)
class SampleIndex:
    """Where the samples of shards are.

    Attributes:
        keys: The samples' keys, in the order of the shards and of the samples in them.
        shards: The shard of each, counted from 0, int32, (N,).
        places: Offset and size in the shard for each of `ROLES`, bytes, int64, (N, 5, 2); offset -1 where a sample has
            no such file.
        faults: One line for each sample that cannot be used; it is left out of the others.
    """

    keys: tuple[str, ...]
    shards: npt.NDArray[np.int32]
    places: npt.NDArray[np.int64]
    faults: tuple[str, ...]


def index_samples(files: Sequence[Path]) -> SampleIndex:
    """Find the samples by the headers of the shards.

    Args:
        files: The shards.

    Raises:
        InputError: A shard is truncated, damaged or no plain tar.
    """
    seen: dict[str, int] = {}
    shards, places = array("i"), array("q")  # lists of numbers would be ten times as large
    faults: list[str] = []
    for number, file in enumerate(files):
        for key, run in itertools.groupby(_named(file), key=lambda named: named[0]):
            roles, fault = _roles(run)
            if roles and key in seen:
                fault = f"comes again; it is in {files[seen[key]].name} already"
            if fault:
                faults.append(f"{file.name}: {key}: {fault}")
            elif roles:
                seen[key] = number
                shards.append(number)
                for role in ROLES:
                    places.extend(roles.get(role, (-1, 0)))
    table = np.array(places, np.int64).reshape(-1, len(ROLES), 2)
    return SampleIndex(tuple(seen), np.array(shards, np.int32), table, tuple(faults))


def split_name(name: str) -> tuple[str, str]:
    """Split a member's path into its sample's key and its extension, lower case.

    Example:
        >>> split_name("a.b/anna.Image.PNG"), split_name("a/.hidden")
        (('a.b/anna', 'image.png'), ('a/', 'hidden'))
    """
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return folder + slash + key, extension.lower()


def find_shards(path: str | Path) -> tuple[Path, ...]:
    """Return the shards that a folder holds or a pattern names, in order.

    Args:
        path: A folder with ``*.tar``, one tar, or a pattern with ``{first..last}`` or ``{one,other}``.

    Raises:
        InputError: There is none, or one of those that the pattern names is missing.
    """
    where = Path(path)
    if where.is_dir():
        found = tuple(sorted(p for p in where.glob("*.tar") if not p.name.startswith(".")))
        if not found:
            raise InputError(f"{where}: holds no .tar file, expected shards such as 000000.tar")
        return found
    found = tuple(Path(name) for name in _expand(str(path)))
    missing = [p for p in found if not p.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; {len(missing)} of {len(found)} shard(s) of {path} are missing")
    return found


def _expand(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    first, last, words = match.groups()
    width = len(first) if first else 0
    choices = words.split(",") if words else [f"{i:0{width}d}" for i in range(int(first), int(last) + 1)]
    for choice in choices:
        yield from _expand(pattern[: match.start()] + choice + pattern[match.end() :])


def _named(file: Path) -> Iterator[tuple[str, str, Member]]:
    """Yield key, extension and member of what may belong to a sample: hidden files and those without one are not."""
    for member in members(file):
        key, extension = split_name(member.name)
        if extension and key and not key.endswith("/"):
            yield key, extension, member


def _roles(run: Iterable[tuple[str, str, Member]]) -> tuple[dict[str, tuple[int, int]], str]:
    """Return where a sample's files are by their roles, and what is wrong with it; neither where it has none."""
    roles: dict[str, tuple[int, int]] = {}
    names: dict[str, str] = {}
    for _, extension, member in run:
        if extension.rpartition(".")[2] in _CODE:
            return {}, f".{extension} is a pickle, which can run code when it is read; store PNG and JSON instead"
        role = _ROLE_OF.get(extension)
        if role in roles:
            return {}, f"has two of {role}: .{names[role]} and .{extension}; name them .image.png and .alpha.png"
        if role is not None:
            roles[role], names[role] = (member.offset, member.size), extension
    absent = [role for role in ("image", "matte") if role not in roles]
    if roles and absent:
        wanted = {"image": "image.png", "matte": "alpha.png"}
        return (
            {},
            f"has no {' and no '.join(absent)}, expected .{wanted[absent[0]]} beside .{', .'.join(names.values())}",
        )
    return roles, ""
