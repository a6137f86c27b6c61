"""A run that is killed with ``kill -9`` at twenty random moments ends with the weights of one that was left alone."""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate")

from edgemat.train import checkpoint, loop

SCRIPT = Path(__file__).with_name("killed.py")
STEPS = 120
"""As the script's recipe; checked below."""


def attempt(out: Path, *words: object) -> int:
    """Run until the end or the kill, and return the exit status."""
    command = [sys.executable, str(SCRIPT), str(out), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def killed(out: Path, kills: int, seed: int, *words: object) -> list[int]:
    """Train with that many kills at random moments, then to the end; return the step that each kill left behind.

    After each kill the checkpoint, if there is one yet, loads, and is no older than the one before.
    """
    chance = random.Random(seed)
    left: list[int] = []
    for step in sorted(chance.sample(range(STEPS - 20), kills)):
        assert attempt(out, "--at", step, chance.uniform(0.0, 0.04), *words) == -signal.SIGKILL
        path = out / loop.CHECKPOINT
        left.append(checkpoint.load(path).step if path.exists() else 0)
        assert left == sorted(left)
    assert attempt(out, *words) == 0
    return left


def outcome(out: Path) -> dict[str, bytes]:
    """Return all that a run ends with, by name: the weights' bytes and the bytes of its last state."""
    from safetensors.torch import load_file

    saved = checkpoint.load(out / loop.CHECKPOINT)
    assert saved.step == STEPS
    tensors = {**load_file(out / "student.safetensors"), **{f"checkpoint/{k}": v for k, v in saved.tensors.items()}}
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def validated(out: Path) -> dict[str, tuple[str, ...]]:
    """Return the validation figures of the log by step."""
    with (out / "log.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["validation/mad"]]
    return {row["step"]: (row["validation/mad"], row["validation/iou"], row["best_step"]) for row in rows}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was left alone."""
    out = tmp_path_factory.mktemp("whole")
    assert attempt(out) == 0
    return out


@pytest.mark.slow
def test_twenty_kills_change_nothing(whole: Path, tmp_path: Path) -> None:
    left = killed(tmp_path, 20, seed=0)
    assert len(set(left)) > 10  # the kills are spread over the run
    assert outcome(tmp_path) == outcome(whole)
    assert validated(tmp_path) == validated(whole)
    assert len(validated(whole)) == STEPS // 10


@pytest.mark.slow
def test_a_checkpoint_without_the_optimiser_would_be_noticed(whole: Path, tmp_path: Path) -> None:
    killed(tmp_path, 2, 1, "--forget-optimizer")
    mine, right = outcome(tmp_path), outcome(whole)
    names = [name for name in right if not name.startswith("checkpoint/optimizer.")]
    assert {name: mine[name] for name in names} != {name: right[name] for name in names}
