"""Sampling with processes that the test plays: order, planted slowness, planted waits, and a crash in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.export._isolated import IsolatedError
from edgemat.export._target import Trunk
from edgemat.verify.bench import ratio
from edgemat.verify.bench.child import LITERT, ONNX_RUNTIME
from edgemat.verify.bench.sampling import Sample, Settings, Subject, sample

SUBJECTS = [Subject(name, LITERT, Path(name)) for name in ("a", "b", "c")]
Wait = Callable[[int], tuple[float, float]]


class Played:
    """A process that takes planted times: ``wall`` milliseconds a call, and what ``wait`` says of a turn."""

    log: list[str]

    def __init__(self, name: str, log: list[str], wall: float, wait: Wait, dies_at: int = 10**9) -> None:
        self.name, self.log, self.wall, self.wait, self.dies_at = name, log, wall, wait, dies_at
        self.turns, self.late = 0, 0.0

    def ask(self, verb: str, arguments: Mapping[str, object], arrays: object) -> tuple[dict[str, Any], dict[str, Any]]:
        if arguments["do"] == "open":
            return {"load_ms": 5.0, "peak_bytes": 1000, "warmup_calls": 20, "settled": True}, {}
        count = int(arguments["count"])  # type: ignore[call-overload]
        late, waited = self.late, 0.0
        if count:
            self.log.append(self.name)
            waited, self.late = self.wait(self.turns)
            self.turns += 1
            if self.turns > self.dies_at:
                raise IsolatedError(f"{self.name}: crashed with SIGSEGV")
        return {"late": late}, {"wall": np.full(count, self.wall + waited), "waited": np.full(count, waited)}

    def close(self) -> None:
        self.log.append(f"close {self.name}")


def play(
    times: Mapping[str, float],
    wait: Wait = lambda _: (0.0, 0.0),
    threads: int = 1,
    dies: Mapping[str, int] | None = None,
) -> tuple[tuple[Sample, ...], dict[str, str], list[str]]:
    log: list[str] = []

    def starter(subject: Subject) -> Played:
        return Played(subject.name, log, times[subject.name], wait, (dies or {}).get(subject.name, 10**9))

    settings = Settings(rounds=12, starts=3, calls=2, threads=(threads,))
    found, failed = sample([s for s in SUBJECTS if s.name in times], settings, starter=starter)
    return found, failed, log


def test_turns_rotate_and_each_start_has_fresh_processes() -> None:
    found, failed, log = play({"a": 1.0, "b": 2.0, "c": 4.0})
    assert not failed
    assert log[:12] == list("abcbcacababc")
    assert log.count("close a") == 3
    assert [s.wall.shape for s in found] == [(3, 4, 2)] * 3
    assert found[0].load_ms == (5.0,) * 3


def test_a_slowness_planted_in_one_shows_in_its_ratio_only() -> None:
    a, b, c = play({"a": 2.0, "b": 2.0, "c": 6.0})[0]
    assert ratio.of_samples(b, a).verdict == "same"
    assert ratio.of_samples(c, a).value == pytest.approx(3)


def test_on_one_thread_waits_for_a_core_are_told_from_work() -> None:
    a, b, _ = play({"a": 4.0, "b": 1.0, "c": 1.0}, wait=lambda turn: (9.0 if turn % 2 else 0.0, 0.0))[0]
    assert np.median(a.wall) > 8
    assert a.free.mean() == 0.5, "disturbed calls are counted"
    assert np.allclose(a.usable, 4)
    assert ratio.of_samples(b, a).value == pytest.approx(0.25)


@pytest.mark.parametrize("planted", [(3.0, 0.0), (0.0, 3.0)], ids=["seen in the call", "booked after it"])
def test_on_several_threads_only_undisturbed_rounds_count(planted: tuple[float, float]) -> None:
    times = {"a": 4.0, "b": 1.0, "c": 1.0}
    a, _b, _c = play(times, wait=lambda turn: planted if turn == 2 else (0.0, 0.0), threads=2)[0]
    assert np.isnan(a.usable[:, 2]).all()
    assert np.isfinite(a.usable[:, (0, 1, 3)]).all()


def test_on_several_threads_a_busy_machine_gives_no_ratio() -> None:
    a, b, _ = play({"a": 4.0, "b": 1.0, "c": 1.0}, wait=lambda _: (3.0, 0.0), threads=2)[0]
    assert ratio.of_samples(b, a).verdict == "inconclusive"


def test_a_crash_in_the_middle_leaves_one_out_and_the_others_finish() -> None:
    found, failed, _ = play({"a": 1.0, "b": 2.0, "c": 4.0}, dies={"b": 2})
    assert failed == {"b": "b: crashed with SIGSEGV"}
    assert [s.subject.name for s in found] == ["a", "c"]
    assert found[0].wall.shape == (3, 4, 2)


def test_where_the_system_tells_no_waits_all_calls_count() -> None:
    wall = np.array([[[2.0, 4.0]]])
    nan = np.full_like(wall, np.nan)
    found = Sample(SUBJECTS[0], 2, wall, nan, nan[:, :, 0], (True,))
    assert found.free.all()
    assert np.array_equal(found.usable, wall)


@pytest.mark.parametrize(
    "settings", [{"starts": 1}, {"rounds": 2}, {"calls": 0}, {"threads": ()}, {"threads": (0,)}, {"threads": (1, 1)}]
)
def test_senseless_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="bench: "):
        Settings(**settings)


def test_times_that_cannot_be_are_refused() -> None:
    wall = np.ones((2, 3, 1))
    for wrong in (wall * 0, wall * np.nan):
        with pytest.raises(InputError, match="the clock is too coarse"):
            Sample(SUBJECTS[0], 1, wrong, wall, wall[:, :, 0], (True, True))
    with pytest.raises(InputError, match="times of shape"):
        Sample(SUBJECTS[0], 1, wall, wall[:1], wall[:, :, 0], (True, True))


def test_real_processes_time_a_real_graph_and_survive_a_broken_one(trunk: Trunk, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    subjects = [Subject("good", ONNX_RUNTIME, trunk.path), Subject("bad", ONNX_RUNTIME, tmp_path / "broken.onnx")]
    found, failed = sample(subjects, Settings(rounds=4, starts=2, calls=1))
    assert list(failed) == ["bad"]
    assert "broken.onnx: ONNX Runtime cannot run it" in failed["bad"]
    assert found[0].wall.shape == (2, 2, 1)
    assert all(peak > 0 for peak in found[0].peak_bytes)
