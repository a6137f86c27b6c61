"""How fast a student is: its float and quickly quantized forms and a peer, side by side on one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError, InputError
from edgemat.export import _trunk, get, onnx
from edgemat.export._target import Trunk
from edgemat.verify import quick_ptq
from edgemat.verify.latency import Latency, interleave

ORT_FP32, ORT_INT8 = "ONNX Runtime fp32", "ONNX Runtime int8 (quick PTQ)"
LITERT_FP32, LITERT_INT8 = "LiteRT fp32", "LiteRT int8 (quick PTQ)"
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

    Int8 comes from quick post-training quantization (`edgemat.verify.quick_ptq`), for its speed only.

    Args:
        weights: The student's file; the shipped one if None.
        images: Calibration pixels, uint8, (N, H, W, 3); H and W are the size that is timed.
        rounds: Rounds; in each, every form runs once.
        threads: Threads of each runtime.
        cache_dir: Where ``edgemat data fetch`` put the peer; the default cache if None.

    Raises:
        InputError: The weights cannot be read.
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        trunk = _trunk.from_student(weights, images.shape[1], images.shape[2], Path(folder) / "trunk.onnx")
        calls, left_out = student_calls(trunk, images, threads, Path(folder))
        try:
            calls[PEER] = _litert(_peer(cache_dir), threads)
        except InputError as error:
            left_out[PEER] = str(error)
        return Bench(interleave(calls, rounds, warmup=max(3, rounds // 10)), left_out)


def student_calls(trunk: Trunk, images: Pixels, threads: int, folder: Path) -> tuple[dict[str, Call], dict[str, str]]:
    """Return one call for each form of a student, ready to be timed, and what is left out with the reason.

    Args:
        trunk: The student's trunk.
        images: Calibration pixels, uint8, (N, H, W, 3).
        threads: Threads of each runtime.
        folder: For temporary files.

    Raises:
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    for name in ("onnx", "tflite"):
        if missing := get(name).unavailable():
            raise BackendMissingError(f"bench: {missing.reason}; {missing.install}")
    tflite = folder / "fp32.tflite"
    get("tflite").convert(trunk, "fp32", tflite)
    calls = {
        ORT_FP32: _ort(trunk.path.read_bytes(), threads),
        ORT_INT8: _ort(quick_ptq.onnx_int8(trunk.path, images), threads),
        LITERT_FP32: _litert(tflite.read_bytes(), threads),
    }
    try:
        calls[LITERT_INT8] = _litert(quick_ptq.tflite_int8(tflite, images), threads)
    except BackendMissingError as error:
        return calls, {LITERT_INT8: str(error)}
    return calls, {}


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
