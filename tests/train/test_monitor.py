"""What a run shows of itself: both logs after a kill, the sheet, a full disk, and when it stops early."""

from __future__ import annotations

import csv
import logging
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemat.errors import InputError, OutputError
from edgemat.train.monitor import SHEET_ROWS, EarlyStopping, Monitor, Progress, describe

from ..full_disk import a_full_disk

needs_tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")

# TensorBoard's writer is a thread: what it cannot write, it raises there as well.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def progress(step: int, validation: dict[str, float] | None = None, best: int | None = None) -> Progress:
    losses = {"total": 1.0 / step, "l1": 0.5 / step}
    return Progress(step, 100, losses, 40.0, 60.0, 1e-3, validation or {}, best)


@pytest.fixture
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, strict=True))


def scalars(out: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_the_csv_holds_every_report_and_a_later_figure_gets_its_column(
    tmp_path: Path, without_tensorboard: None
) -> None:
    seen: list[Progress] = []
    monitor = Monitor(tmp_path, on_progress=seen.append)
    reports = [progress(10), progress(20, {"mad": 8.5}, best=20), progress(30)]
    for report in reports:
        monitor.report(report)
    assert seen == reports
    found = rows(tmp_path / "log.csv")
    assert [row["step"] for row in found] == ["10", "20", "30"]
    assert [row["train/total"] for row in found] == ["0.1", "0.05", "0.03333333"]
    assert [row["validation/mad"] for row in found] == ["", "8.5", ""]
    assert [row["best_step"] for row in found] == ["", "20", ""]
    assert found[0]["learning_rate"] == "0.001"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_broken_by_a_kill_is_dropped_on_resume(tmp_path: Path, without_tensorboard: None, cut: int) -> None:
    monitor = Monitor(tmp_path)
    for step in (10, 20, 30):
        monitor.report(progress(step))
    path = tmp_path / "log.csv"
    path.write_bytes(path.read_bytes()[:-cut])  # step 30's line is cut in its middle or lacks its end
    again = Monitor(tmp_path, resumed_at=30)
    again.report(progress(40))
    found = rows(path)
    assert [row["step"] for row in found] == ["10", "20", "40"]
    assert all(None not in row and None not in row.values() for row in found)


def test_steps_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path, without_tensorboard: None) -> None:
    monitor = Monitor(tmp_path)
    for step in (10, 20, 30):
        monitor.report(progress(step))
    again = Monitor(tmp_path, resumed_at=20)
    again.report(progress(30, {"mad": 1.0}))
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["10", "20", "30"]
    assert [row["validation/mad"] for row in rows(tmp_path / "log.csv")] == ["", "", "1"]


def test_a_run_begun_anew_has_its_own_columns(tmp_path: Path, without_tensorboard: None) -> None:
    Monitor(tmp_path).report(progress(10, {"mad": 8.5}))
    Monitor(tmp_path, resumed_at=0).report(progress(5))
    (row,) = rows(tmp_path / "log.csv")
    assert row["step"] == "5"
    assert "validation/mad" not in row


def test_a_file_that_is_no_log_is_refused_and_kept(tmp_path: Path, without_tensorboard: None) -> None:
    path = tmp_path / "log.csv"
    path.write_text("name,shoe size\nme,44\n")
    with pytest.raises(InputError, match=r"log\.csv: begins with the column 'name', expected step"):
        Monitor(tmp_path)
    assert path.read_text() == "name,shoe size\nme,44\n"


@needs_tensorboard
def test_tensorboard_shows_the_resumed_run_only(tmp_path: Path) -> None:
    first = Monitor(tmp_path)
    for step in (10, 20, 30):
        first.report(progress(step, {"mad": float(step)}))
    # No close: a kill leaves the file as the last report left it.
    second = Monitor(tmp_path, resumed_at=20)
    second.report(progress(25, {"mad": 2.5}))
    second.close()
    assert scalars(tmp_path, "validation/mad") == [(10, 10.0), (20, 20.0), (25, 2.5)]
    assert dict(scalars(tmp_path, "train/total")) == pytest.approx({10: 0.1, 20: 0.05, 25: 0.04})
    assert [step for step, _ in scalars(tmp_path, "samples_per_second")] == [10, 20, 25]
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["10", "20", "25"]


