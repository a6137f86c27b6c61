"""The process that times: warm-up under a clock that the test turns, waits, memory, and what it refuses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.export._target import Trunk
from edgemat.verify.bench import child


class Clock:
    """Seconds that pass only when a call says so."""

    def __init__(self, durations: Iterator[float]) -> None:
        self.now, self.calls, self.durations = 100.0, 0, durations

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += next(self.durations)
        self.calls += 1


def durations(of: Callable[[int], float]) -> Iterator[float]:
    number = 0
    while True:
        yield of(number)
        number += 1


def test_warm_up_ends_when_two_windows_agree() -> None:
    clock = Clock(durations(lambda n: 0.005 if n < 15 else 0.001))
    assert child.warm_up(clock.work, clock) == child.Warmup(calls=40, settled=True)
    assert clock.calls == 40


def test_warm_up_that_never_settles_ends_at_the_cap_and_says_so() -> None:
    clock = Clock(durations(lambda n: 0.001 * 1.01**n))
    assert child.warm_up(clock.work, clock) == child.Warmup(calls=child.CAP_CALLS, settled=False)
    slow = Clock(durations(lambda n: 1.0 + n))
    assert child.warm_up(slow.work, slow) == child.Warmup(calls=child.WINDOW, settled=False)


def test_every_timed_call_is_kept_and_the_untimed_are_not() -> None:
    found = child.timed(lambda: time.sleep(0.002), untimed=2, count=3)
    assert found["wall"].shape == found["waited"].shape == (3,)
    assert (found["wall"] >= 2).all()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_kernel_tells_waits_and_memory() -> None:
    before, peak = child.memory()
    assert 0 < before <= peak
    assert child.waits() is not None
    assert child.own_time() <= time.perf_counter()


def test_where_the_system_does_not_tell_nothing_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(child.os, "listdir", refuse)
    assert child.waits() is None
    assert np.isnan(child.timed(lambda: None, 0, 2)["waited"]).all()


def test_an_artefact_is_opened_and_timed(trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_held", child._Held())
    request = {"do": "open", "runtime": child.ONNX_RUNTIME, "path": str(trunk.path), "threads": 1}
    facts, _ = child.serve(request, {})
    assert facts["load_ms"] > 0
    assert facts["peak_bytes"] >= 0
    again, _ = child.serve({**request, "threads": 2}, {})
    assert "load_ms" not in again, "a second opening is no first load"
    facts, arrays = child.serve({"do": "time", "threads": 1, "untimed": 1, "count": 3}, {})
    assert "late" in facts
    assert (arrays["wall"] > 0).all()


@pytest.mark.parametrize("runtime", [child.ONNX_RUNTIME, child.LITERT])
def test_a_file_that_cannot_run_is_refused_by_name(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_held", child._Held())
    (tmp_path / "broken").write_bytes(b"no model")
    with pytest.raises(InputError, match=f"broken: {runtime} cannot run it"):
        child.serve({"do": "open", "runtime": runtime, "path": str(tmp_path / "broken"), "threads": 1}, {})
