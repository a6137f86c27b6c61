"""What this machine can do: versions, processor, cache, shipped weights, and what each target can prove here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

_CPU_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimdhp", "asimddp", "i8mm")
"""What the kernels of the back ends ask for: vector width, half floats, integer dot products."""


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        area: ``system``, ``package``, ``data``, ``weights`` or ``target``.
        name: What was looked at.
        ok: Whether it is as it should be.
        found: What was found, in words.
        fix: The command that mends it; empty where there is nothing to mend.
    """

    area: str
    name: str
    ok: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings; true when at least one target can run here."""

    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        """Say whether any target can run."""
        return any(c.ok for c in self.checks if c.area == "target")

    def to_json(self) -> dict[str, object]:
        """Return the findings as a JSON document."""
        return {"schema_version": 1, "usable": bool(self), "checks": [asdict(c) for c in self.checks]}


def examine() -> Diagnosis:
    """Look at this machine; imports no back end and neither torch nor numpy.

    Example:
        >>> diagnosis = examine()
        >>> diagnosis.checks[0].name
        'python'
    """
    return Diagnosis((*_system(), *_packages(), *_old_runtime(), *_data(), *_weights(), *_targets()))


def _system() -> Iterable[Check]:
    version = platform.python_version()
    yield Check("system", "python", True, f"{version} ({sys.implementation.name}) at {sys.executable}")
    yield Check("system", "platform", True, f"{platform.system()} {platform.release()} {platform.machine()}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("system", "processor", True, f"{_cpu_name()}, {usable} cores usable")
    if flags := _cpu_flags():
        yield Check("system", "cpu flags", True, flags)


def _cpu_name() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_flags() -> str:
    found = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return " ".join(flag for flag in _CPU_FLAGS if flag in found)


def _cpuinfo(key: str) -> str:
    """Return one field of Linux's processor list; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{re.escape(key)}\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _packages() -> Iterable[Check]:
    """Compare what is installed with what the package's own metadata asks for, extra by extra."""
    yield Check("package", "edgemat", True, importlib.metadata.version("edgemat"))
    wanted: dict[str, tuple[str, str, list[str]]] = {}
    for line in importlib.metadata.requires("edgemat") or []:
        match = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*(?:(>=|==)([\w.]+))?", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if match is None or match[1] == "edgemat" or (extra and extra[1] == "dev"):
            continue
        wanted.setdefault(match[1], (match[2] or ">=", match[3] or "0", []))[2].append(extra[1] if extra else "")
    for name, (relation, bound, extras) in sorted(wanted.items()):
        yield _package(name, relation, bound, extras)


def _package(name: str, relation: str, bound: str, extras: list[str]) -> Check:
    fix = f"pip install 'edgemat[{extras[0]}]'" if extras[0] else "pip install --upgrade edgemat"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check("package", name, False, "missing", fix)
    if relation == "==" and version != bound:
        return Check("package", name, False, f"{version}, not {bound}: the only one that is tested", fix)
    if _release(version) < _release(bound):
        return Check("package", name, False, f"{version}, too old: {bound} is the oldest that is tested", fix)
    return Check("package", name, True, version)


OLD_RUNTIME = "EDGEMAT_TFLITE_RUNTIME_PYTHON"
"""Variable that names a Python with tflite-runtime, which asks for numpy 1 and so for an environment of its own."""


def _old_runtime() -> Iterable[Check]:
    """Ask the environment of the runtime that apps in the field still ship what it has, where one is named."""
    fix = (
        "python3.11 -m venv tflite-runtime && tflite-runtime/bin/pip install tflite-runtime==2.14.0 'numpy<2' && "
        f"export {OLD_RUNTIME}=$PWD/tflite-runtime/bin/python"
    )
    python = os.environ.get(OLD_RUNTIME)
    if not python:
        found = (
            f"{OLD_RUNTIME} names no environment (needed only to test int8 .tflite files in the runtime of old apps)"
        )
        yield Check("package", "tflite-runtime", False, found, fix)
        return
    versions = "t.__version__, 'numpy', n.__version__"
    code = f"import numpy as n, tflite_runtime.interpreter, tflite_runtime as t; print({versions})"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60, env=clean)
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Check("package", "tflite-runtime", False, f"{python}: cannot be run ({error})", fix)
        return
    ok = done.returncode == 0
    found = f"{lines[-1] if lines else f'exit code {done.returncode}'} at {python}"
    yield Check("package", "tflite-runtime", ok, found, "" if ok else fix)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without local parts: enough to compare with a lower bound.

    Example:
        >>> _release("2.13.0+cpu") >= _release("2.9")
        True
    """
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _data() -> Iterable[Check]:
    from edgemat.data import registry
    from edgemat.errors import InputError

    yield Check("data", "cache", True, str(registry.cache_dir()))
    for source in registry.SOURCES:
        try:
            registry.folder(source.name)
        except InputError:
            fix = f"edgemat data fetch --name {source.name}"
            yield Check("data", source.name, False, "not fetched (needed only to train and to evaluate)", fix)
        else:
            yield Check("data", source.name, True, f"{source.package} {source.version}")


def _weights() -> Iterable[Check]:
    """Read the head of the shipped weights: a truncated or foreign file fails here."""
    from safetensors import SafetensorError, safe_open

    from edgemat.model import weights

    path = weights.shipped()
    reinstall = "pip install --force-reinstall --no-deps edgemat"
    try:
        with safe_open(path, framework="numpy") as file:
            found = f"{len(file.keys())} tensors, {path.stat().st_size / 1e6:.1f} MB"
    except (SafetensorError, OSError) as error:
        yield Check("weights", path.name, False, f"cannot be read: {error}", reinstall)
    else:
        yield Check("weights", path.name, True, found)


def _targets() -> Iterable[Check]:
    from edgemat import export

    for target in export.targets():
        missing = target.unavailable()
        if missing is None:
            yield Check("target", target.name, True, target.proves)
        else:
            yield Check("target", target.name, False, missing.reason, missing.install)
