"""What a run shows of itself: progress lines, a CSV log, TensorBoard curves, sample sheets; and when to stop early."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError, OutputError
from edgemat.files import atomic_path
from edgemat.images import write_png
from edgemat.metrics import mad
from edgemat.verify import sheet

SHEET_ROWS = 6

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What a run tells about itself while it runs.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        losses: Mean of each term since the last report, the total first.
        samples_per_second: Since the last report.
        eta: Seconds to the end at this rate.
        learning_rate: Of the last step.
        validation: Figures on the validation split at this step; empty when there were none.
        best_step: The step of the best validation so far; None before the first.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    samples_per_second: float
    eta: float
    learning_rate: float
    validation: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None


def describe(progress: Progress) -> str:
    """Return one line about a run.

    Example:
        >>> describe(Progress(300, 1200, {"total": 0.125, "l1": 0.1}, 49.6, 3900.0, 1e-3, {"mad": 8.5}, best_step=300))
        'step 300/1200 (25 %)  total 0.125  l1 0.1  50 samples/s  ETA 1:05  mad 8.5  best'
    """
    words = [f"step {progress.step}/{progress.steps} ({100 * progress.step // progress.steps} %)"]
    words += [f"{name} {value:.4g}" for name, value in progress.losses.items()]
    words += [f"{progress.samples_per_second:.0f} samples/s", f"ETA {_hours_and_minutes(progress.eta)}"]
    words += [f"{name} {value:.4g}" for name, value in progress.validation.items()]
    if progress.validation and progress.best_step is not None:
        words.append("best" if progress.best_step == progress.step else f"(best at {progress.best_step})")
    return "  ".join(words)


def _hours_and_minutes(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-:--"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours}:{minutes:02d}"


@dataclass(frozen=True)
class EarlyStopping:
    """When a validation figure, lower is better, has not improved for so many validations, the run stops.

    Attributes:
        patience: Validations in a row without a new best before the run stops; 0 never stops it.
        best: The lowest value so far.
        best_step: Its step.
        bad: Validations since then.

    Example:
        >>> state = EarlyStopping(patience=2)
        >>> for step, value in enumerate([5.0, 4.0, 4.5, float("nan")], 1):
        ...     state = state.after(step, value)
        >>> state, state.should_stop
        (EarlyStopping(patience=2, best=4.0, best_step=2, bad=2), True)
    """

    patience: int
    best: float = math.inf
    best_step: int = 0
    bad: int = 0

    def __post_init__(self) -> None:
        """Check the range."""
        if self.patience < 0:
            raise InputError(f"patience = {self.patience}; expected 0 (never stop) or a number of validations")

    def after(self, step: int, value: float) -> EarlyStopping:
        """Return the state after one more validation; NaN is no improvement."""
        if value < self.best:
            return EarlyStopping(self.patience, value, step)
        return dataclasses.replace(self, bad=self.bad + 1)

    @property
    def should_stop(self) -> bool:
        """Whether the patience is at its end."""
        return 0 < self.patience <= self.bad


class Monitor:
    """Writes what a run shows of itself into its folder: ``log.csv``, ``tensorboard/`` and ``sheets/``.

    A resumed run takes its steps anew from the checkpoint: what a killed one logged after it is dropped from the
    CSV, and TensorBoard is told to forget it.

    Args:
        out: The run's folder.
        resumed_at: Step of the checkpoint that the run goes on from; 0 for a new run.
        on_progress: Called with each report after it is written.

    Raises:
        OutputError: ``out`` cannot be written.
        InputError: ``log.csv`` is not a log of a run.
    """

    def __init__(
        self, out: Path, resumed_at: int = 0, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> None:
        """Open the logs and drop from them what came after ``resumed_at``."""
        self._csv = _Csv(out / "log.csv", resumed_at)
        self._sheets = out / "sheets"
        self._events = out / "tensorboard"
        self._on_progress = on_progress
        with _disk(self._events):
            self._board = _summary_writer(self._events, resumed_at + 1)

    def report(self, progress: Progress) -> None:
        """Log one line of figures, then pass it on.

        Raises:
            OutputError: A log cannot be written (no space); the checkpoint is not touched.
        """
        values = _flat(progress)
        self._csv.append({"step": str(progress.step), **{name: f"{value:.7g}" for name, value in values.items()}})
        if self._board is not None:
            with _disk(self._events):
                for name, value in values.items():
                    self._board.add_scalar(name, value, progress.step)
                self._board.flush()
        self._on_progress(progress)

    def sheet(
        self,
        step: int,
        images: npt.NDArray[np.uint8],
        truth: npt.NDArray[np.float32],
        prediction: npt.NDArray[np.float32],
        uncertainty: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Write ``sheets/step-00001000.png``: a row for each of the first six samples, and show it in TensorBoard.

        Args:
            step: Steps done.
            images: RGB, uint8, (N, H, W, 3).
            truth: Alpha, float32, (N, H, W), in [0, 1].
            prediction: Alpha, float32, (N, H, W), in [0, 1].
            uncertainty: Expected |error| of the prediction, float32, (N, H, W), >= 0; drawn as bright as the error.

        Raises:
            InputError: A value is not in [0, 1], or shapes differ.
            OutputError: The sheet cannot be written (no space); the checkpoint is not touched.
        """
        if (
            not images.shape[:3]
            == truth.shape
            == prediction.shape
            == (truth if uncertainty is None else uncertainty).shape
        ):
            others = [a.shape for a in (images, prediction, uncertainty) if a is not None]
            raise InputError(f"sheet of step {step}: truth {truth.shape}, the others {others}; expected one size")
        picture = _draw(images, truth, prediction, uncertainty)
        path = self._sheets / f"step-{step:08d}.png"
        with _disk(path):
            write_png(path, picture)
        if self._board is not None:
            with _disk(self._events):
                self._board.add_image("samples", picture, step, dataformats="HWC")
                self._board.flush()

    def close(self) -> None:
        """Close TensorBoard's file; all reports are on disk before that."""
        if self._board is not None:
            with _disk(self._events):
                self._board.close()


