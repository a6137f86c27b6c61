"""How fast a student is: its float and integer forms and a peer, side by side on one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError, InputError
from edgemat.export import _trunk, get, onnx
from edgemat.export._target import Trunk
from edgemat.model.weights import shipped_quantized
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme
from edgemat.verify.latency import Latency, interleave

ORT_FP32, ORT_INT8 = "ONNX Runtime fp32", "ONNX Runtime int8"
LITERT_FP32, LITERT_INT8 = "LiteRT fp32", "LiteRT int8"
PEER = "LiteRT MediaPipe selfie (peer)"
RATIOS = ((ORT_FP32, ORT_INT8), (LITERT_FP32, LITERT_INT8), (LITERT_FP32, PEER), (LITERT_INT8, PEER))
"""What is compared with what: the first over the second."""

Pixels = npt.NDArray[np.uint8]
Call = Callable[[], object]


@dataclass(frozen=True)
class Bench:
    """Times, and what could not be timed here.

    Attributes:
        latency: The times of all rounds.
        left_out: Name to reason with the fixing command.
    """

    latency: Latency
    left_out: dict[str, str]

    def ratios(self) -> list[tuple[str, str, str]]:
        """Return the ratios of `RATIOS` that could be measured: numerator, denominator, median with its interval."""
        timed = self.latency.milliseconds
        return [(a, b, str(self.latency.ratio(a, b).paired)) for a, b in RATIOS if a in timed and b in timed]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {**self.latency.to_json(), "compared": [list(r) for r in self.ratios()], "left_out": self.left_out}


def bench(
    weights: Path | None, images: Pixels, rounds: int = 50, threads: int = 1, cache_dir: Path | None = None
) -> Bench:
    """Time a student in ONNX Runtime and LiteRT, float and int8, beside MediaPipe's selfie segmentation.

    Both int8 files take 8-bit pixels and give 8-bit alpha, as a phone has them.

    Args:
        weights: The student's file, float or quantized; a float one is calibrated on the images for its int8 form. The
            shipped ones if None.
        images: Calibration pixels, uint8, (N, H, W, 3); H and W are the size that is timed.
        rounds: Rounds; in each, every form runs once.
        threads: Threads of each runtime.
        cache_dir: Where ``edgemat data fetch`` put the peer; the default cache if None.

    Raises:
        InputError: The weights cannot be read.
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        height, width, place = images.shape[1], images.shape[2], Path(folder)
        trunk = _trunk.from_student(weights, height, width, place / "trunk.onnx")
        integer = trunk
        if weights is None:
            integer = _trunk.from_student(shipped_quantized(get("onnx").scheme), height, width, place / "integer.onnx")
        elif trunk.grid is None:
            integer = calibrated(trunk, images)
        calls, left_out = student_calls(trunk, integer, threads, place), {}
        try:
            calls[PEER] = _litert(_peer(cache_dir), threads)
        except InputError as error:
            left_out[PEER] = str(error)
        return Bench(interleave(calls, rounds, warmup=max(3, rounds // 10)), left_out)


def calibrated(trunk: Trunk, images: Pixels) -> Trunk:
    """Return a trunk with a grid calibrated on pixels, uint8, (N, H, W, 3)."""
    import onnx as onnx_package

    scheme = Scheme.parse(get("onnx").scheme)
    return replace(trunk, grid=calibrate(onnx_package.load(trunk.path), images, scheme))


def student_calls(trunk: Trunk, integer: Trunk, threads: int, folder: Path) -> dict[str, Call]:
    """Return one call for each form of a student, ready to be timed.

    Args:
        trunk: The student's trunk.
        integer: The same with a grid.
        threads: Threads of each runtime.
        folder: For temporary files.

    Raises:
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    for name in ("onnx", "tflite"):
        if missing := get(name).unavailable():
            raise BackendMissingError(f"bench: {missing.reason}; {missing.install}")
    get("tflite").convert(trunk, "fp32", folder / "fp32.tflite")
    get("tflite").convert(integer, "int8", folder / "int8.tflite")
    get("onnx").convert(integer, onnx.BYTES, folder / "int8.onnx")
    return {
        ORT_FP32: _ort(trunk.path.read_bytes(), threads),
        ORT_INT8: _ort((folder / "int8.onnx").read_bytes(), threads),
        LITERT_FP32: _litert((folder / "fp32.tflite").read_bytes(), threads),
        LITERT_INT8: _litert((folder / "int8.tflite").read_bytes(), threads),
    }


def _ort(model: bytes, threads: int) -> Call:
    session = onnx.session(model, threads)
    first = session.get_inputs()[0]
    pixels = np.random.default_rng(0).integers(0, 256, first.shape, np.uint8)
    feed = {first.name: pixels if first.type == "tensor(uint8)" else pixels.astype(np.float32) / 255}
    return lambda: session.run(None, feed)


def _litert(content: bytes, threads: int) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    first = interpreter.get_input_details()[0]
    feed = np.random.default_rng(0).random(first["shape"], np.float32)
    interpreter.set_tensor(first["index"], feed.astype(first["dtype"]))
    return lambda: interpreter.invoke()


def _peer(cache_dir: Path | None) -> bytes:
    """Return MediaPipe's selfie segmentation, 256 px, from the fetched package."""
    from edgemat.data import registry

    found = sorted(registry.folder("mediapipe", cache_dir).rglob("selfie_segmentation.tflite"))
    if not found:
        raise InputError("the peer's model is not in the cache; edgemat data fetch --name mediapipe")
    return found[0].read_bytes()
