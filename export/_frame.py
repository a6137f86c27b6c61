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
from edgemat.export import _reference
from edgemat.export._compare import References, judge
from edgemat.export._target import Target, Trunk, Trunks
from edgemat.files import atomic_path, sha256, write_json
from edgemat.verify import preview
from edgemat.verify.compare import complaints
from edgemat.verify.report import Report, Result

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images

    Progress = Callable[[str], None]

logger = logging.getLogger(__name__)
_LINES = 12
"""Findings that a message tells at most."""


def export(
    trunks: Trunks,
    wanted: Sequence[tuple[Target, str]],
    out_dir: Path,
    images: Images,
    on_progress: Progress = lambda _: None,
) -> Report:
    """Export a network to targets and compare each artefact with its reference.

    A float artefact is compared with ONNX Runtime on the float graph; an integer one with the reference on the same
    grid, tensor by tensor. An artefact that fails is kept beside its place as ``NAME.rejected.SUFFIX``; an earlier
    good one stays. A target that fails, or crashes, does not stop the others. ``report.json``, ``preview.png`` and, for
    those who judge the folder later, the graphs themselves (``reference/``) are written beside the artefacts.

    Args:
        trunks: The graphs to export.
        wanted: What to make of them: targets, each with one of its precisions.
        out_dir: Folder for the artefacts.
        images: RGB, uint8, (N, H, W, 3), N at least 1, at the trunks' size.
        on_progress: Called with a short text before each step.

    Raises:
        InputError: A target does not know the precision or lacks its graph, or the images do not fit; nothing was made.
        OutputError: The folder cannot be written.
    """
    _refuse(trunks.any(), wanted, images)
    starts = [trunks.get(target, precision) for target, precision in wanted]
    with tempfile.TemporaryDirectory() as folder:
        references = References(images, Path(folder))
        on_progress("reference: run")
        reference = references.plain(trunks.any())
        wrong = complaints(reference, images.shape[:3], 1e-6)
        if wrong:
            raise InputError(f"{trunks.any().info.name}: {wrong[0]}; end the network in a clamp or sigmoid")
        jobs = [_Job(t, target, p, references, on_progress) for t, (target, p) in zip(starts, wanted, strict=True)]
        made = [job.run(out_dir) for job in jobs]
    alphas = {f"{result.target} {result.precision}": alpha for result, alpha in made if alpha is not None}
    picture = out_dir / "preview.png"
    on_progress("preview and report: write")
    preview.write(picture, images, reference, alphas)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    results = tuple(result for result, _ in made)
    report = Report(
        results, _facts(trunks.any(), len(images)), machine([target for target, _ in wanted]), command, str(picture)
    )
    _reference.save(trunks, out_dir / _reference.FOLDER)
    write_json(out_dir / "report.json", report.to_json())
    return report


def _refuse(trunk: Trunk, wanted: Sequence[tuple[Target, str]], images: Images) -> None:
    if not wanted:
        raise InputError("no target given; see edgemat targets")
    for target, precision in wanted:
        if precision not in target.gates:
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
    references: References
    on_progress: Progress

    def run(self, out_dir: Path) -> tuple[Result, Alphas | None]:
        """Make and judge the artefact in a hidden folder, then move it to its place, or beside it when it failed."""
        stem = f"{self.trunk.info.name}-{self.precision}"
        goal = out_dir / f"{stem}{self.target.suffix}"
        rejected = out_dir / f"{stem}.rejected{self.target.suffix}"
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{goal.name}.", suffix=".part", dir=out_dir) as stage:
                made = Path(stage) / goal.name
                result, alpha = self._judged(made)
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
        weighed = self.target.on_device(place) if result and self.target.on_device is not None else 0
        return replace(result, path=str(place), sha256=sha256(place), bytes=_size(place), device_bytes=weighed), alpha

    def _judged(self, made: Path) -> tuple[Result, Alphas | None]:
        """Turn whatever happens into a result."""
        missing = self.target.unavailable()
        if missing is not None:
            message = f"{missing.reason}; {missing.install}"
            return self._result("unavailable", message=message, exit_code=3), None
        try:
            return self._compared(made)
        except EdgematError as error:
            return self._result("error", message=str(error), exit_code=error.exit_code), None
        except Exception as error:  # a backend may raise anything; the other targets still deserve their turn
            logger.debug("%s crashed", self.target.name, exc_info=True)
            message = f"{type(error).__name__}: {error} (a defect of edgemat or of the backend)"
            return self._result("error", message=message, exit_code=1), None

    def _compared(self, made: Path) -> tuple[Result, Alphas | None]:
        self._say("convert")
        start = time.perf_counter()
        self.target.convert(self.trunk, self.precision, made)
        result = self._result("error", convert_seconds=time.perf_counter() - start, exit_code=1)
        wrong = self.target.check(made)
        if wrong:
            message = "\n  ".join(["the file is not as this target promises:", *wrong[:10]])
            return replace(result, message=message), None
        self._say("run")
        images = self.references.images
        with self.target.load(made) as runner:
            start = time.perf_counter()
            alpha = runner.run(images)
            result = replace(result, run_seconds=time.perf_counter() - start)
            self._say("compare")
            verdict = judge(self.target, self.precision, self.trunk, made, runner, alpha, self.references)
        result = replace(result, comparison=verdict.comparison, on_grid=verdict.on_grid)
        if not verdict.wrong:
            return replace(result, state="passed", exit_code=0), alpha
        shown = alpha if getattr(alpha, "shape", None) == images.shape[:3] else None
        return replace(result, state="gate", message="\n  ".join(verdict.wrong[:_LINES])), shown

    def _result(self, state: str, *, message: str = "", convert_seconds: float = 0.0, exit_code: int) -> Result:
        return Result(
            self.target.name,
            self.precision,
            state,
            message,
            float_bytes=self.trunk.path.stat().st_size,
            gate=asdict(self.target.gates[self.precision]),
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


def machine(targets: Sequence[Target]) -> dict[str, object]:
    """Return the platform, and the versions of the packages that take part."""
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
