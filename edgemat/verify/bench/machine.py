"""Facts of the machine that was timed, and how busy it was meanwhile."""

from __future__ import annotations

import os
import platform
from importlib import metadata

DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "svei8mm")
"""What ``/proc/cpuinfo`` calls instructions that multiply and sum several 8-bit integers at once."""
_PACKAGES = ("edgemat", "numpy", "onnxruntime", "ai-edge-litert", "openvino")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def facts() -> dict[str, object]:
    """Return what a reader needs to compare figures: processor, cores, integer instructions, versions."""
    model, flags = _processor()
    return {
        "platform": platform.platform(),
        "processor": model or platform.machine(),
        "cores": cores(),
        "dot_products": [flag for flag in DOT_PRODUCTS if flag in flags] if flags else None,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def ticks() -> tuple[int, ...] | None:
    """Return what the processor did so far (``/proc/stat``: user, nice, system, idle, iowait, irq, softirq, steal)."""
    try:
        with open("/proc/stat", encoding="ascii") as stream:
            return tuple(map(int, stream.readline().split()[1:9]))
    except (OSError, ValueError):
        return None


def load(before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> dict[str, float | None]:
    """Return shares of the processor's time between two readings of `ticks`.

    Returns:
        ``busy``: everything but idling, edgemat's own work included; ``stolen``: given to other virtual machines. None
        where the system does not tell.

    Example:
        >>> load((0,) * 8, (40, 0, 10, 45, 0, 0, 0, 5))
        {'busy': 0.55, 'stolen': 0.05}
    """
    if before is None or after is None or len(before) < 8 or sum(after) <= sum(before):
        return {"busy": None, "stolen": None}
    spent = [b - a for a, b in zip(before, after, strict=True)]
    total = sum(spent)
    return {"busy": round(1 - (spent[3] + spent[4]) / total, 4), "stolen": round(spent[7] / total, 4)}


def _processor() -> tuple[str, frozenset[str]]:
    """Return the processor's name and its flags; empty where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            lines = [line.partition(":") for line in stream]
    except OSError:
        return "", frozenset()
    found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    return found.get("model name", ""), frozenset((found.get("flags") or found.get("Features") or "").split())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
