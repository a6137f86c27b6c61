"""The process that holds one artefact and times it when asked, so that its memory, crashes and threads are its own.

`edgemat.export._isolated` starts it, `edgemat.verify.bench.sampling` asks. A call that had to wait for a core because
other programs ran is told from one that did not by the kernel's own account (``/proc/self/task/*/schedstat``).
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError

Call = Callable[[], object]
Arrays = dict[str, npt.NDArray[Any]]

WINDOW, TOLERANCE, CAP_CALLS, CAP_SECONDS = 10, 0.02, 400, 10.0
"""Warm-up ends when the medians of two successive windows agree so far, or after so many calls or seconds."""
ONNX_RUNTIME, LITERT, OPENVINO = "ONNX Runtime", "LiteRT", "OpenVINO"


@dataclass(frozen=True)
class Warmup:
    """How many calls passed before the times settled.

    Attributes:
        calls: Untimed calls.
        settled: Whether they settled before the cap.
    """

    calls: int
    settled: bool


def onnx_runtime(path: Path, threads: int) -> Call:
    """Open an ONNX file on ONNX Runtime's CPU provider; return one inference on fixed random input."""
    from edgemat.export import onnx

    session = onnx.session(path.read_bytes(), threads)
    first = session.get_inputs()[0]
    pixels = np.random.default_rng(0).integers(0, 256, first.shape, np.uint8)
    feed = {first.name: pixels if first.type == "tensor(uint8)" else pixels.astype(np.float32) / 255}
    return lambda: session.run(None, feed)


