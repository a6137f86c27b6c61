"""Find the members of a tar file by its headers alone: names, places and sizes, without reading what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edgemat.errors import InputError

_BLOCK = 512
_END = bytes(_BLOCK)
_FILE, _FOLDER = b"0\0" + b"7", b"5"
_LONGEST_NAME = 1 << 16  # a damaged size must not make the reader load gigabytes as a name
_AGAIN = "Copy the shard again or remove it"


class Member(NamedTuple):
    """A file in a tar: its path there, and where its bytes are, in bytes from the start of the tar."""

    name: str
    offset: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """Yield the files of an uncompressed tar in their order; folders are left out.

    Reads the ustar format with the GNU and pax (POSIX.1-2001) extensions for long names and large sizes.

    Args:
        path: The tar.

    Raises:
        InputError: Not a tar, compressed, truncated, a header's checksum is wrong, or a member is a link or device.

    Example:
        >>> import io, pathlib, tarfile, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.tar"
        >>> with tarfile.open(file, "w") as tar:
        ...     info = tarfile.TarInfo("x.txt")
        ...     info.size = 3
        ...     tar.addfile(info, io.BytesIO(b"abc"))
        >>> list(members(file))
        [Member(name='x.txt', offset=512, size=3)]
    """
    try:
        with path.open("rb") as stream:
            yield from _walk(path, stream, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _walk(path: Path, stream: BinaryIO, length: int) -> Iterator[Member]:
    position, name, size = 0, "", -1  # name and size: what an extension header said of the member after it
    while True:
        stream.seek(position)
        header = stream.read(_BLOCK)
        if header == _END:
            return
        if len(header) < _BLOCK:
            raise InputError(f"{path}: truncated at byte {length} (no end mark). {_AGAIN}")
        if not _is_header(header):
            raise InputError(f"{path}: {_found(header, position)}; expected an uncompressed tar. {_AGAIN}")
        kind, start = header[156:157], position + _BLOCK
        held = _number(path, header[124:136]) if size < 0 or kind in b"xgLK" else size
        position = start + -(-held // _BLOCK) * _BLOCK
        if start + held > length:
            raise InputError(f"{path}: truncated at byte {length} within {name or _name(header)}. {_AGAIN}")
        if kind in b"xLgK":
            if kind in b"xL":
                long, said = _extension(path, kind, stream.read(min(held, _LONGEST_NAME)))
                name, size = long or name, said if said >= 0 else size
            continue
        if kind in _FILE:
            yield Member(name or _name(header), start, held)
        elif kind not in _FOLDER:
            raise InputError(f"{path}: {name or _name(header)} is a link or a device; expected files. Pack it again")
        name, size = "", -1


def _is_header(header: bytes) -> bool:
    """Check a header against its own sum, which is made with blanks in its place."""
    try:
        stored = int(header[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    return stored == sum(header) - sum(header[148:156]) + 8 * 32


def _found(header: bytes, position: int) -> str:
    if position == 0:
        return "a compressed file" if header[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5") else "not a tar"
    return f"damaged at byte {position}"


def _name(header: bytes) -> str:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    joined = prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name
    return joined.decode("utf-8", "replace")


def _number(path: Path, digits: bytes) -> int:
    """Read an octal number, or GNU's base 256, which the first bit marks."""
    if digits[0] & 0x80:
        return int.from_bytes(digits[1:], "big")
    try:
        return int(digits.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise InputError(f"{path}: a header gives the size {digits!r}, expected octal digits. {_AGAIN}") from error


def _extension(path: Path, kind: bytes, content: bytes) -> tuple[str, int]:
    """Return the long name and the size that an extension header gives; an empty name and -1 where it gives none."""
    if kind == b"L":
        return content.rstrip(b"\0").decode("utf-8", "replace"), -1
    name, size = "", -1
    try:
        while content:
            record = content[: int(content.split(b" ", 1)[0])]
            if not record:
                break
            key, value = record.split(b" ", 1)[1].rstrip(b"\n").split(b"=", 1)
            if key == b"path":
                name = value.decode("utf-8", "replace")
            elif key == b"size":
                size = int(value)
            content = content[len(record) :]
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: an extension header is damaged. {_AGAIN}") from error
    return name, size
