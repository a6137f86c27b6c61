"""The student's architecture, chosen by measurement: every candidate's size, latency and error in one table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.verify.bench import student as bench
from edgemat.verify.bench.child import Call
from edgemat.verify.latency import Latency, interleave

if TYPE_CHECKING:
    from edgemat.model.student import StudentConfig

SCHEMA_VERSION = 1
_CARD = {"version": "0", "author": "-", "license": "-", "description": "fresh weights, for timing only"}


@dataclass(frozen=True)
class Candidate:
    """One architecture.

    Attributes:
        name: As given.
        parameters: Trainable numbers.
        macs: Multiply-accumulates of one image at the timed size.
        mad: Mean absolute difference on the validation composites (x 1e3), None where it was not trained.
        iou: Intersection over union there.
    """

    name: str
    parameters: int
    macs: int
    mad: float | None = None
    iou: float | None = None


@dataclass(frozen=True)
class Comparison:
    """All candidates, timed side by side.

    Attributes:
        candidates: In the order given.
        latency: Times of ``NAME: FORM`` in every round.
    """

    candidates: tuple[Candidate, ...]
    latency: Latency

    def milliseconds(self, candidate: str, form: str) -> float | None:
        """Return the median time of a form of `edgemat.verify.bench.student`, or None where it could not be made."""
        key = f"{candidate}: {form}"
        return self.latency.timing(key).median if key in self.latency.milliseconds else None

    def rows(self) -> list[list[str]]:
        """Return the table: a candidate a row."""
        return [self._row(candidate) for candidate in self.candidates]

    def _row(self, candidate: Candidate) -> list[str]:
        cells = [candidate.name, f"{candidate.parameters:,}", f"{candidate.macs / 1e6:.0f}"]
        for full, int8 in ((bench.ORT_FP32, bench.ORT_INT8), (bench.LITERT_FP32, bench.LITERT_INT8)):
            slow, fast = (self.milliseconds(candidate.name, form) for form in (full, int8))
            ratio = None if slow is None or fast is None else slow / fast
            cells += [_text(value, 2) for value in (slow, fast, ratio)]
        return [*cells, _text(candidate.mad, 1), _text(candidate.iou, 3)]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "candidates": [vars(candidate) for candidate in self.candidates],
            "latency": self.latency.to_json(),
        }


def compare(
    configs: Mapping[str, StudentConfig],
    images: npt.NDArray[np.uint8],
    rounds: int = 50,
    threads: int = 1,
    trained: Path | None = None,
) -> Comparison:
    """Time every candidate with fresh weights, interleaved, and score those that were trained.

    Args:
        configs: The candidates by name.
        images: Calibration pixels, uint8, (N, H, W, 3), of the size to time.
        rounds: Rounds; in each, every form of every candidate runs once.
        threads: Threads of each runtime.
        trained: Folder with ``NAME/student.safetensors`` of each trained candidate, or None.

    Raises:
        InputError: A trained file holds another architecture than its name says, or the data is not fetched.
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    calls: dict[str, Call] = {}
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, config in configs.items():
            candidate, forms = _prepare(name, config, images, threads, Path(temporary))
            calls |= {f"{name}: {form}": call for form, call in forms.items()}
            found.append(_scored(candidate, config, trained))
        latency = interleave(calls, rounds, warmup=max(3, rounds // 10))
    return Comparison(tuple(found), latency)


def _prepare(
    name: str, config: StudentConfig, images: npt.NDArray[np.uint8], threads: int, temporary: Path
) -> tuple[Candidate, dict[str, Call]]:
    """Build a candidate with fresh weights, count it, and make its timed forms."""
    import torch

    from edgemat.export import _trunk
    from edgemat.model import weights
    from edgemat.model.student import Student, count_macs

    torch.manual_seed(0)
    net = Student(config).eval()
    height, width = images.shape[1:3]
    folder = temporary / name
    weights.save(net, folder / "fresh.safetensors", _CARD)
    trunk = _trunk.from_student(folder / "fresh.safetensors", height, width, folder / "trunk.onnx")
    forms = bench.calls(trunk, bench.calibrated(trunk, images), threads, folder)
    parameters = sum(p.numel() for p in net.parameters())
    return Candidate(name, parameters, count_macs(net, height, width)), forms


def _scored(candidate: Candidate, config: StudentConfig, trained: Path | None) -> Candidate:
    """Add the error on the validation split where the candidate was trained."""
    from edgemat.model import weights
    from edgemat.verify import holdout

    path = None if trained is None else trained / candidate.name / "student.safetensors"
    if path is None or not path.exists():
        return candidate
    saved = weights.load(path).config
    if saved != config:
        raise InputError(f"{path}: a student of {saved}, expected {config}; train {candidate.name} again")
    evaluation, _ = holdout.score(holdout.predictor(path), holdout.samples("val", per_face=4))
    figures = (evaluation.mean(key).value for key in ("mad", "iou"))
    return Candidate(candidate.name, candidate.parameters, candidate.macs, *figures)


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
