"""Peaks of this machine: measured for real, of a plausible size, and scaled."""

from __future__ import annotations

import pytest

from edgemat.verify.bench import peaks
from edgemat.verify.bench.peaks import Peaks


def test_this_machine_has_peaks() -> None:
    found = peaks.measure(1 << 18)
    assert found.threads == 1
    assert 1e8 < found.float_macs < 1e13
    assert 1e8 < found.int8_macs < 1e14
    assert 1e8 < found.bandwidth < 1e13


def test_a_slow_session_has_a_low_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([2e-3, 1e-3, 4e-3])
    monkeypatch.setattr(peaks, "_seconds", lambda model: next(seconds))
    found, _ = peaks.child({"tensor_bytes": 1 << 20}, {})
    assert found["int8_macs"] == pytest.approx(2 * found["float_macs"])
    assert found["bandwidth"] == pytest.approx(16 * (1 << 20) / 4e-3)


def test_json_gives_the_peaks_back_and_threads_share_nothing() -> None:
    found = Peaks(1, 50e9, 200e9, 80e9)
    assert Peaks.from_json(found.to_json()) == found
    assert found.times(3) == Peaks(3, 150e9, 600e9, 240e9)
    assert found.int8_gain == 4