def _flat(progress: Progress) -> dict[str, float]:
    """Return the figures by the name that both logs give them; a slash makes a group in TensorBoard."""
    values = {f"train/{name}": value for name, value in progress.losses.items()}
    values |= {"samples_per_second": progress.samples_per_second, "learning_rate": progress.learning_rate}
    values |= {f"validation/{name}": value for name, value in progress.validation.items()}
    if progress.best_step is not None:
        values["best_step"] = progress.best_step
    return values


def _draw(
    images: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.float32],
    prediction: npt.NDArray[np.float32],
    uncertainty: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.uint8]:
    """Return the sheet of the first samples, RGB, uint8."""
    titles = ["image", "truth", "prediction", f"|error| x{sheet.GAIN}"]
    titles += [] if uncertainty is None else [f"uncertainty x{sheet.GAIN}"]
    rows = []
    for i, score in enumerate(mad(prediction[:SHEET_ROWS], truth[:SHEET_ROWS])):
        error = np.abs(prediction[i] - truth[i])
        pictures: list[sheet.Picture] = [images[i] / 255, truth[i], prediction[i], error * sheet.GAIN]
        pictures += [] if uncertainty is None else [uncertainty[i] * sheet.GAIN]
        rows.append(([f"#{i}: MAD {score:.1f}"], pictures))
    return sheet.table(titles, rows)


def _summary_writer(folder: Path, purge_step: int) -> Any | None:
    """Return TensorBoard's writer, or None, with a warning, where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning("tensorboard is not installed: the run is logged to log.csv only; pip install tensorboard")
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Say of a failed write which file it was and that nothing is lost."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{error}. The last checkpoint is intact") from error
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror or error}). The last checkpoint is intact"
        raise OutputError(f"{reason}: free space, then go on with the same command") from error


class _Csv:
    """A table on disk that grows by rows and, when a figure is new, by a column."""

    def __init__(self, path: Path, last: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if not path.exists():
            return
        rows = _whole_rows(path)
        if rows and rows[0][0] != "step":
            raise InputError(f"{path}: begins with the column {rows[0][0]!r}, expected step; give another --out")
        kept = [row for row in rows[1:] if row[0].isdecimal() and int(row[0]) <= last]
        if kept:
            self.columns = rows[0]
            self._rewrite(kept)
        else:  # nothing of this run: the columns may be others
            with _disk(path):
                path.unlink()

    def append(self, row: Mapping[str, str]) -> None:
        """Add one row; a column that is new is added to the rows before, empty."""
        if new := [name for name in row if name not in self.columns]:
            before = _whole_rows(self.path)[1:] if self.columns else []
            self.columns += new
            self._rewrite(before)
        with _disk(self.path), self.path.open("a", newline="", encoding="utf-8") as stream:
            stream.write(_line([row.get(name, "") for name in self.columns]))

    def _rewrite(self, rows: Sequence[Sequence[str]]) -> None:
        """Write the header and these rows in place of the file."""
        filled = ([*row, *[""] * (len(self.columns) - len(row))] for row in rows)
        with _disk(self.path), atomic_path(self.path) as temporary:
            temporary.write_text("".join(map(_line, [self.columns, *filled])), encoding="utf-8", newline="")


def _line(cells: Sequence[str]) -> str:
    """Return one line of CSV with its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _whole_rows(path: Path) -> list[list[str]]:
    """Read a table, header first, less a last line that a kill or a full disk cut off."""
    text = path.read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
