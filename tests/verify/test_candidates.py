"""The table of candidates: counted, timed, scored only by the network that its name promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.model.student import Student, StudentConfig
from edgemat.verify.bench import student as bench
from edgemat.verify.candidates import compare

TINY = StudentConfig(widths=(8, 8, 8), depths=(0, 0, 0))
CARD = {"version": "0", "license": "none", "author": "test", "description": "test"}


def test_each_candidate_is_counted_and_timed(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    result = compare({"tiny": TINY}, images, rounds=1, trained=tmp_path)
    (candidate,) = result.candidates
    assert candidate.parameters == sum(p.numel() for p in Student(TINY).parameters())
    assert candidate.mad is None
    (row,) = result.rows()
    assert row[0] == "tiny"
    assert row[-2:] == ["-", "-"]
    assert float(row[3]) == pytest.approx(result.milliseconds("tiny", bench.ORT_FP32), abs=0.01)
    assert result.to_json()["schema_version"] == 1


def test_another_network_under_a_candidates_name_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = StudentConfig(widths=(8, 8, 16), depths=(0, 0, 0))
    weights.save(Student(other), tmp_path / "tiny" / "student.safetensors", CARD)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"student\.safetensors: a student of .*train tiny again"):
        compare({"tiny": TINY}, images, rounds=1, trained=tmp_path)
