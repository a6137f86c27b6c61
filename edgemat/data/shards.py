"""Training sets as WebDataset tar shards: written whole or not at all, read at random access without unpacking.

A sample is a run of files with one key, which is their path up to the first dot of its last part:
``000042.image.png``, ``000042.alpha.png``, at will ``000042.json`` (metadata), ``000042.teacher.png`` (a teacher's
alpha, 8-bit) and ``000042.uncertainty.png`` (its expected error, 16-bit, 65535 is 1). Shards of other makers are read
where the image is ``png``, ``jpg``, ``jpeg`` or ``webp``, with or without ``image.`` before it, and the matte
``alpha.`` or ``mask.`` of these. What has another extension is passed over.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgemat.data.codec import decode_image, decode_plane, encode
from edgemat.data.folder import refuse
from edgemat.data.tarindex import Member, members
from edgemat.data.types import Example
from edgemat.errors import InputError, OutputError
from edgemat.files import atomic_path

_FORMATS = ("png", "jpg", "jpeg", "webp")
_ROLE_OF = {
    **{name: "image" for end in _FORMATS for name in (end, f"image.{end}")},
    **{f"{role}.{end}": "matte" for end in _FORMATS for role in ("alpha", "mask")},
    "teacher.png": "teacher",
    "uncertainty.png": "uncertainty",
    "json": "metadata",
}
_ROLES = ("image", "matte", "teacher", "uncertainty", "metadata")
_CODE = frozenset({"pickle", "pkl", "pth", "pt", "pyd"})
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


def write_shards(examples: Iterable[tuple[str, Example]], out: Path, per_shard: int = 1000) -> int:
    """Write examples into ``out/000000.tar`` and so on; the same examples give the same bytes.

    Args:
        examples: Keys, all different and without a dot in their last part, and what stands under them.
        out: Folder; made if missing. It may hold no shard yet.
        per_shard: Samples in each shard but the last.

    Returns:
        How many examples were written.

    Raises:
        OutputError: The folder holds shards already or cannot be written.
        ValueError: A key is empty, has a dot in its last part, or comes again in its shard; or ``per_shard`` is not
            positive.

    Example:
        >>> import tempfile
        >>> plain = Example(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32))
        >>> write_shards([("anna", plain), ("ben", plain)], Path(tempfile.mkdtemp()), per_shard=1)
        2
    """
    if per_shard < 1:
        raise ValueError(f"per_shard = {per_shard}, expected at least 1")
    if any(out.glob("*.tar")):
        raise OutputError(f"{out}: holds shards already; remove them or choose another folder")
    rest, written = iter(examples), 0
    for number in itertools.count():
        first = next(rest, None)  # look before a shard is begun: none may be empty
        if first is None:
            return written
        batch = itertools.chain([first], itertools.islice(rest, per_shard - 1))
        written += write_shard(((key, example, {}) for key, example in batch), out / shard_name(number))
    raise AssertionError("counting ended")


def shard_name(number: int) -> str:
    """Return the file name of a shard.

    Example:
        >>> shard_name(3)
        '000003.tar'
    """
    return f"{number:06d}.tar"


def write_shard(samples: Iterable[tuple[str, Example, Mapping[str, object]]], path: Path) -> int:
    """Write one shard; it appears when it is whole.

    Args:
        samples: Keys, examples, and metadata that JSON can hold (none is stored where it is empty).
        path: The tar to write.

    Returns:
        How many samples it holds.

    Raises:
        OutputError: It cannot be written.
        ValueError: A key cannot be one, or comes twice.
    """
    keys: set[str] = set()
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for key, example, metadata in samples:
            if key in keys or key.endswith("/") or split_name(f"{key}.png") != (key, "png"):
                raise ValueError(f"key {key!r}: expected another one for each sample, no dot in its last part")
            keys.add(key)
            files = encode(example)
            if metadata:
                files["json"] = json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()
            for extension, content in files.items():
                info = tarfile.TarInfo(f"{key}.{extension}")  # its time is 0 and its owner root: nothing varies
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return len(keys)


def split_name(name: str) -> tuple[str, str]:
    """Split a member's path into its sample's key and its extension, lower case.

    Example:
        >>> split_name("a.b/anna.Image.PNG"), split_name("a/.hidden")
        (('a.b/anna', 'image.png'), ('a/', 'hidden'))
    """
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return folder + slash + key, extension.lower()


class Shards:
    """The samples of tar shards by number, in the order of the shards and of the samples in them.

    Only headers are read when it is made, and places are kept in arrays, so that a set of any size opens soon and
    stays small. A file is open only while it is read: the value may be pickled, forked and shared between threads.

    Attributes:
        files: The shards.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp())
        >>> _ = write_shards([("anna", Example(np.zeros((2, 4, 3), np.uint8), np.ones((2, 4), np.float32)))], out)
        >>> shards = Shards(out)
        >>> len(shards), shards.key(0), shards[0].alpha.shape
        (1, 'anna', (2, 4))
    """

    def __init__(self, path: str | Path) -> None:
        """Find the samples.

        Args:
            path: A folder with ``*.tar``, one tar, or a pattern such as ``train-{000000..000099}.tar`` or
                ``{a,b}.tar``.

        Raises:
            InputError: There is no shard, a shard is truncated or not a plain tar, a sample lacks its image or its
                matte or has two, a key comes twice, or there is a pickle. All faults of samples are counted and at
                most ten shown.
        """
        self.files = find_shards(path)
        shards, places, keys, seen, faults = [], [], [], dict[str, int](), list[str]()
        for number, file in enumerate(self.files):
            for key, run in itertools.groupby(_named(file), key=lambda member: member[0]):
                roles, fault = _roles(run)
                if key in seen:
                    fault = f"comes again; it is in {self.files[seen[key]].name} already"
                if fault:
                    faults.append(f"{file.name}: {key}: {fault}")
                    continue
                if not roles:
                    continue
                seen[key] = number
                shards.append(number)
                keys.append(key.encode())
                places.append([roles.get(role, (-1, 0)) for role in _ROLES])
        refuse(Path(path), faults, "Mend or remove these samples")
        if not shards:
            raise InputError(
                f"{path}: no sample in {len(self.files)} shard(s); expected <key>.image.png, <key>.alpha.png"
            )
        self._shard = np.array(shards, np.int32)
        self._places = np.array(places, np.int64)  # (samples, roles, 2): offset, -1 where there is none, and size
        self._keys = b"".join(keys)
        self._ends = np.cumsum([len(key) for key in keys])

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._shard)

    def __getitem__(self, index: int) -> Example:
        """Read and decode a sample.

        Args:
            index: From 0 on; negative ones count from the end.

        Raises:
            IndexError: There is no such sample.
            InputError: A file cannot be read, is no image or of the wrong kind, or the sizes differ.
        """
        with self.files[self._shard[index]].open("rb") as stream:
            contents = [_read(stream, *place) for place in self._places[index, : len(_ROLES) - 1]]
        decoders = (decode_image, *[decode_plane] * 3)
        parts: list[Any] = []
        for role, content, decoder in zip(_ROLES, contents, decoders, strict=False):
            try:
                parts.append(None if content is None else decoder(content))
            except InputError as error:
                raise InputError(f"{self._where(index)}: {role}: {error}") from error
        sizes = {role: part.shape[:2] for role, part in zip(_ROLES, parts, strict=False) if part is not None}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{role} {width}x{height}" for role, (height, width) in sizes.items())
            raise InputError(f"{self._where(index)}: {found}; expected equal sizes")
        return Example(*parts)

    def __iter__(self) -> Iterator[Example]:
        """Yield the samples in order."""
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """Return a sample's key."""
        begin = int(self._ends[index - 1]) if index % len(self) else 0
        return self._keys[begin : int(self._ends[index])].decode()

    def metadata(self, index: int) -> dict[str, Any]:
        """Return a sample's metadata, as its maker wrote it; empty where there is none.

        Raises:
            InputError: It is not a JSON object.
        """
        with self.files[self._shard[index]].open("rb") as stream:
            content = _read(stream, *self._places[index, _ROLES.index("metadata")])
        try:
            value = {} if content is None else json.loads(content)
        except ValueError as error:
            raise InputError(f"{self._where(index)}: json: {error}") from error
        if not isinstance(value, dict):
            raise InputError(f"{self._where(index)}: json: found {type(value).__name__}, expected an object")
        return value

    def _where(self, index: int) -> str:
        return f"{self.files[self._shard[index]]}: {self.key(index)}"


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
            raise InputError(f"{where}: holds no .tar file, expected shards such as {shard_name(0)}")
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


def _read(stream: BinaryIO, offset: int, size: int) -> bytes | None:
    if offset < 0:
        return None
    stream.seek(offset)
    content = stream.read(size)
    if len(content) < size:
        raise InputError(f"{stream.name}: ends at byte {offset + len(content)}; it was changed after it was opened")
    return content
