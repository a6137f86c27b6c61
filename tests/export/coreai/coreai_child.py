"""What stands in for Core AI's process in the tests of the target: ONNX Runtime, and ways to go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.export.onnx import OnnxRunner


def convert(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write what looks like an asset: the ONNX file for a program."""
    goal = Path(arguments["goal"])
    goal.mkdir()
    program = Path(arguments["source"]).read_bytes()
    (goal / "main.mlirb").write_bytes(program)
    (goal / "main.hash").write_bytes(hashlib.sha256(program).digest())
    fields = {key: arguments["metadata"].pop(key) for key in ("author", "license", "description")}
    stated = {"creationDate": str(time.time_ns()), "creatorDefinedMetadata": arguments["metadata"], **fields}
    (goal / "metadata.json").write_text(json.dumps(stated))
    return {}, {}


class Model:
    """The program in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        copy = path.parent / "program.onnx"
        copy.write_bytes((path / "main.mlirb").read_bytes())
        self._runner = OnnxRunner(copy)
        copy.unlink()

    def run(self, images: Any) -> Any:
        return self._runner.run(images)


class Crashing(Model):
    def run(self, images: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)


class Hanging(Model):
    def run(self, images: Any) -> Any:
        time.sleep(60)


class Narrow(Model):
    def run(self, images: Any) -> Any:
        return super().run(images)[:, :, :-1]


class Nan(Model):
    def run(self, images: Any) -> Any:
        return super().run(images) * np.float32(np.nan)


class Off(Model):
    def run(self, images: Any) -> Any:
        return np.clip(super().run(images) * np.float32(0.9999), 0, 1)
