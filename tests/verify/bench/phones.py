"""A fake phone for the tests: an adb on the PATH that records its calls and replays outputs of benchmark_model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

SERIAL = "39030FDJH01460"
TOOL = "/data/local/tmp/benchmark_model"


def output(median: float, head: str = "") -> str:
    """Return what benchmark_model prints for a median in microseconds."""
    spread = f"first={median} curr={median} min={median * 0.9} max={median * 2} avg={median * 1.1} std=13"
    return (
        f"INFO: STARTING!\n{head}"
        "VERBOSE: Replacing 77 out of 77 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions.\n"
        f"INFO: count=20 {spread} p5={median} median={median * 3} p95={median}\n"
        f"INFO: count=50 {spread} p5={median} median={median} p95={median * 1.5}\n\n"
        f"INFO: Inference timings in us: Init: 4478, First inference: 9999, Warmup (avg): 9.9e+03, "
        f"Inference (avg): {median * 1.1}\n"
        "INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=8.0\n"
    )


class Phone:
    """What the fake adb knows and was asked."""

    def __init__(self, home: Path, **changes: Any) -> None:
        self.home = home
        state: dict[str, Any] = {
            "devices": {SERIAL: "device"},
            "files": [TOOL],
            "nproc": 8,
            "prop": {
                "ro.product.manufacturer": "Google", "ro.product.model": "Pixel 8", "ro.soc.model": "SM8650",
                "ro.build.version.release": "15", "ro.secret": "no",
            },
            "outputs": {},
            "exit": {},
        }  # fmt: skip
        (home / "adb.json").write_text(json.dumps({**state, **changes}))

    @property
    def calls(self) -> list[list[str]]:
        """The words of every call so far."""
        place = self.home / "calls.jsonl"
        return [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []

    @property
    def runs(self) -> list[str]:
        """The command lines that ran benchmark_model."""
        return [call[3].partition(" 2>&1")[0] for call in self.calls if "--graph=" in call[-1]]


def plug(home: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Phone:
    """Put a fake adb on the PATH."""
    home.mkdir(exist_ok=True)
    script = home / "adb"
    shutil.copyfile(Path(__file__).with_name("fake_adb.py"), script)
    script.write_text(script.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=os.pathsep)
    return Phone(home, **changes)
