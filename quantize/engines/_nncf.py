"""NNCF, in a process of its own: it loads OpenVINO and torch, whose threads no process that forks should hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import InputError
from edgemat.quantize.scheme import Scheme

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto

_SECONDS = 3600
_SILENT = "NNCF_CI"
"""Environment variable without which NNCF reports its use to its makers."""


def run(
    model: ModelProto,
    images: npt.NDArray[np.uint8],
    scheme: Scheme,
    method: str,
    kept: frozenset[str],
    origin: str,
) -> ModelProto:
    """Return the Q/DQ model that ``nncf.quantize`` makes of a float one, with its fast or full bias correction.

    Raises:
        InputError: NNCF failed; its last words are in the message.
    """
    import onnx

    environment = {**os.environ, _SILENT: "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")  # its bias correction reads shapes
        np.save(folder / "images.npy", images, allow_pickle=False)
        options = {"symmetric": scheme.symmetric, "method": method, "kept": sorted(kept)}
        (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
        command = [sys.executable, "-m", "edgemat.quantize.engines._nncf_process", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"{origin}: nncf took over {_SECONDS} s; give it fewer images with --calibration"
            ) from error
        out = folder / "quantized.onnx"
        if done.returncode or not out.is_file():
            words = (done.stderr.strip() or "no message").splitlines()[-1]
            raise InputError(
                f"{origin}: nncf failed (exit code {done.returncode}: {words}); try another --method or --engine"
            )
        return onnx.load(out)
