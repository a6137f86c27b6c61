"""The training loop: it learns, it resumes bit for bit, and it refuses what it cannot use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgemat.data.types import Example, Sample
from edgemat.errors import EdgematError, InputError
from edgemat.model.student import StudentConfig
from edgemat.train import checkpoint, loop, losses
from edgemat.train.monitor import Progress
from edgemat.train.recipe import StudentRecipe
from edgemat.train.stages import StudentStage

TINY = StudentConfig(widths=(8, 8, 8), depths=(1, 1, 1))
CARD = {"version": "0", "license": "none", "author": "test", "description": "test", "command": "test"}


def square(index: int) -> Example:
    """A bright square on a dark ground: alpha is the square."""
    rng = np.random.default_rng(index)
    alpha = np.zeros((32, 32), np.float32)
    y, x = rng.integers(0, 16, 2)
    alpha[y : y + 16, x : x + 16] = 1.0
    image = np.where(alpha[..., None] > 0, 200, 30) + rng.integers(0, 20, (32, 32, 3))
    return Example(image=image.astype(np.uint8), alpha=alpha)


VALIDATION = [
    Sample(image=e.image, alpha=e.alpha, base_alpha=e.alpha, hull=e.alpha, face_id="square")
    for e in (square(-i % 2**32) for i in range(1, 5))
]


def recipe(**changes: object) -> StudentRecipe:
    values = {
        "student": TINY,
        "size": 32,
        "steps": 6,
        "batch": 2,
        "warmup": 2,
        "checkpoint_every": 2,
        "workers": 0,
    }
    return StudentRecipe(**{**values, "validate_every": 3, **changes})  # type: ignore[arg-type]


def train(out: Path, of: StudentRecipe, sample=square, init=None, on_progress=lambda _: None) -> bool:
    return loop.train(StudentStage(of), sample, VALIDATION, out, card=CARD, init=init, on_progress=on_progress)


def test_it_learns_a_square(tmp_path: Path) -> None:
    seen: list[Progress] = []
    assert train(
        tmp_path, recipe(steps=120, batch=8, validate_every=60, learning_rate=1e-2, ema=0.9), on_progress=seen.append
    )
    mads = [p.validation["mad"] for p in seen if p.validation]
    assert mads[-1] < 100 < 1000 * np.mean([s.alpha.mean() for s in VALIDATION])
    assert (tmp_path / "student.safetensors").exists()
    assert (tmp_path / "log.csv").read_text().count("\n") == 1 + len(seen)


class StopAtError(Exception):
    """Stands for a kill: nothing of the loop's own clean-up runs for it."""


@pytest.mark.parametrize("at", [3, 4, 5])
def test_a_resumed_run_is_bit_identical(tmp_path: Path, at: int) -> None:
    assert train(tmp_path / "whole", recipe())

    def killed(index: int) -> Example:
        if index >= at * 2:
            raise StopAtError
        return square(index)

    with pytest.raises(StopAtError):
        train(tmp_path / "parts", recipe(), sample=killed)
    assert train(tmp_path / "parts", recipe())
    whole, parts = (load_file(tmp_path / d / "student.safetensors") for d in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_sigint_saves_and_stops(tmp_path: Path) -> None:
    def interrupt(index: int) -> Example:
        if index == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return square(index)

    assert not train(tmp_path, recipe(checkpoint_every=1000), sample=interrupt)
    assert 3 <= checkpoint.load(tmp_path / loop.CHECKPOINT).step < 6
    assert not (tmp_path / "student.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_saves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal and a job scheduler signal every process of the group, the workers too."""
    script = f"""
import sys, pathlib
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_loop as t
out = pathlib.Path({str(tmp_path)!r})
t.loop.REPORT_SECONDS = 0.1
done = t.train(out, t.recipe(workers=1, steps=100000, checkpoint_every=100000, validate_every=100000),
               on_progress=lambda p: print(p.step, flush=True))
print("complete" if done else "stopped", flush=True)
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert run.stdout is not None
    assert int(run.stdout.readline()) > 0  # the first report: the loop is under way
    os.killpg(run.pid, number)
    assert run.communicate(timeout=60)[0].split()[-1] == "stopped"
    assert run.returncode == 0
    assert checkpoint.load(tmp_path / loop.CHECKPOINT).step > 0


def test_a_run_begins_with_given_weights(tmp_path: Path) -> None:
    train(tmp_path / "first", recipe())
    first = tmp_path / "first" / "student.safetensors"
    still = recipe(steps=1, learning_rate=1e-12, warmup=0, weight_decay=0, ema=0.0)
    train(tmp_path / "second", still, init=first)
    before, after = load_file(first), load_file(tmp_path / "second" / "student.safetensors")
    kernels = [k for k in before if before[k].ndim == 4]
    assert kernels
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in kernels)


def test_a_share_of_the_first_weights_is_kept(tmp_path: Path) -> None:
    train(tmp_path / "first", recipe())
    first = tmp_path / "first" / "student.safetensors"
    second = recipe(seed=1, learning_rate=1e-2)
    train(tmp_path / "second", second, init=first)
    trained = load_file(tmp_path / "second" / "student.safetensors")
    # The same run, complete in its checkpoint, ended anew with another share.
    train(tmp_path / "second", recipe(seed=1, learning_rate=1e-2, keep_init=0.25), init=first)
    kept, begun = load_file(tmp_path / "second" / "student.safetensors"), load_file(first)
    name = "head.weight"
    assert not torch.allclose(trained[name], begun[name], atol=1e-4)
    assert torch.allclose(kept[name], 0.75 * trained[name] + 0.25 * begun[name], atol=1e-6)


def test_keeping_a_share_needs_weights_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"keep_init = 0\.25 .*give --init"):
        train(tmp_path, recipe(keep_init=0.25))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    train(tmp_path / "first", recipe())
    other = recipe(student=StudentConfig(widths=(8, 8, 16), depths=(1, 1, 1)))
    with pytest.raises(InputError, match=r"--init .*student\.safetensors: a student of"):
        train(tmp_path / "second", other, init=tmp_path / "first" / "student.safetensors")


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    train(tmp_path, recipe())
    with pytest.raises(InputError, match=r"learning_rate was 0\.002, now 0\.001"):
        train(tmp_path, recipe(learning_rate=1e-3))


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    train(tmp_path, recipe())
    path = tmp_path / loop.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        train(tmp_path, recipe())


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def broken(index: int) -> Example:
        sample = square(index)
        if index >= 4:
            sample.alpha[:] = 0
        return sample

    def explode(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return logits.sum() * float("nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "plain", explode)
        with pytest.raises(EdgematError, match="the loss is nan"):
            train(tmp_path, recipe(), sample=broken)