def test_without_tensorboard_the_run_goes_on_and_says_so_once(
    tmp_path: Path, without_tensorboard: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        monitor = Monitor(tmp_path)
        monitor.report(progress(10))
        monitor.report(progress(20))
        monitor.sheet(20, *pictures(1))
        monitor.close()
    assert [r.getMessage() for r in caplog.records if "tensorboard" in r.getMessage()] == [
        "tensorboard is not installed: the run is logged to log.csv only; pip install tensorboard"
    ]
    assert len(rows(tmp_path / "log.csv")) == 2
    assert not (tmp_path / "tensorboard").exists()


def pictures(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, truth (left half skin), prediction (wrong by 1/8 on the last rows) and the doubt (1/16 everywhere)."""
    truth = np.zeros((count, 64, 64), np.float32)
    truth[:, :, :32] = 1.0
    prediction = truth.copy()
    prediction[:, -8:, 32:] = 0.125
    image = np.full((count, 64, 64, 3), (200, 100, 40), np.uint8)
    return image, truth, prediction, np.full_like(truth, 0.0625)


@needs_tensorboard
def test_the_sheet_shows_image_truth_prediction_error_and_doubt(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = Monitor(tmp_path)
    monitor.sheet(1000, *pictures(SHEET_ROWS + 3))
    monitor.close()
    (path,) = (tmp_path / "sheets").iterdir()
    assert path.name == "step-00001000.png"
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (16 + SHEET_ROWS * (16 + 64), 5 * 64, 3)
    image, truth, prediction, error, doubt = sheet[-1].reshape(5, 64, 3).astype(int)
    assert (image == (200, 100, 40)).all()
    assert (truth[:32] == 255).all()
    assert (truth[32:] == 0).all()
    assert (prediction[32:] == 32).all()
    assert (error[:32] == 0).all()
    assert (error[32:] == 128).all()  # 1/8 after the fourfold gain
    assert (doubt == 64).all()
    assert sheet[16:32].max() > 200  # the caption
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (shown,) = events.Images("samples")
    assert (shown.step, shown.width, shown.height) == (1000, sheet.shape[1], sheet.shape[0])


def test_a_student_has_no_column_of_doubt(tmp_path: Path, without_tensorboard: None) -> None:
    Monitor(tmp_path).sheet(7, *pictures(2)[:3])
    assert np.asarray(Image.open(tmp_path / "sheets" / "step-00000007.png")).shape == (16 + 2 * (16 + 64), 4 * 64, 3)


def test_pictures_that_do_not_fit_are_refused(tmp_path: Path, without_tensorboard: None) -> None:
    image, truth, prediction, doubt = pictures(2)
    with pytest.raises(InputError, match=r"sheet of step 7: truth \(2, 64, 64\)"):
        Monitor(tmp_path).sheet(7, image, truth, prediction, doubt[:1])
    assert not (tmp_path / "sheets").exists()


def test_a_full_disk_names_the_csv_and_a_resumed_run_mends_it(tmp_path: Path, without_tensorboard: None) -> None:
    monitor = Monitor(tmp_path)
    monitor.report(progress(10))
    path = tmp_path / "log.csv"
    with (
        a_full_disk(path.stat().st_size + 5),
        pytest.raises(OutputError, match=r"log\.csv: cannot be written \(File too large\).*checkpoint is intact"),
    ):
        monitor.report(progress(20))
    assert not path.read_bytes().endswith(b"\n")  # the fault that the resumed run meets
    Monitor(tmp_path, resumed_at=10).report(progress(20))
    assert [row["step"] for row in rows(path)] == ["10", "20"]


@pytest.mark.parametrize("later", [{}, {"mad": 1.0}])
def test_a_full_disk_leaves_the_rows_before(tmp_path: Path, without_tensorboard: None, later: dict[str, float]) -> None:
    monitor = Monitor(tmp_path)
    monitor.report(progress(10))
    before = (tmp_path / "log.csv").read_text()
    with a_full_disk(len(before)), pytest.raises(OutputError, match=r"log\.csv: .*checkpoint is intact"):
        monitor.report(progress(20, later))
    assert (tmp_path / "log.csv").read_text() == before


def test_a_full_disk_names_the_sheet(tmp_path: Path, without_tensorboard: None) -> None:
    monitor = Monitor(tmp_path)
    with a_full_disk(100), pytest.raises(OutputError, match=r"step-00000007\.png: .*checkpoint is intact"):
        monitor.sheet(7, *pictures(1))
    assert list((tmp_path / "sheets").iterdir()) == []


@needs_tensorboard
def test_a_full_disk_names_the_tensorboard_folder(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    monitor.report(progress(10))
    full = events.stat().st_size + 5  # room enough for the CSV
    assert (tmp_path / "log.csv").stat().st_size < full - 100
    with (
        a_full_disk(full),
        pytest.raises(OutputError, match=r"tensorboard: cannot be written \(File too large\).*checkpoint is intact"),
    ):
        monitor.report(progress(20))
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["10", "20"]


@needs_tensorboard
def test_tensorboard_reads_on_after_a_record_that_a_kill_cut_off(tmp_path: Path) -> None:
    first = Monitor(tmp_path)
    first.report(progress(10))
    first.report(progress(20))
    (events,) = (tmp_path / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-7])
    second = Monitor(tmp_path, resumed_at=10)
    second.report(progress(20))
    second.close()
    assert [step for step, _ in scalars(tmp_path, "train/total")] == [10, 20]


def test_one_line_tells_of_a_run() -> None:
    line = describe(progress(25, {"mad": 8.5, "iou": 0.91}, best=25))
    assert line == ("step 25/100 (25 %)  total 0.04  l1 0.02  40 samples/s  ETA 0:01  mad 8.5  iou 0.91  best")
    assert describe(progress(25, {"mad": 8.5}, best=20)).endswith("mad 8.5  (best at 20)")
    assert describe(progress(25, best=20)).endswith("ETA 0:01")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00"), (1.0, "0:01"), (60.0, "0:01"), (3599.0, "1:00"), (3601.0, "1:01"), (360_000.0, "100:00"),
     (math.inf, "-:--"), (math.nan, "-:--")],
)  # fmt: skip
def test_the_rest_is_told_in_hours_and_minutes(seconds: float, text: str) -> None:
    assert f"ETA {text}" in describe(Progress(1, 2, {"total": 1.0}, 1.0, seconds, 1e-3))


def stopped_after(values: list[float], patience: int) -> int | None:
    state = EarlyStopping(patience)
    for step, value in enumerate(values, 1):
        state = state.after(step, value)
        if state.should_stop:
            return step
    return None


@pytest.mark.parametrize(
    ("values", "patience", "step"),
    [
        ([5, 4, 3, 2, 1], 1, None),
        ([5, 4, 4, 4], 2, 4),  # equal is not better
        ([5, 6, 4, 6, 6], 2, 5),  # a new best forgives what was before
        ([5, math.nan, math.nan], 2, 3),
        ([math.nan, math.nan], 2, 2),
        ([math.inf, math.inf], 2, 2),
        ([1, 2, 3, 4, 5, math.nan], 0, None),
    ],
)
def test_early_stopping(values: list[float], patience: int, step: int | None) -> None:
    assert stopped_after(values, patience) == step


def test_early_stopping_remembers_the_best() -> None:
    state = EarlyStopping(3).after(10, 5.0).after(20, 4.0).after(30, 4.5)
    assert state == EarlyStopping(patience=3, best=4.0, best_step=20, bad=1)
    assert EarlyStopping(3).after(10, 5.0) == EarlyStopping(3, 5.0, 10, 0)


def test_a_negative_patience_is_refused() -> None:
    with pytest.raises(InputError, match="patience = -1"):
        EarlyStopping(-1)
