"""What the tests of parity run in a child in place of a back end: each kind goes wrong in a way of its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def open_fake(path: Path, *, target: str) -> Any:
    """Open an artefact of a target that is named after what it does; any other is opened as it is."""
    if target == "hangs":
        time.sleep(120)
    if target == "refuses":
        from edgemat.errors import InputError

        raise InputError(f"{path}: no model in it")
    if target == "lacks":
        lacking(path, target=target)
    from edgemat.verify.parity.isolate import Served

    return _wrong(target, Served)("onnx" if target in _KINDS else target, path)


def lacking(path: Path, *, target: str) -> Any:
    """Open nothing, for want of what it needs."""
    from edgemat.errors import BackendMissingError

    raise BackendMissingError(f"{target}: no such accelerator here; buy one")


_KINDS = ("segfaults", "nan", "shape", "double", "range", "raises", "dies_late", "unpackable", "hides", "shifts")


def _wrong(kind: str, base: Any) -> Any:
    import numpy as np

    class Wrong(base):  # type: ignore[misc]
        def __init__(self, target: str, path: Path) -> None:
            from edgemat import export

            super().__init__(export.get(target), path)

        def run(self, images: Any) -> Any:
            if kind == "segfaults":
                os.kill(os.getpid(), signal.SIGSEGV)
            if kind == "raises":
                raise ZeroDivisionError("by zero")
            if kind == "unpackable":
                return None
            alpha = super().run(images)
            if kind == "nan":
                alpha[0, 0, 0] = np.nan
            if kind == "shape":
                alpha = alpha[:, :-1]
            if kind == "double":
                alpha = alpha.astype(np.float64)
            if kind == "range":
                alpha = alpha * 2
            if kind == "shifts":
                alpha = np.where(alpha > 0.5, alpha - 2 / 255, alpha + 2 / 255).astype(np.float32)
            return alpha

        def codes(self, image: Any) -> Any:
            if kind == "dies_late":
                os._exit(7)
            found = dict(super().codes(image))
            if kind == "hides":
                del found["laterals.0.relu"]
            return found

    return Wrong
