"""LiteRT's ``benchmark_model``: the flags that edgemat gives it, and what it prints.

The same flags and lines in TensorFlow Lite's tool and in LiteRT's own (``litert/tools/benchmark_litert_model``), but
for the accelerators: TensorFlow Lite's has ``--use_gpu`` and ``--use_nnapi``, LiteRT's ``--use_gpu`` and ``--use_npu``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgemat.errors import EdgematError, InputError

ACCELERATORS = {"cpu": (), "gpu": ("--use_gpu=true",), "nnapi": ("--use_nnapi=true",), "npu": ("--use_npu=true",)}
"""What may run a file, with the flags that ask for it; the CPU is what both tools take when none is given."""
_COUNT = re.compile(r"count=(\d+)(?: first=\S+)?(?: curr=\S+)? min=(\S+) max=\S+ avg=(\S+) std=\S+(.*)")
_SUMMARY = re.compile(r"Inference timings in us: Init: (\S+), First inference: \S+, .*Inference \(avg\): (\S+)")
_LITERT_LOAD = re.compile(r"Model initialization:\s+(\S+) ms")
_MEMORY = re.compile(r"Memory footprint delta from the start of the tool \(MB\): init=\S+ overall=(\S+)")
_LITERT_MEMORY = re.compile(r"Overall footprint:\s+(\S+) MB")
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
_UNKNOWN_FLAGS = re.compile(r"Unconsumed cmdline flags: (.+)")
_REFUSED = "the model graph will not be executed by the delegate"
_TAIL = 8


class BenchmarkError(EdgematError):
    """A device's benchmark crashed, or did not run what it was asked for (exit code 1)."""

    exit_code = 1


@dataclass(frozen=True)
class Measured:
    """What one run of the tool measured, in milliseconds.

    Attributes:
        calls: Timed inferences.
        typical: Their median; their mean where the tool is too old to print one.
        is_median: Which of the two.
        minimum: The fastest.
        p95: 95th percentile; None where the tool is too old to print it.
        load_ms: Loading the file and preparing it.
        peak_bytes: Growth of the tool's memory; None where the device does not tell.
        placement: Delegate to operators, ``CPU`` for those that no delegate took; empty where it does not tell.
    """

    calls: int
    typical: float
    is_median: bool
    minimum: float
    p95: float | None
    load_ms: float | None
    peak_bytes: int | None
    placement: dict[str, int]


def flags(graph: str, threads: int, accelerator: str, runs: int, more: tuple[str, ...] = ()) -> list[str]:
    """Return the arguments of one run.

    Args:
        graph: Path of the file on the device.
        threads: For the CPU.
        accelerator: A key of `ACCELERATORS`.
        runs: Timed inferences, at least.
        more: Further flags, such as ``--dispatch_library_path=/data/local/tmp``.

    Example:
        >>> flags("/data/local/tmp/a.tflite", 1, "gpu", 50)[:3]
        ['--graph=/data/local/tmp/a.tflite', '--num_threads=1', '--use_gpu=true']
    """
    if accelerator not in ACCELERATORS:
        raise InputError(f"--accelerator {accelerator}: expected one of {', '.join(ACCELERATORS)}")
    common = [f"--num_runs={runs}", "--warmup_runs=10", "--warmup_min_secs=0.5", "--min_secs=0.5", "--max_secs=60"]
    return [f"--graph={graph}", f"--num_threads={threads}", *ACCELERATORS[accelerator], *common, *more]


def parse(output: str, accelerator: str) -> Measured:
    """Read what the tool printed.

    Args:
        output: Its standard output and standard error.
        accelerator: What it was asked to use.

    Raises:
        BenchmarkError: It ignored a flag, fell back to the CPU, or printed no times.

    Example:
        >>> found = parse('''INFO: count=9 first=80 curr=70 min=70 max=90 avg=75 std=4 p5=70 median=74 p95=90
        ... INFO: count=50 first=70 curr=71 min=69 max=99 avg=72.5 std=5 p5=70 median=71 p95=90
        ... INFO: Inference timings in us: Init: 4521, First inference: 80, Warmup (avg): 75, Inference (avg): 72.5
        ... ''', "cpu")
        >>> found.calls, found.typical, found.load_ms
        (50, 0.071, 4.521)
    """
    if ignored := _UNKNOWN_FLAGS.search(output):
        raise BenchmarkError(f"the tool does not know {ignored[1].strip()}; give another --benchmark-binary")
    if accelerator != "cpu" and _REFUSED in output:
        raise BenchmarkError(f"{accelerator} refused the whole graph, so that the CPU ran it: no time of {accelerator}")
    runs = [found for found in map(_COUNT.search, output.splitlines()) if found is not None]
    if not runs:
        raise BenchmarkError(f"it printed no times; its last words:\n{tail(output)}")
    last = runs[-1]  # those before are the warm-up's
    more = dict(re.findall(r"(\w+)=(\S+)", last[4]))
    typical = more.get("median") or str(last[3])
    summary, load = _SUMMARY.search(output), _LITERT_LOAD.search(output)
    memory = _MEMORY.search(output) or _LITERT_MEMORY.search(output)
    return Measured(
        int(last[1]),
        float(typical) / 1e3,
        "median" in more,
        float(last[2]) / 1e3,
        float(more["p95"]) / 1e3 if "p95" in more else None,
        float(summary[1]) / 1e3 if summary else float(load[1]) if load else None,
        round(float(memory[1]) * (1 << 20)) if memory else None,
        _placement(output),
    )


def _placement(output: str) -> dict[str, int]:
    """Return delegate to operators: the first takes from all, the next from what it left."""
    found: dict[str, int] = {}
    total = 0
    for taken, of, delegate in _REPLACED.findall(output):
        total = max(total, int(of))
        found[delegate] = found.get(delegate, 0) + int(taken)
    rest = total - sum(found.values())
    return {**found, "CPU": rest} if found and rest > 0 else found


def tail(output: str) -> str:
    """Return the last lines of an output."""
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n".join(lines[-_TAIL:]) or "(nothing)"
