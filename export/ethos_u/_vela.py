"""Call Vela, Arm's compiler, in a process of its own, and read what it says."""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgemat.errors import EdgematError, UnsupportedOpError
from edgemat.export import _npu, _npu_tflite

OPERATOR = "ethos-u"
"""The custom operator that stands for a partition."""


@dataclass(frozen=True)
class Core:
    """A core with the system that Vela assumes around it; Vela itself would take any system for any core.

    Attributes:
        system: A system of Arm's own configuration file.
        memory: A memory mode of that file.
    """

    system: str
    memory: str


CORES = {
    "ethos-u55-128": Core("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u55-256": Core("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65-512": Core("Ethos_U65_High_End", "Dedicated_Sram"),
    "ethos-u85-1024": Core("Ethos_U85_SYS_DRAM_High", "Dedicated_Sram"),
}
"""What is compiled for, as Vela calls it: a number of multipliers each clock."""
_CPU = re.compile(r"CPU operators = (\d+)")
_NPU = re.compile(r"NPU operators = (\d+)")
_REASON = re.compile(r"Warning \(supported operators\) operator: .*\n(?:.*Reason.*\n?)?")


def compile_for(core: str, source: Path, goal: Path, origin: str) -> _npu.Compiled:
    """Compile a source for a core.

    Args:
        core: Key of `CORES`.
        source: int8 .tflite.
        goal: The compiled file.
        origin: What the source was made from, for errors.

    Raises:
        UnsupportedOpError: Operators that are left to the CPU, all of them.
        EdgematError: Vela refused it.
        IsolatedError: Vela crashed or hung.
    """
    made = CORES[core]
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "--accelerator-config": core,
            "--config": "Arm/vela.ini",
            "--system-config": made.system,
            "--memory-mode": made.memory,
            "--output-dir": folder,
        }
        command = [sys.executable, "-P", "-m", "ethosu.vela", str(source), "--show-cpu-operations"]
        done = _npu.run_tool([*command, *(w for pair in options.items() for w in pair)], f"{origin} for {core}")
        stated = [found and int(found[1]) for found in (_NPU.search(done.stdout), _CPU.search(done.stdout))]
        compiled = Path(folder) / f"{source.stem}_vela.tflite"
        summary = Path(folder) / f"{source.stem}_summary_{made.system}.csv"
        if done.returncode or None in stated or not (compiled.is_file() and summary.is_file()):
            raise EdgematError(
                f"{origin}: Vela did not compile it for {core} (code {done.returncode}){_npu.said(done)}"
            )
        npu, cpu = (int(number or 0) for number in stated)
        left = _npu_tflite.left(compiled, OPERATOR)
        if cpu or left or not npu:
            reasons = [line.strip() for found in _REASON.findall(done.stdout) for line in found.splitlines()]
            lines = [
                f"{origin}: {max(cpu, len(left))} operators are not for {core}, and stay on the CPU",
                *left,
                *reasons,
            ]
            raise UnsupportedOpError("\n  ".join(lines))
        goal.write_bytes(compiled.read_bytes())
        return _npu.Compiled(core, goal.name, npu, cpu, {"estimates": _estimates(summary, made)})


def _estimates(summary: Path, core: Core) -> dict[str, object]:
    """Return what Vela's summary says: estimates of its model of the core, nothing measured."""
    with summary.open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream))
    return {
        "by": "Vela's model of the core and its memories; not measured",
        "system_config": core.system,
        "memory_mode": core.memory,
        "clock_hz": float(row["core_clock"]),
        "cycles": round(float(row["cycles_total"])),
        "npu_cycles": round(float(row["cycles_npu"])),
        "inference_ms": round(float(row["inference_time"]) * 1e3, 4),
        "macs": int(float(row["nn_macs"])),
        "sram_kib": float(row["sram_memory_used"]),
        "dram_kib": float(row["dram_memory_used"]),
        "on_chip_flash_kib": float(row["on_chip_flash_memory_used"]),
        "off_chip_flash_kib": float(row["off_chip_flash_memory_used"]),
    }
