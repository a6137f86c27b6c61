"""Interleaved timing under a clock that the test turns: order, summaries, ratios and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from edgemat.errors import InputError
from edgemat.verify.latency import Latency, interleave


class FakeClock:
    """Seconds that pass only when a fake workload says so."""

    def __init__(self) -> None:
        """Start at an arbitrary moment."""
        self.now = 100.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def work(self, name: str, seconds: Callable[[int], float]) -> Callable[[], None]:
        """Make a workload that takes ``seconds(how often it ran before)``."""

        def run() -> None:
            self.now += seconds(self.calls.count(name))
            self.calls.append(name)

        return run


def test_rounds_interleave_rotate_and_leave_the_warmup_out() -> None:
    clock = FakeClock()
    # The warm-up call of each takes 9 s, which must not be seen.
    slow_start = {"a": 0.001, "b": 0.002, "c": 0.004}
    calls = {
        name: clock.work(name, lambda before, s=seconds: s if before else 9.0) for name, seconds in slow_start.items()
    }
    result = interleave(calls, rounds=3, warmup=1, clock=clock)
    assert "".join(clock.calls) == "cab" + "abc" + "bca" + "cab"
    assert result.rounds == 3
    for name, seconds in slow_start.items():
        assert result.milliseconds[name] == pytest.approx([seconds * 1e3] * 3)


def test_the_summary_of_known_times() -> None:
    latency = Latency({"a": (4.0, 1.0, 2.0, 3.0, 100.0), "b": (2.0, 2.0, 2.0, 2.0, 2.0)}, warmup=0)
    timing = latency.timing("a")
    assert (timing.median, timing.q1, timing.q3, timing.minimum, timing.iqr) == (3, 2, 4, 1, 2)
    assert latency.ratio("a", "b").of_medians == 1.5
    assert latency.ratio("b", "a").of_medians == pytest.approx(2 / 3)


def test_paired_ratios_hold_under_drift_that_medians_alone_would_blur() -> None:
    # The machine slows down fourfold in the course of the run; "b" always takes half of "a".
    clock = FakeClock()

    def drift(unit: float) -> Callable[[int], float]:
        return lambda before: unit * (1 + 3 * before / 19)

    result = interleave(
        {"a": clock.work("a", drift(0.010)), "b": clock.work("b", drift(0.005))},
        rounds=20,
        warmup=0,
        clock=clock,
    )
    paired = result.ratio("b", "a").paired
    assert (paired.value, paired.low, paired.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_widens_with_noise_and_holds_the_median() -> None:
    latency = Latency({"a": (1.0,) * 9, "b": (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 9.0)}, warmup=0)
    paired = latency.ratio("b", "a").paired
    assert paired.value == pytest.approx(1.4)
    assert 1 <= paired.low < 1.4 < paired.high < 9


def test_a_slowdown_planted_in_one_callable_shows_in_its_ratio_only() -> None:
    clock = FakeClock()
    calls = {
        "reference": clock.work("reference", lambda _: 0.001),
        "same": clock.work("same", lambda _: 0.001),
        "regressed": clock.work("regressed", lambda _: 0.003),
    }
    same, regressed = interleave(calls, rounds=7, warmup=2, clock=clock).ratios()
    assert (same.name, same.over, same.paired.value) == ("same", "reference", pytest.approx(1))
    assert regressed.paired.low == pytest.approx(3)


def test_rows_keep_the_order_given_and_compare_with_the_first() -> None:
    rows = Latency({"z": (2.0,), "a": (1.0,)}, warmup=0).rows()
    assert [(timing.name, ratio.over, ratio.paired.value) for timing, ratio in rows] == [
        ("z", "z", 1.0),
        ("a", "z", 0.5),
    ]


def test_json_holds_every_time_and_a_schema_version() -> None:
    latency = Latency({"a": (1.0, 2.0), "b": (2.0, 4.0)}, warmup=5)
    value = json.loads(json.dumps(latency.to_json(), allow_nan=False))
    assert (value["schema_version"], value["rounds"], value["warmup"], value["reference"]) == (1, 2, 5, "a")
    assert [timing["times"] for timing in value["timings"]] == [[1, 2], [2, 4]]
    assert value["timings"][1]["median"] == 3
    assert value["ratios"] == [
        {"name": "b", "over": "a", "of_medians": 2.0, "paired": {"value": 2.0, "low": 2.0, "high": 2.0}}
    ]


def test_an_error_in_a_callable_comes_through() -> None:
    def broken() -> None:
        raise RuntimeError("no delegate")

    with pytest.raises(RuntimeError, match="no delegate"):
        interleave({"a": broken}, rounds=1, warmup=0)


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 0), (-1, 0), (1, -1)])
def test_senseless_counts_are_refused(rounds: int, warmup: int) -> None:
    with pytest.raises(InputError, match="rounds"):
        interleave({"a": list}, rounds=rounds, warmup=warmup)


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(InputError, match="0 callables"):
        interleave({}, rounds=1, warmup=0)


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(InputError, match=r"a has times outside.*clock is too coarse"):
        interleave({"a": list}, rounds=2, warmup=0, clock=lambda: 1.0)


def test_inconsistent_results_are_refused() -> None:
    with pytest.raises(InputError, match=r"same number of rounds.*'b': 2"):
        Latency({"a": (1.0,), "b": (1.0, 2.0)}, warmup=0)
    with pytest.raises(InputError, match="no round"):
        Latency({"a": ()}, warmup=0)
    with pytest.raises(InputError, match="nothing was timed"):
        Latency({}, warmup=0)
    with pytest.raises(InputError, match="'c' was not timed; timed were a, b"):
        Latency({"a": (1.0,), "b": (1.0,)}, warmup=0).ratio("a", "c")
