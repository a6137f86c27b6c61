"""Ratios under planted noise: what is concluded, what is refused, and what a gate makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.verify.bench import ratio
from edgemat.verify.bench.ratio import Gate, compare, judge
from edgemat.verify.bench.sampling import Sample, Subject

QUIET = np.random.default_rng(0).normal(10, 0.05, (3, 20))


def compared(top: np.ndarray, bottom: np.ndarray = QUIET) -> ratio.Ratio:
    return compare("int8", "fp32", "1 thread", top, bottom)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(0.3, "faster"), (0.95, "faster"), (0.99, "same"), (1.0, "same"), (1.01, "same"), (3.0, "slower")],
)
def test_a_planted_speed_is_found_and_a_difference_within_the_margin_is_none(factor: float, verdict: str) -> None:
    found = compared(QUIET * factor)
    assert found.value == pytest.approx(factor)
    assert (found.verdict, found.reason, found.used) == (verdict, "", 60)


def test_the_same_artefact_twice_is_never_faster() -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed)
        first, second = (noise.normal(10, 0.3, (3, 20)) for _ in range(2))
        assert compared(first, second).verdict in ("same", "inconclusive")


def test_noise_that_drowns_the_difference_is_refused() -> None:
    noise = np.random.default_rng(1).lognormal(0, 0.5, (3, 20))
    found = compared(QUIET * 0.95 * noise)
    assert found.verdict == "inconclusive"
    assert "noise drowns it" in found.reason


def test_starts_that_disagree_are_refused_however_quiet_each_is() -> None:
    top = QUIET * 0.5
    top[2] *= 1.12  # one process got its memory elsewhere
    found = compared(top)
    assert found.verdict == "inconclusive"
    assert found.low == pytest.approx(0.5, rel=0.01)
    assert found.high == pytest.approx(0.56, rel=0.01)


def test_drift_that_both_share_changes_nothing() -> None:
    drift = np.linspace(1, 4, 60).reshape(3, 20)
    assert compared(QUIET * drift * 0.5, QUIET * drift).verdict == "faster"


def test_a_start_without_enough_undisturbed_rounds_is_refused() -> None:
    top = QUIET * 0.5
    top[1, 3:] = np.nan
    found = compared(top)
    assert (found.verdict, found.used) == ("inconclusive", 43)
    assert found.reason == "only 43 of 60 rounds ran undisturbed: the machine was busy"
    nothing = compared(np.full((3, 20), np.nan))
    assert (nothing.verdict, nothing.value, nothing.used) == ("inconclusive", None, 0)


@pytest.mark.parametrize(
    ("factor", "noise", "state"),
    [
        (0.5, 0.0, "passed"),
        (0.7, 0.0, "failed"),
        (0.5999, 0.01, "inconclusive"),
        (0.2, 0.3, "passed"),
        (2.0, 0.3, "failed"),
    ],
)
def test_a_gate_needs_the_whole_interval_on_one_side(factor: float, noise: float, state: str) -> None:
    top = QUIET * factor * np.random.default_rng(2).lognormal(0, noise, (3, 20))
    (found,) = judge([Gate("int8", "fp32", 0.6)], [compared(top)])
    assert found.state == state
    assert str(found).startswith(f"int8/fp32<=0.6 (1 thread): {state}, found ")


def test_a_gate_decides_nothing_on_a_busy_machine() -> None:
    top = QUIET * 0.2
    top[:, 3:] = np.nan
    assert Gate("int8", "fp32", 0.6).judge(compared(top)) == "inconclusive"
    assert Gate("int8", "fp32", 0.6).judge(compared(np.full((3, 20), np.nan))) == "inconclusive"


@pytest.mark.parametrize("text", ["", "a<=0.6", "a/b", "a/b<0.6", "a/b<=", "a/b<=0", "a/b<=-1", "a/b/c<=1", "a/b<=nan"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME/NAME<=RATIO"):
        Gate.parse(text)


def test_a_gate_on_what_was_not_timed_is_refused() -> None:
    with pytest.raises(InputError, match=r"int4/fp32<=1: not timed together; timed were: fp32, int8"):
        judge([Gate("int4", "fp32", 1.0)], [compared(QUIET)])


def test_json_gives_the_ratio_back_and_a_false_one_is_refused() -> None:
    found = compared(QUIET * 0.5)
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert ratio.Ratio.from_json(value) == found
    with pytest.raises(InputError, match="outside its"):
        ratio.Ratio.from_json({**value, "low": 0.9})
    with pytest.raises(InputError, match="neither a value nor a reason"):
        ratio.Ratio.from_json({**value, "value": None})


def test_samples_of_different_rounds_are_not_compared() -> None:
    def sample(rounds: int, threads: int = 1) -> Sample:
        wall = np.ones((2, rounds, 3))
        return Sample(Subject("a", "LiteRT", None), threads, wall, wall * 0, wall[:, :, 0] * 0, (True, True))

    assert ratio.of_samples(sample(8), sample(8)).value == 1
    for other in (sample(9), sample(8, threads=2)):
        with pytest.raises(InputError, match="not timed in the same rounds"):
            ratio.of_samples(sample(8), other)
