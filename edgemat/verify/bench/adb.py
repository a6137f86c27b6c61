"""An Android device over ``adb``: found, told apart from one that cannot be used, and run on."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgemat.errors import BackendMissingError, EdgematError, InputError
from edgemat.verify.bench.benchmark_model import BenchmarkError, tail

PLACE = "/data/local/tmp"
"""Where a shell may put and execute files on any Android device."""
FOLDER = f"{PLACE}/edgemat"
BINARIES = ("benchmark_model", "android_aarch64_benchmark_model", "benchmark_litert_model")
"""Names of the tool that are looked for in `PLACE`."""
_GET = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
    "android_aarch64_benchmark_model"
)
_FACTS = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "soc_manufacturer": "ro.soc.manufacturer",
    "soc_model": "ro.soc.model",
    "platform": "ro.board.platform",
    "abi": "ro.product.cpu.abi",
    "android": "ro.build.version.release",
    "sdk": "ro.build.version.sdk",
    "build": "ro.build.fingerprint",
}
_HINTS = {
    "unauthorized": "unlock it and allow USB debugging from this computer",
    "offline": "plug it in again, or run: adb reconnect",
    "no": "adb may not open it (no permissions): add a udev rule for it, then run: adb kill-server",
}
_TIMEOUT = 300.0
_EXIT = "edgemat-exit:"


class AdbError(EdgematError):
    """adb could not do what it was asked, or the device has gone (exit code 3)."""

    exit_code = 3


@dataclass(frozen=True)
class Device:
    """A device that is ready.

    Attributes:
        serial: What ``adb devices`` calls it.
        facts: What it tells of itself: model, system on a chip, Android's version.
    """

    serial: str
    facts: Mapping[str, str]

    @property
    def name(self) -> str:
        """Model and serial, for tables."""
        return f"{self.facts.get('model', 'Android')} ({self.serial})"

    def shell(self, command: str, timeout: float = _TIMEOUT) -> tuple[int, str]:
        """Run a command line on the device.

        Returns:
            Its exit code, and its standard output and error together.

        Raises:
            AdbError: The device has gone, or did not answer in time.
        """
        # older devices do not pass the exit code on
        output = _adb(self.serial, "shell", f"{command} 2>&1; echo {_EXIT}$?", timeout=timeout)
        text, mark, code = output.replace("\r\n", "\n").rpartition(_EXIT)
        if not mark:
            raise AdbError(
                f"{self.serial}: the device went away while it ran {command!r}; its last words:\n{tail(output)}"
            )
        return int(code.strip() or 1), text

    def push(self, source: Path, goal: str) -> None:
        """Copy a file to the device.

        Raises:
            AdbError: It cannot be copied.
        """
        _adb(self.serial, "push", str(source), goal)

    def cores(self) -> int:
        """Return how many cores the device says it has; 4 where it does not say."""
        code, output = self.shell("nproc")
        return int(output.strip()) if code == 0 and output.strip().isdigit() else 4

    def benchmark(self, binary: str, arguments: list[str]) -> str:
        """Run the tool; return what it printed.

        Raises:
            BenchmarkError: It crashed, or ended with an error.
        """
        code, output = self.shell(shlex.join([binary, *arguments]))
        if code != 0:
            reason = f"crashed with signal {code - 128}" if code > 128 else f"ended with exit code {code}"
            raise BenchmarkError(f"{self.serial}: {binary} {reason}; its last words:\n{tail(output)}")
        return output

    def clean(self) -> None:
        """Remove what was pushed."""
        self.shell(f"rm -rf {FOLDER}")

    def tool(self, local: Path | None) -> str:
        """Return the path of the benchmark on the device, having pushed it if it is given.

        Args:
            local: The binary for the device, on this computer; None to take the one that lies on the device.

        Raises:
            InputError: There is no such file here.
            BackendMissingError: There is none on the device.
        """
        self.shell(f"mkdir -p {FOLDER}")
        if local is not None:
            if not local.is_file():
                raise InputError(f"--benchmark-binary {local}: no such file; get one: {_GET}")
            self.push(local, f"{FOLDER}/benchmark_model")
            self.shell(f"chmod 755 {FOLDER}/benchmark_model")
            return f"{FOLDER}/benchmark_model"
        for name in BINARIES:
            if self.shell(f"test -x {PLACE}/{name}")[0] == 0:
                return f"{PLACE}/{name}"
        raise BackendMissingError(
            f"{self.serial}: none of {', '.join(BINARIES)} is in {PLACE}; get {_GET} and give it as --benchmark-binary"
        )


def connect(serial: str) -> Device:
    """Return a device that is ready.

    Args:
        serial: As ``adb devices`` lists it.

    Raises:
        BackendMissingError: adb is not installed.
        InputError: No such device, or one that cannot be used.
        AdbError: adb failed.
    """
    if shutil.which("adb") is None:
        raise BackendMissingError(
            "adb is not on the PATH; install Android's platform tools: "
            "https://developer.android.com/tools/releases/platform-tools"
        )
    states = dict(re.findall(r"^(\S+)\s+(\S+)", _adb(None, "devices").partition("\n")[2], re.MULTILINE))
    if serial not in states:
        known = ", ".join(states) or "none"
        raise InputError(f"--device adb:{serial}: no such device; adb devices lists: {known}")
    if states[serial] != "device":
        hint = _HINTS.get(states[serial], "look at: adb devices -l")
        raise InputError(f"--device adb:{serial}: the device is {states[serial]}, expected it to be ready; {hint}")
    found = dict(re.findall(r"\[([^\]]+)\]: \[([^\]]*)\]", _adb(serial, "shell", "getprop")))
    return Device(serial, {name: found[key] for name, key in _FACTS.items() if found.get(key)})


def _adb(serial: str | None, *words: str, timeout: float = _TIMEOUT) -> str:
    """Run adb; return its standard output.

    Raises:
        AdbError: It fails, or takes too long.
    """
    command = ["adb", *(["-s", serial] if serial is not None else []), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise AdbError(f"{shlex.join(command)}: no answer within {timeout:g} s; look at the device") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise AdbError(f"{shlex.join(command)}: failed (exit code {done.returncode}): {said}")
    return done.stdout
