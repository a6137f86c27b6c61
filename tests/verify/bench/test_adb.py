"""A phone over a fake adb: found, told apart from one that cannot be used, and what each failure says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgemat.errors import BackendMissingError, InputError
from edgemat.verify.bench import adb
from edgemat.verify.bench.adb import AdbError
from edgemat.verify.bench.benchmark_model import BenchmarkError

from . import phones

if sys.platform == "win32":
    pytest.skip("the fake adb is a script", allow_module_level=True)


def test_a_phone_that_is_ready_tells_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = phones.plug(tmp_path, monkeypatch)
    device = adb.connect(phones.SERIAL)
    assert device.name == f"Pixel 8 ({phones.SERIAL})"
    assert device.facts == {"manufacturer": "Google", "model": "Pixel 8", "soc_model": "SM8650", "android": "15"}
    assert device.cores() == 8
    assert device.shell("false-tool") == (127, "/system/bin/sh: false-tool: not found\n")
    assert phone.calls[0] == ["devices"]
    assert all(call[:2] == ["-s", phones.SERIAL] for call in phone.calls[1:])


def test_without_adb_its_place_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendMissingError, match="adb is not on the PATH; install Android's platform tools"):
        adb.connect("any")


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ({}, "no such device; adb devices lists: none"),
        ({"other": "device", "emulator-5554": "device"}, "adb devices lists: other, emulator-5554"),
        ({"X1": "unauthorized"}, "the device is unauthorized.*allow USB debugging"),
        ({"X1": "offline"}, "the device is offline.*adb reconnect"),
        ({"X1": "no permissions (user in plugdev group; are your udev rules wrong?)"}, "udev rule"),
        ({"X1": "recovery"}, "the device is recovery.*adb devices -l"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(
    devices: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phones.plug(tmp_path, monkeypatch, devices=devices)
    with pytest.raises(InputError, match=said):
        adb.connect("X1")


def test_the_tool_is_pushed_found_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = phones.plug(tmp_path / "a", monkeypatch)
    assert adb.connect(phones.SERIAL).tool(None) == phones.TOOL
    (tmp_path / "mine").write_bytes(b"ELF")
    assert adb.connect(phones.SERIAL).tool(tmp_path / "mine") == f"{adb.FOLDER}/benchmark_model"
    pushed = [call[2:] for call in phone.calls if call[2:3] == ["push"]]
    assert pushed == [["push", str(tmp_path / "mine"), f"{adb.FOLDER}/benchmark_model"]]
    assert any("chmod 755" in call[-1] for call in phone.calls)
    with pytest.raises(InputError, match="no such file; get one: https://"):
        adb.connect(phones.SERIAL).tool(tmp_path / "gone")
    phones.plug(tmp_path / "b", monkeypatch, files=[])
    with pytest.raises(BackendMissingError, match=r"none of benchmark_model, .* is in /data/local/tmp; get https://"):
        adb.connect(phones.SERIAL).tool(None)


@pytest.mark.parametrize(
    ("code", "said"), [(139, "crashed with signal 11"), (1, "ended with exit code 1"), (134, "crashed with signal 6")]
)
def test_a_benchmark_that_dies_is_said_to(
    code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phones.plug(tmp_path, monkeypatch, exit={"--graph": code}, outputs={"--graph": ["ERROR: boom\n"]})
    with pytest.raises(BenchmarkError, match=rf"{said}; its last words:\nERROR: boom"):
        adb.connect(phones.SERIAL).benchmark(phones.TOOL, ["--graph=a"])


def test_a_device_that_goes_away_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phones.plug(tmp_path, monkeypatch, gone="--graph")
    with pytest.raises(AdbError, match=r"failed \(exit code 1\): error: device '39030FDJH01460' not found"):
        adb.connect(phones.SERIAL).benchmark(phones.TOOL, ["--graph=a"])
