"""Export: make each artefact, read it back, run it, compare it, and keep only what passed its gate."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import EdgematError, InputError, OutputError
from edgemat.export._target import Gate, Runner, Target, Trunk
from edgemat.files import atomic_path, sha256, write_json
from edgemat.verify import preview
from edgemat.verify.compare import compare, complaints
from edgemat.verify.diagnose import diagnose
from edgemat.verify.report import Report, Result

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images

    Progress = Callable[[str], None]

logger = logging.getLogger(__name__)


def export(
    trunk: Trunk,
    targets: Sequence[Target],
    precision: str | None,
    out_dir: Path,
    images: Images,
    on_progress: Progress = lambda _: None,
) -> Report:
    """Export a trunk to targets and compare each artefact with ONNX Runtime on the trunk.

    An artefact that fails is kept beside its place as ``NAME.rejected.SUFFIX``; an earlier good one stays. A target
    that fails, or crashes, does not stop the others. ``report.json`` and ``preview.png`` are written beside the
    artefacts.

    Args:
        trunk: The graph to export.
        targets: What to make of it.
        precision: One for all targets; None takes each target's default.
        out_dir: Folder for the artefacts.
        images: RGB, uint8, (N, H, W, 3), N at least 1, at the trunk's size.
        on_progress: Called with a short text before each step.

    Raises:
        InputError: A target does not know the precision, or the images do not fit; nothing was made.
        OutputError: The folder cannot be written.
    """
    from edgemat.export.onnx import OnnxRunner

    _refuse(trunk, targets, precision, images)
    on_progress("reference: run")
    with OnnxRunner(trunk.path) as runner:
        reference = runner.run(images)
    wrong = complaints(reference, images.shape[:3], 1e-6)
    if wrong:
        raise InputError(f"{trunk.info.name}: {wrong[0]}; end the network in a clamp or sigmoid")
    jobs = [_Job(trunk, target, precision or target.default_precision, on_progress) for target in targets]
    made = [job.run(out_dir, images, reference) for job in jobs]
    alphas = {f"{result.target} {result.precision}": alpha for result, alpha in made if alpha is not None}
    picture = out_dir / "preview.png"
    on_progress("preview and report: write")
    preview.write(picture, images, reference, alphas)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    results = tuple(result for result, _ in made)
    report = Report(results, _facts(trunk, len(images)), _machine(targets), command, str(picture))
    write_json(out_dir / "report.json", report.to_json())
    return report


def _refuse(trunk: Trunk, targets: Sequence[Target], precision: str | None, images: Images) -> None:
    if not targets:
        raise InputError("no target given; see edgemat targets")
    for target in targets:
        if precision is not None and precision not in target.gates:
            known = ", ".join(target.gates)
            raise InputError(f"--precision {precision}: target {target.name} makes {known}; choose one of these")
    shape = (trunk.height, trunk.width, 3)
    if images.dtype != "uint8" or images.shape[1:] != shape or not len(images):
        raise InputError(f"calibration images are {images.dtype} {images.shape}, expected uint8 (N, *{shape}), N >= 1")


@dataclass(frozen=True)
class _Job:
    """One target at one precision."""

    trunk: Trunk
    target: Target
    precision: str
    on_progress: Progress

    @property
    def gate(self) -> Gate:
        """What the artefact has to pass."""
        return self.target.gates[self.precision]

    def run(self, out_dir: Path, images: Images, reference: Alphas) -> tuple[Result, Alphas | None]:
        """Make and judge the artefact in a hidden folder, then move it to its place, or beside it when it failed."""
        stem = f"{self.trunk.info.name}-{self.precision}"
        goal = out_dir / f"{stem}{self.target.suffix}"
        rejected = out_dir / f"{stem}.rejected{self.target.suffix}"
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{goal.name}.", suffix=".part", dir=out_dir) as stage:
                made = Path(stage) / goal.name
                result, alpha = self._judged(made, images, reference)
                _remove(rejected)
                if not made.exists():
                    return result, alpha
                place = goal if result else rejected
                with atomic_path(place) as temporary:
                    os.replace(made, temporary)
        except OSError as error:
            raise OutputError(f"{out_dir}: cannot be written ({error.strerror}); choose another --out") from error
        if not result:
            kept = f"; {goal.name} of an earlier export was left as it is" if goal.exists() else ""
            result = replace(result, message=f"{result.message}\n  kept for inspection as {rejected}{kept}")
        return replace(result, path=str(place), bytes=_size(place)), alpha

    def _judged(self, made: Path, images: Images, reference: Alphas) -> tuple[Result, Alphas | None]:
        """Turn whatever happens into a result."""
        missing = self.target.unavailable()
        if missing is not None:
            message = f"{missing.reason}; {missing.install}"
            return self._result("unavailable", message=message, exit_code=3), None
        try:
            return self._compared(made, images, reference)
        except EdgematError as error:
            return self._result("error", message=str(error), exit_code=error.exit_code), None
        except Exception as error:  # a backend may raise anything; the other targets still deserve their turn
            logger.debug("%s crashed", self.target.name, exc_info=True)
            message = f"{type(error).__name__}: {error} (a defect of edgemat or of the backend)"
            return self._result("error", message=message, exit_code=1), None

    def _compared(self, made: Path, images: Images, reference: Alphas) -> tuple[Result, Alphas | None]:
        self._say("convert")
        start = time.perf_counter()
        self.target.convert(self.trunk, self.precision, made)
        result = self._result("error", convert_seconds=time.perf_counter() - start, exit_code=1)
        wrong = self.target.check(made)
        if wrong:
            message = "\n  ".join(["the file is not as this target promises:", *wrong[:10]])
            return replace(result, message=message), None
        self._say("run")
        with self.target.load(made) as runner:
            start = time.perf_counter()
            alpha = runner.run(images)
            result = replace(result, run_seconds=time.perf_counter() - start)
            return self._gated(result, runner, alpha, images, reference)

    def _gated(
        self, result: Result, runner: Runner, alpha: Alphas, images: Images, reference: Alphas
    ) -> tuple[Result, Alphas | None]:
        """Judge an output; say where to look when it is not good enough."""
        wrong = complaints(alpha, reference.shape, self.gate.max_abs)
        if not wrong:
            found = compare(alpha, reference)
            result = replace(result, comparison=found)
            if found.max_abs <= self.gate.max_abs and found.mean_abs <= self.gate.mean_abs:
                return replace(result, state="passed", exit_code=0), alpha
            wrong = [
                f"alpha differs by max {found.max_abs:.3g}, mean {found.mean_abs:.3g}; "
                f"the gate is max {self.gate.max_abs:g}, mean {self.gate.mean_abs:g}"
            ]
        self._say("diagnose")
        try:
            wrong += diagnose(self.trunk, runner, images, self.gate).findings
        except Exception as error:  # the verdict stands without an explanation
            wrong.append(f"no diagnosis: {type(error).__name__}: {error}")
        shown = alpha if getattr(alpha, "shape", None) == reference.shape else None
        return replace(result, state="gate", message="\n  ".join(wrong)), shown

    def _result(self, state: str, *, message: str = "", convert_seconds: float = 0.0, exit_code: int) -> Result:
        return Result(
            self.target.name,
            self.precision,
            state,
            message,
            gate=asdict(self.gate),
            convert_seconds=convert_seconds,
            exit_code=exit_code,
        )

    def _say(self, step: str) -> None:
        self.on_progress(f"{self.target.name} {self.precision}: {step}")


def _remove(path: Path) -> None:
    """Remove what an earlier failure left, so that it is not taken for today's."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _facts(trunk: Trunk, images: int) -> dict[str, object]:
    return {
        "name": trunk.info.name,
        "version": trunk.info.version,
        "license": trunk.info.license,
        "size": [trunk.height, trunk.width],
        "sha256": sha256(trunk.path),
        "calibration_images": images,
    }


def _machine(targets: Sequence[Target]) -> dict[str, object]:
    packages = {"edgemat", "numpy", "onnxruntime", "onnx", "torch"}
    packages |= {name for target in targets for name in target.requires}
    versions = {}
    for name in sorted(packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "packages": versions,
    }
