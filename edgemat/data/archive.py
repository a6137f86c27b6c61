"""Download an archive across broken connections, and unpack it so that nothing leaves its folder."""

from __future__ import annotations

import fnmatch
import http.client
import re
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from edgemat.errors import InputError, OutputError
from edgemat.files import sha256

Progress = Callable[[str, int, int], None]
"""Called with a name, the units done so far and the units in all (0 when not known)."""

_BLOCK = 1 << 18
_ATTEMPTS = 5
_TIMEOUT_S = 60.0


def download(name: str, locate: Callable[[], str], path: Path, expected: str, progress: Progress | None = None) -> None:
    """Bring a file to ``path``, continuing what an earlier attempt left there.

    A connection that breaks off is taken up again where it broke (HTTP Range) a few times; after that the
    part stays for the next call. A server that ignores the range is read from the start.

    Args:
        name: What the file is called in messages and to ``progress``.
        locate: Gives the URL; asked only when something is missing.
        path: Where the file grows.
        expected: Its SHA-256, 64 hex digits.
        progress: Called after each block with bytes.

    Raises:
        InputError: The server refuses, the connection keeps breaking, or the checksum differs (then ``path``
            is removed).
        OutputError: ``path`` cannot be written.
    """
    if path.exists() and sha256(path) == expected:
        return
    _mkdir(path.parent)
    url = locate()
    for attempt in range(_ATTEMPTS):
        try:
            _continue(name, url, path, progress)
            break
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 416
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                break  # all bytes are there already; the checksum decides
            if refused or attempt == _ATTEMPTS - 1:
                raise InputError(_broken(name, path, error)) from error
    found = sha256(path)
    if found != expected:
        path.unlink()
        raise InputError(
            f"{name}: the archive's SHA-256 is {found}, expected {expected}; it was removed. "
            "Fetch it again with: edgemat data fetch"
        )


def _continue(name: str, url: str, path: Path, progress: Progress | None) -> None:
    """Ask for the bytes after those at ``path`` and append them."""
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        partial = getattr(response, "status", None) == 206
        if partial and _range_start(response.headers.get("Content-Range", "")) != have:
            raise http.client.HTTPException("the server answered with another range than asked for")
        have = have if partial else 0
        length = int(response.headers.get("Content-Length") or 0)
        total = have + length if length else 0
        have = _append(name, response, path, have, total, progress)
    if total and have < total:
        raise ConnectionError(f"{total - have} of {total} bytes are missing")


def _append(name: str, response: IO[bytes], path: Path, have: int, total: int, progress: Progress | None) -> int:
    try:
        stream = path.open("ab" if have else "wb")
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    with stream:
        while block := response.read(_BLOCK):
            try:
                stream.write(block)
            except OSError as error:
                raise OutputError(_cannot_write(path, error)) from error
            have += len(block)
            if progress is not None:
                progress(name, have, total)
    return have


def _range_start(header: str) -> int:
    match = re.match(r"bytes (\d+)-", header)
    return int(match.group(1)) if match else -1


def _broken(name: str, path: Path, error: Exception) -> str:
    have = path.stat().st_size if path.exists() else 0
    return (
        f"{name}: the download broke off after {have} bytes ({error}). "
        "Check the network; this continues where it stopped: edgemat data fetch"
    )


def _cannot_write(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written ({error.strerror}); free space or choose another EDGEMAT_CACHE"


def _mkdir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error


def unpack(archive: Path, goal: Path, patterns: Sequence[str], prefix: str = "") -> dict[str, int]:
    """Unpack the regular files of a zip or tar archive whose names match a pattern.

    Args:
        archive: A .zip (.whl) or .tar (.tgz) file, told apart by content.
        goal: Folder to make.
        patterns: Shell patterns of member names; ``*`` also crosses folders.
        prefix: Leading part of a member's name that is dropped where it is there.

    Returns:
        Relative name to size in bytes, sorted.

    Raises:
        InputError: Not an archive, damaged, a member would leave ``goal`` or is a link, or a pattern matches
            nothing.
    """
    goal.mkdir(parents=True)
    sizes: dict[str, int] = {}
    missed = set(patterns)
    try:
        for name, stream in _members(archive):
            hits = {p for p in patterns if fnmatch.fnmatchcase(name, p)}
            if not hits:
                continue
            missed -= hits
            if stream is None:
                raise InputError(f"{archive.name}: member {name!r} is a link or a device, expected a file")
            relative = name.removeprefix(prefix)
            sizes[relative] = _write(stream, goal / relative)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        remedy = "Fetch it again with: edgemat data fetch"
        raise InputError(f"{archive}: damaged archive ({error}). {remedy}") from error
    if missed:
        raise InputError(f"{archive.name}: no member matches {', '.join(sorted(missed))}")
    return dict(sorted(sizes.items()))


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield each member that is not a folder, with its stream (None for a link); refuse names that escape."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            for info in bundle.infolist():
                if not info.is_dir():
                    is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
                    yield _inside(archive, info.filename), None if is_link else bundle.open(info)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isdir():
                yield _inside(archive, member.name), tar.extractfile(member) if member.isreg() else None


def _inside(archive: Path, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise InputError(f"{archive.name}: member {name!r} would leave its folder; nothing was unpacked")
    return str(path)


def _write(stream: IO[bytes], path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = stream.read()
    path.write_bytes(data)
    return len(data)
