"""The forms of a student that are timed without an export folder: float and integer, in two run times, and a peer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError, InputError
from edgemat.export import _trunk, get, onnx
from edgemat.export._target import Trunk
from edgemat.model.weights import shipped_quantized
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme
from edgemat.verify.bench.child import LITERT, ONNX_RUNTIME, OPENERS, Call
from edgemat.verify.bench.runtimes import Untimed
from edgemat.verify.bench.sampling import Subject

ORT_FP32, ORT_INT8 = "onnx fp32", f"onnx {onnx.BYTES}"
LITERT_FP32, LITERT_INT8 = "tflite fp32", "tflite int8"
PEER = "mediapipe selfie"

Pixels = npt.NDArray[np.uint8]


def trunks(weights: Path | None, images: Pixels, folder: Path) -> tuple[Trunk, Trunk]:
    """Return a student's trunk, and one with its grid.

    Args:
        weights: The student's file, float or quantized; a float one is calibrated on the images for its int8 form. The
            shipped ones if None.
        images: Calibration pixels, uint8, (N, H, W, 3); H and W are the size that is timed.
        folder: For the graphs.

    Raises:
        InputError: The weights cannot be read.
    """
    height, width = images.shape[1:3]
    trunk = _trunk.from_student(weights, height, width, folder / "trunk.onnx")
    if weights is None:
        return trunk, _trunk.from_student(shipped_quantized(get("onnx").scheme), height, width, folder / "grid.onnx")
    return trunk, trunk if trunk.grid is not None else calibrated(trunk, images)


def calibrated(trunk: Trunk, images: Pixels) -> Trunk:
    """Return a trunk with a grid calibrated on pixels, uint8, (N, H, W, 3)."""
    import onnx as onnx_package

    scheme = Scheme.parse(get("onnx").scheme)
    return replace(trunk, grid=calibrate(onnx_package.load(trunk.path), images, scheme))


def subjects(trunk: Trunk, integer: Trunk, folder: Path) -> tuple[Subject, ...]:
    """Write the forms of a student, ready to be timed; both int8 files take 8-bit pixels and give 8-bit alpha.

    Args:
        trunk: The student's trunk.
        integer: The same with a grid.
        folder: For the files.

    Raises:
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    for name in ("onnx", "tflite"):
        missing = get(name).unavailable()
        if missing is not None:  # it is false as a truth value
            raise BackendMissingError(f"bench: {missing.reason}; {missing.install}")
    get("tflite").convert(trunk, "fp32", folder / "fp32.tflite")
    get("tflite").convert(integer, "int8", folder / "int8.tflite")
    get("onnx").convert(integer, onnx.BYTES, folder / "int8.onnx")
    return (
        Subject(ORT_FP32, ONNX_RUNTIME, trunk.path),
        Subject(ORT_INT8, ONNX_RUNTIME, folder / "int8.onnx"),
        Subject(LITERT_FP32, LITERT, folder / "fp32.tflite"),
        Subject(LITERT_INT8, LITERT, folder / "int8.tflite"),
    )


def calls(trunk: Trunk, integer: Trunk, threads: int, folder: Path) -> dict[str, Call]:
    """Return one call for each form of `subjects`, opened in this process."""
    return {s.name: OPENERS[s.runtime](s.path, threads) for s in subjects(trunk, integer, folder)}


def peer(cache_dir: Path | None = None) -> Subject | Untimed:
    """Return MediaPipe's selfie segmentation, 256 px, from the fetched package, or why it is not timed.

    Args:
        cache_dir: Where ``edgemat data fetch`` put it; the default cache if None.
    """
    from edgemat.data import registry

    missing = get("tflite").unavailable()
    if missing is not None:
        return Untimed(PEER, f"{missing.reason}; {missing.install}")
    try:
        found = sorted(registry.folder("mediapipe", cache_dir).rglob("selfie_segmentation.tflite"))
    except InputError as error:
        return Untimed(PEER, str(error))
    if not found:
        return Untimed(PEER, "the peer's model is not in the cache; edgemat data fetch --name mediapipe")
    return Subject(PEER, LITERT, found[0], "another network, for people: a peer in latency, not in what it finds")
