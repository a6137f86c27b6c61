"""Fetching: checksum, resume, unpacking inside the folder, and what is said when it fails."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import re
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemat.data import archive, registry
from edgemat.errors import BackendMissingError, InputError, OutputError

_BODY = bytes(range(256)) * 4096  # 1 MiB


class _Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` with ranges; breaks off after ``cuts.pop(0)`` bytes of an answer while there are cuts."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.ignores_ranges = False

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        whole = self.server.files.get(self.path.lstrip("/"))
        if whole is None:
            return self.send_error(404)
        match = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(match.group(1)) if match and not self.server.ignores_ranges else 0
        if start >= len(whole):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(whole) - start))
        self.end_headers()
        body = whole[start:]
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tar(members: dict[str, bytes], link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return buffer.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def fake(server: _Server, monkeypatch: pytest.MonkeyPatch) -> registry.Source:
    """One small source on the local server, in place of the real ones."""
    data = _tar({"package/a/1.png": b"one", "package/a/2.png": b"two", "package/run.js": b"never"})
    server.files["fake.tgz"] = data
    source = registry.Source("fake", "npm", "fake", "1.0", _sha(data), "MIT", "test", ("package/a/*",), "package/")
    monkeypatch.setattr(registry, "SOURCES", (source,))
    monkeypatch.setattr(registry, "archive_url", lambda item: server.url("fake.tgz"))
    return source


def test_download_continues_where_the_connection_broke(server: _Server, tmp_path: Path) -> None:
    server.files["x"], server.cuts = _BODY, [300_000, 200_000]
    seen: list[tuple[str, int, int]] = []
    goal = tmp_path / "deep" / "x.part"
    archive.download("x", lambda: server.url("x"), goal, _sha(_BODY), lambda *step: seen.append(step))
    assert goal.read_bytes() == _BODY
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]
    assert [total for _, _, total in seen] == [len(_BODY)] * len(seen)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1] == ("x", len(_BODY), len(_BODY))


def test_download_gives_up_keeps_the_part_and_a_later_call_ends_it(server: _Server, tmp_path: Path) -> None:
    server.files["x"], server.cuts = _BODY, [1000] * 5
    goal = tmp_path / "x.part"
    with pytest.raises(InputError, match=r"x: the download broke off after 5000 bytes.*continues where it stopped"):
        archive.download("x", lambda: server.url("x"), goal, _sha(_BODY))
    assert goal.read_bytes() == _BODY[:5000]
    archive.download("x", lambda: server.url("x"), goal, _sha(_BODY))
    assert goal.read_bytes() == _BODY
    assert server.ranges[-1] == "bytes=5000-"


def test_download_starts_anew_where_ranges_are_ignored(server: _Server, tmp_path: Path) -> None:
    server.files["x"], server.ignores_ranges = _BODY, True
    goal = tmp_path / "x.part"
    goal.write_bytes(b"something else")
    archive.download("x", lambda: server.url("x"), goal, _sha(_BODY))
    assert goal.read_bytes() == _BODY


def test_complete_part_is_not_asked_for_again(server: _Server, tmp_path: Path) -> None:
    goal = tmp_path / "x.part"
    goal.write_bytes(_BODY)
    archive.download("x", lambda: pytest.fail("the registry was asked"), goal, _sha(_BODY))
    assert server.ranges == []


@pytest.mark.parametrize("stale", [b"", b"z" * 10, b"z" * 2_000_000], ids=["none", "short", "longer than the file"])
def test_checksum_mismatch_names_both_and_removes_the_part(server: _Server, tmp_path: Path, stale: bytes) -> None:
    server.files["x"] = _BODY
    goal = tmp_path / "x.part"
    goal.write_bytes(stale)
    with pytest.raises(InputError, match=f"x: .* is [0-9a-f]{{64}}, expected {'0' * 64}.*edgemat data fetch"):
        archive.download("x", lambda: server.url("x"), goal, "0" * 64)
    assert not goal.exists()


def test_download_refused_and_unwritable(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="404"):
        archive.download("x", lambda: server.url("none"), tmp_path / "x.part", "0" * 64)
    assert len(server.ranges) == 1  # a refusal is not tried again
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another EDGEMAT_CACHE"):
        archive.download("x", lambda: server.url("x"), tmp_path / "file" / "x.part", "0" * 64)


@pytest.mark.parametrize("pack", [_tar, _zip], ids=["tar", "zip"])
@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png", "a\\..\\out.png", "C:out.png"])
def test_members_that_escape_are_refused(tmp_path: Path, pack: object, name: str) -> None:
    assert callable(pack)
    packed = tmp_path / "evil"
    packed.write_bytes(pack({"a/good.png": b"good", name: b"bad"}))
    with pytest.raises(InputError, match="would leave its folder"):
        archive.unpack(packed, tmp_path / "in" / "goal", ["*"])
    assert not list(tmp_path.rglob("out.png"))


def test_unpack_refuses_links_rubbish_and_missing_members(tmp_path: Path) -> None:
    packed = tmp_path / "a.tgz"
    packed.write_bytes(_tar({"a.png": b"a"}, link="b.png"))
    with pytest.raises(InputError, match=r"member 'b\.png' is a link"):
        archive.unpack(packed, tmp_path / "1", ["*.png"])
    assert archive.unpack(packed, tmp_path / "2", ["a*"]) == {"a.png": 1}
    with pytest.raises(InputError, match=r"no member matches \*\.webp"):
        archive.unpack(packed, tmp_path / "3", ["a*", "*.webp"])
    for damaged in (b"no archive", _tar({"a.png": bytes(50_000)})[:100], _zip({"a": b"a"})[:-30]):
        packed.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged archive"):
            archive.unpack(packed, tmp_path / f"{len(damaged)}", ["*"])


def test_fetch_unpacks_only_what_is_needed_then_skips(server: _Server, fake: registry.Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there or not complete\. Fetch it with: edgemat data fetch"):
        registry.folder("fake", tmp_path)
    assert registry.fetch(tmp_path) == {"fake": tmp_path / "fake"}
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["fake/a/1.png", "fake/a/2.png", "fake/source.json"]
    registry.fetch(tmp_path, ["fake"])
    assert len(server.ranges) == 1
    assert registry.folder("fake", tmp_path) == tmp_path / "fake"


def test_fetch_mends_what_is_damaged_or_of_another_version(
    server: _Server, fake: registry.Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.fetch(tmp_path)
    (tmp_path / "fake" / "a" / "1.png").unlink()
    registry.fetch(tmp_path)
    assert (tmp_path / "fake" / "a" / "1.png").read_bytes() == b"one"
    (tmp_path / "fake" / "source.json").write_text("[]")
    registry.fetch(tmp_path)
    server.files["fake.tgz"] = newer = _tar({"package/a/3.png": b"three"})
    monkeypatch.setattr(registry, "SOURCES", (dataclasses.replace(fake, version="2.0", sha256=_sha(newer)),))
    registry.fetch(tmp_path)
    assert [p.name for p in (tmp_path / "fake" / "a").iterdir()] == ["3.png"]
    assert len(server.ranges) == 4


def test_failed_fetch_leaves_what_was_there(server: _Server, fake: registry.Source, tmp_path: Path) -> None:
    registry.fetch(tmp_path)
    (tmp_path / "fake" / "a" / "1.png").unlink()
    server.files["fake.tgz"] = b"tampered"
    with pytest.raises(InputError, match="SHA-256"):
        registry.fetch(tmp_path)
    assert (tmp_path / "fake" / "a" / "2.png").read_bytes() == b"two"


def test_unknown_source() -> None:
    with pytest.raises(InputError, match=r"'emoji' is not known; known: scikit-image, fake-avatars"):
        registry.fetch(Path("unused"), ["emoji"])


def test_missing_npm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.shutil, "which", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"npm is not on the PATH.*Install Node"):
        registry.archive_url(registry.source("fake-avatars"))


@pytest.mark.parametrize(
    ("code", "out", "err", "kind", "words"),
    [
        (1, "", "No module named pip", BackendMissingError, "ensurepip"),
        (1, "", "x\nERROR: No matching distribution", InputError, "ERROR: No matching distribution.*index or mirror"),
        (0, "{}", "", InputError, "names no archive"),
        (0, "rubbish", "", InputError, "names no archive"),
    ],
)
def test_pip_that_fails(
    monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str, kind: type[Exception], words: str
) -> None:
    answer = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(registry.subprocess, "run", lambda *args, **options: answer)
    with pytest.raises(kind, match=words):
        registry.archive_url(registry.source("mediapipe"))


def test_clients_are_asked_for_the_exact_version(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter(['{"install": [{"download_info": {"url": "https://a/b.whl"}}]}', '{"tarball": "https://c/d.tgz"}'])

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        asked.append(" ".join(command))
        return subprocess.CompletedProcess(command, 0, next(answers), "")

    monkeypatch.setattr(registry.subprocess, "run", run)
    monkeypatch.setattr(registry.shutil, "which", lambda name: name)
    assert registry.archive_url(registry.source("mediapipe")) == "https://a/b.whl"
    assert registry.archive_url(registry.source("fluent-emoji-3d")) == "https://c/d.tgz"
    assert "--dry-run" in asked[0]
    assert asked[0].endswith(" mediapipe==0.10.14")
    assert asked[1] == "npm view @lobehub/fluent-emoji-3d@1.1.0 dist --json"


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry.sys, "platform", "linux")
    monkeypatch.delenv("EDGEMAT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert registry.cache_dir() == tmp_path / "edgemat"
    monkeypatch.setenv("EDGEMAT_CACHE", str(tmp_path / "mine"))
    assert registry.cache_dir() == tmp_path / "mine"


def test_a_slip_in_a_source_is_caught(fake: registry.Source) -> None:
    with pytest.raises(ValueError, match="expected 64 lower-case hex digits"):
        dataclasses.replace(fake, sha256="abc")
    with pytest.raises(ValueError, match="no member"):
        dataclasses.replace(fake, members=())


@pytest.mark.data
def test_fetched_packages_hold_what_the_docs_say() -> None:
    assert len(list((registry.folder("fake-avatars") / "avatars" / "png").glob("*.png"))) == 263
    assert len(list((registry.folder("fluent-emoji-3d") / "assets").glob("*.webp"))) == 3391
    assert len(list(registry.folder("mediapipe").rglob("*.tflite"))) == 3
    for name in ("astronaut", "grass", "coffee", "chelsea"):
        assert (registry.folder("scikit-image") / f"{name}.png").is_file()
