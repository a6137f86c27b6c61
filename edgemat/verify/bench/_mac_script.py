"""Times Core ML packages on a Mac, says where each operation runs, and compares alpha with the reference.

Written by ``edgemat mac-script``; it needs no edgemat. Copy this file, the .npz of the same name and the .mlpackage
folders to a Mac, then:

    pip install 'coremltools>=9.0' pillow
    python3 mac_bench.py                     # writes mac.json
    python3 mac_bench.py --units CPU_AND_NE --rounds 60

Back where the packages were exported: edgemat bench DIR --merge mac.json
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
WINDOW, TOLERANCE, CAP = 10, 0.02, 200
CALLS = 3
PER_START = ("samples", "load_ms", "warmup_calls", "settled")
DEVICES = {"MLCPUComputeDevice": "CPU", "MLGPUComputeDevice": "GPU", "MLNeuralEngineComputeDevice": "NE"}


def main(words: list[str] | None = None) -> int:
    """Run a few processes one after another, each of which times everything; put together what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).resolve().parent, help="with the .mlpackage folders"
    )
    parser.add_argument("--golden", type=Path, default=Path(__file__).resolve().with_suffix(".npz"))
    parser.add_argument("--out", type=Path, default=Path("mac.json"))
    parser.add_argument("--units", nargs="+", choices=UNITS, default=list(UNITS))
    parser.add_argument("--rounds", type=int, default=20, help="of each start")
    parser.add_argument("--starts", type=int, default=3, help="fresh processes; a ratio has to hold in each")
    parser.add_argument("--one-start", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.one_start:
        document = asyncio.run(one_start(options))
    else:
        parts = []
        for number in range(options.starts):
            print(f"start {number + 1} of {options.starts}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as scratch:
                part = Path(scratch) / "part.json"
                command = [
                    sys.executable,
                    __file__,
                    "--one-start",
                    "--folder",
                    options.folder,
                    "--golden",
                    options.golden,
                ]
                command += ["--out", part, "--rounds", str(options.rounds), "--units", *options.units]
                code = subprocess.run([str(word) for word in command], check=False).returncode
                if code:
                    reason = f"start {number + 1} ended with exit code {code}"
                    print(f"{reason}; leave out the unit that crashes, with --units", file=sys.stderr)
                    return 1
                parts.append(json.loads(part.read_text(encoding="utf-8")))
        document = together(parts)
    options.out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if not options.one_start:
        show(document)
        print(f"{options.out}: now, where the packages were exported: edgemat bench DIR --merge {options.out}")
    return 0 if document["artefacts"] else 1


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one document: the times of every start, all else from the first; errors of all."""
    first, kept = parts[0], []
    errors = {(e["name"], e["unit"]): e for part in parts for e in part["errors"]}
    for artefact in first["artefacts"]:
        key = artefact["name"], artefact["unit"]
        same = [one for part in parts for one in part["artefacts"] if (one["name"], one["unit"]) == key]
        if len(same) < len(parts):
            errors.setdefault(key, {"name": key[0], "unit": key[1], "error": "not every start could run it"})
            continue
        kept.append({**artefact, **{k: [one[k] for one in same] for k in PER_START}})
    return {**first, "artefacts": kept, "errors": list(errors.values())}


async def one_start(options: argparse.Namespace) -> dict[str, Any]:
    """Open every package on every unit, time them in turn, then look at their plans and their alpha."""
    import coremltools as ct
    import numpy as np

    with np.load(options.golden, allow_pickle=False) as golden:
        index, images = json.loads(str(golden["index"])), golden["images"]
        alphas = {entry["file"]: golden[f"alpha:{entry['file']}"] for entry in index["packages"]}
    subjects: list[Subject] = []
    errors: list[dict[str, str]] = []
    for entry in index["packages"]:
        path = options.folder / entry["file"]
        if not path.is_dir() or digest(path) != entry["sha256"]:
            errors.append(
                {"name": entry["name"], "unit": "", "error": f"{path} is missing, or is not the one exported"}
            )
            continue
        for unit in options.units:
            subject = Subject(ct, entry, path, unit, images)
            try:
                await subject.open()
                subjects.append(subject)
            except Exception as error:
                traceback.print_exc()
                errors.append({"name": entry["name"], "unit": unit, "error": f"{type(error).__name__}: {error}"})
    for number in range(options.rounds):
        shift = number % max(1, len(subjects))
        for subject in subjects[shift:] + subjects[:shift]:
            await subject.turn()
    for subject in subjects:
        try:
            await subject.look(alphas[subject.entry["file"]])
        except Exception as error:
            traceback.print_exc()
            errors.append(
                {"name": subject.entry["name"], "unit": subject.unit, "error": f"{type(error).__name__}: {error}"}
            )
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "mac-bench",
        "device": device(ct),
        "reference": index["reference"],
        "artefacts": [subject.found for subject in subjects],
        "errors": errors,
    }


class Subject:
    """One package on one choice of compute units."""

    def __init__(self, ct: Any, entry: dict[str, Any], path: Path, unit: str, images: Any) -> None:
        """Open nothing yet."""
        self.ct, self.entry, self.path, self.unit, self.images = ct, entry, path, unit, images
        self.found: dict[str, Any] = {
            "name": entry["name"],
            "file": entry["file"],
            "sha256": entry["sha256"],
            "unit": unit,
        }
        self.found.update(bytes=sum(f.stat().st_size for f in path.rglob("*") if f.is_file()), samples=[])

    def inputs(self, number: int = 0) -> dict[str, Any]:
        """Return the input of a prediction; coremltools' own random ones cannot make an image."""
        from PIL import Image

        return {"image": Image.fromarray(self.images[number])}

    async def open(self) -> None:
        """Load the package, and predict until it is as fast as it was before."""
        from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

        self.model = self.ct.models.MLModel(str(self.path), compute_units=self.ct.ComputeUnit[self.unit])
        self.benchmarker = MLModelBenchmarker(self.model)
        loads = await self.benchmarker.benchmark_load(iterations=1)
        before: float | None = None
        count, settled = 0, False
        while count < CAP and not settled:
            window = await self.benchmarker.benchmark_predict(inputs=self.inputs(), iterations=WINDOW)
            median, count = statistics.median(window.samples), count + WINDOW
            settled = before is not None and abs(median - before) <= TOLERANCE * before
            before = median
        self.found.update(load_ms=loads.samples[0], warmup_calls=count, settled=settled)

    async def turn(self) -> None:
        """Time a few predictions; coremltools' warm-up is one more before them."""
        measured = await self.benchmarker.benchmark_predict(inputs=self.inputs(), iterations=CALLS, warmup=True)
        self.found["samples"].append([float(sample) for sample in measured.samples])

    async def look(self, reference: Any) -> None:
        """Compare alpha with the reference, and ask which unit each operation prefers."""
        import numpy as np

        alphas = []
        for number in range(len(self.images)):
            alpha = self.model.predict(self.inputs(number))["alpha"]
            alphas.append(np.asarray(alpha, np.float32).reshape(reference.shape[1:]))
        apart = np.abs(np.stack(alphas).astype(np.float64) - reference)
        within = float((apart <= 1.001 / 255).mean())
        figures = {"max_abs": float(apart.max()), "mean_abs": float(apart.mean()), "within_one": within}
        gate = self.entry["gate"]
        passed = all(
            figures[key] >= limit if key == "within_one" else figures[key] <= limit for key, limit in gate.items()
        )
        self.found.update(difference=figures, gate=gate, passed=bool(passed), plan=self.plan(), parted=[])
        if not passed and self.unit != "CPU_ONLY":
            self.found["parted"] = await self.parted()

    def plan(self) -> list[dict[str, Any]]:
        """Return each operation that computes: its output, kind, preferred and supported units, estimated cost."""
        from coremltools.models.compute_plan import MLComputePlan

        compiled = self.model.get_compiled_model_path()
        plan = MLComputePlan.load_from_path(path=compiled, compute_units=self.ct.ComputeUnit[self.unit])
        found = []
        for operation in plan.model_structure.program.functions["main"].block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is None:  # a constant
                continue
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            found.append(
                {
                    "name": operation.outputs[0].name if operation.outputs else "",
                    "op": operation.operator_name,
                    "device": name_of(usage.preferred_compute_device),
                    "supported": sorted({name_of(one) for one in usage.supported_compute_devices}),
                    "cost": None if cost is None else float(cost.weight),
                }
            )
        return found

    async def parted(self) -> list[str]:
        """Return the operations where this unit parts from the CPU, as coremltools' comparator finds them."""
        import numpy as np
        from coremltools.models.ml_program.experimental.debugging_utils import MLModelComparator, compute_snr_and_psnr

        def close(operation: Any, reference: Any, value: Any) -> bool:
            found = compute_snr_and_psnr(np.asarray(value).flatten(), np.asarray(reference).flatten())
            return bool(found[1] >= 40.0)

        try:
            cpu = self.ct.models.MLModel(str(self.path), compute_units=self.ct.ComputeUnit.CPU_ONLY)
            comparator = MLModelComparator(reference_model=cpu, target_model=self.model)
            failing = await comparator.find_failing_ops(inputs=self.inputs(), compare_outputs=close)
            return [operation.outputs[0].name for operation in failing]
        except Exception as error:  # an experimental tool; the figures stand without it
            return [f"not found: {type(error).__name__}: {error}"]


def name_of(unit: Any) -> str:
    """Return a compute device's short name."""
    return DEVICES.get(type(unit).__name__, type(unit).__name__)


def digest(path: Path) -> str:
    """Return the SHA-256 of a folder's sorted relative names and contents, as edgemat computes it."""
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        if file.name != ".DS_Store":
            total.update(file.relative_to(path).as_posix().encode() + b"\0")
            total.update(file.read_bytes())
    return total.hexdigest()


def device(ct: Any) -> dict[str, str]:
    """Return what this Mac is."""

    def ask(*command: str) -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    return {
        "model": ask("sysctl", "-n", "hw.model") or platform.machine(),
        "chip": ask("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor(),
        "macos": platform.mac_ver()[0],
        "python": platform.python_version(),
        "coremltools": ct.__version__,
    }


def show(document: dict[str, Any]) -> None:
    """Print a line a package and unit, and what failed."""
    for one in document["artefacts"]:
        times = [call for start in one["samples"] for turn in start for call in turn]
        where: dict[str, int] = {}
        for operation in one.get("plan", []):
            where[operation["device"]] = where.get(operation["device"], 0) + 1
        placed = ", ".join(f"{count} {name}" for name, count in sorted(where.items()))
        verdict = {True: "within its gate", False: "FAR FROM THE REFERENCE", None: "not compared"}[one.get("passed")]
        print(f"{one['name']:14} {one['unit']:12} {statistics.median(times):8.2f} ms  {verdict}; {placed}")
    for error in document["errors"]:
        print(f"{error['name']:14} {error['unit']:12} ERROR {error['error']}")


if __name__ == "__main__":
    sys.exit(main())
