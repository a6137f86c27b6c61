"""What the tests of `edgemat.export._isolated` run in a child: each function goes wrong in a way of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.errors import InputError, UnsupportedOpError


def where(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"], "path": sys.path, **arguments}, arrays


def chatty(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    print("a back end's greeting " * 10_000)
    os.write(1, b"from C++")
    return arguments, arrays


def crash(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    print("before the crash", file=sys.stderr, flush=True)
    os.kill(os.getpid(), getattr(signal, arguments["signal"]))
    time.sleep(60)


def leave(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    sys.exit(3)


def hang(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    time.sleep(60)


def refuse(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    raise UnsupportedOpError("node a: Einsum")


def fail(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    raise ZeroDivisionError("by zero")


def unpackable(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"objects": np.array([object()])}


class Model:
    def run(self, images: Any) -> Any:
        if images.max() == 255:
            os.kill(os.getpid(), signal.SIGSEGV)
        return images[..., 0].astype(np.float32) / np.float32(255)

    def codes(self, image: Any) -> Any:
        return {"image": image.astype(np.int32), "a#b/ü": np.zeros((0, 2), np.int32)}


def open_model(path: Path, *, strict: bool = False) -> Model:
    if strict:
        raise InputError(f"{path}: broken")
    return Model()