def litert(path: Path, threads: int) -> Call:
    """Open a .tflite file in LiteRT with its default delegate; return one inference on fixed random input."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    first = interpreter.get_input_details()[0]
    random = np.random.default_rng(0)
    if np.issubdtype(first["dtype"], np.integer):
        ends = np.iinfo(first["dtype"])
        feed = random.integers(ends.min, ends.max + 1, first["shape"], first["dtype"])
    else:
        feed = random.random(first["shape"], np.float32).astype(first["dtype"])
    interpreter.set_tensor(first["index"], feed)
    return lambda: interpreter.invoke()


def openvino(path: Path, threads: int) -> Call:
    """Open an IR on OpenVINO's CPU plugin; return one inference on fixed random input."""
    import openvino as package

    from edgemat.export.openvino._backend import CONFIG
    from edgemat.export.openvino._write import GRAPH

    core = package.Core()
    model = core.read_model(str(path / GRAPH))
    hints = {**CONFIG, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    feed = np.random.default_rng(0).random(tuple(model.inputs[0].shape), np.float32)
    request.set_input_tensor(package.Tensor(feed))
    return lambda: request.infer()


OPENERS: dict[str, Callable[[Path, int], Call]] = {ONNX_RUNTIME: onnx_runtime, LITERT: litert, OPENVINO: openvino}
"""What opens a file for each run time."""
_MODULES = {
    ONNX_RUNTIME: ("onnxruntime", "edgemat.export.onnx"),
    LITERT: ("ai_edge_litert.interpreter",),
    OPENVINO: ("openvino", "edgemat.export.openvino._backend", "edgemat.export.openvino._write"),
}


def waits() -> tuple[int, int] | None:
    """Return the nanoseconds that the main thread, and all others, were ready but had no core; None where unknown."""
    main, others, own = 0, 0, str(os.getpid())
    try:
        for thread in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as stream:
                    found = int(stream.read().split()[1])
            except FileNotFoundError:  # it ended meanwhile
                continue
            main, others = (found, others) if thread == own else (main, others + found)
    except (OSError, IndexError, ValueError):
        return None
    return main, others


def own_time() -> float:
    """Return seconds since any fixed moment, those left out in which the main thread waited for a core."""
    found = waits()
    return time.perf_counter() - (0.0 if found is None else found[0] / 1e9)


def warm_up(call: Call, clock: Callable[[], float] = own_time) -> Warmup:
    """Call until it is as fast as it was before.

    Args:
        call: One inference.
        clock: Seconds since any fixed moment.

    Example:
        >>> import itertools
        >>> warm_up(lambda: None, clock=itertools.count(0, 2**-10).__next__)
        Warmup(calls=20, settled=True)
    """
    begin, before, count = clock(), None, 0
    while count < CAP_CALLS:
        times = []
        for _ in range(WINDOW):
            start = clock()
            call()
            times.append(clock() - start)
        count += WINDOW
        median = float(np.median(times))
        if before is not None and abs(median - before) <= TOLERANCE * before:
            return Warmup(count, True)
        before = median
        if clock() - begin > CAP_SECONDS:
            break
    return Warmup(count, False)


def timed(call: Call, untimed: int, count: int) -> Arrays:
    """Time some calls.

    Args:
        call: One inference.
        untimed: Calls before, that bring the caches back.
        count: Calls to time.

    Returns:
        ``wall`` and ``waited``: milliseconds of each call, and how many of them its threads waited for a core, which
        is NaN where the system does not tell.
    """
    for _ in range(untimed):
        call()
    wall, lost = [], []
    for _ in range(count):
        before = waits()
        start = time.perf_counter_ns()
        call()
        end = time.perf_counter_ns()
        after = waits()
        wall.append((end - start) / 1e6)
        lost.append(float("nan") if before is None or after is None else (sum(after) - sum(before)) / 1e6)
    return {"wall": np.array(wall), "waited": np.array(lost)}


def memory() -> tuple[int, int]:
    """Return the bytes of this process's memory now and at its peak; (0, 0) where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            facts = dict(line.split(":", 1) for line in stream if ":" in line)
        return int(facts["VmRSS"].split()[0]) * 1024, int(facts["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0, 0


def forget_peak() -> None:
    """Let the peak of this process's memory begin anew; where the system cannot, it stays."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")
    except OSError:
        return


@dataclass
class _Held:
    """The artefact of this process, by the number of threads, and how long its helpers had waited at the last turn."""

    calls: dict[int, Call] = field(default_factory=dict)
    helpers: int = 0


_held = _Held()
"""Only `serve` touches it."""


def serve(arguments: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Do what the parent asks: ``open`` a file, or ``time`` it.

    A turn's answer also has ``late``: how many milliseconds the helper threads waited since the turn before it ended.
    The system books a wait when it ends, and a helper that was kept from the core may get it after its call is done.

    Raises:
        InputError: The run time cannot run the file.
    """
    del arrays
    threads = int(arguments["threads"])
    if arguments["do"] == "open":
        return _open(Path(arguments["path"]), arguments["runtime"], threads), {}
    before = waits()
    late = float("nan") if before is None else (before[1] - _held.helpers) / 1e6
    found = timed(_held.calls[threads], int(arguments["untimed"]), int(arguments["count"]))
    after = waits()
    _held.helpers = 0 if after is None else after[1]
    return {"late": None if np.isnan(late) else late}, found


def _open(path: Path, runtime: str, threads: int) -> dict[str, Any]:
    """Open a file and warm up; return what that took."""
    for module in _MODULES[runtime]:  # before the clock starts: an app has the run time in its binary
        importlib.import_module(module)
    first = not _held.calls
    forget_peak()
    before, _ = memory()
    start = own_time()
    try:
        call = OPENERS[runtime](path, threads)
        loaded = own_time() - start
        call()
    except Exception as error:  # the run times' own exceptions share no base
        raise InputError(f"{path}: {runtime} cannot run it: {error}; export it again") from error
    warm = warm_up(call)
    _, peak = memory()
    _held.calls[threads] = call
    facts = {"settled": warm.settled}
    # a second opening finds memory and code that the first has left
    return {**facts, "load_ms": loaded * 1e3, "peak_bytes": max(0, peak - before)} if first else facts
