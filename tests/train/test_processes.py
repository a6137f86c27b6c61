"""Two processes under ``accelerate launch`` train as one does, end together, and one of them speaks for both."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate")

import torch
from safetensors.torch import load_file

from edgemat.data.types import Example
from edgemat.images import write_png
from edgemat.train import checkpoint, loop

SCRIPT = Path(__file__).with_name("processes.py")
STEPS = 50
"""As the script's recipe; checked below."""

ONE = [sys.executable]
TWO = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]


def launch(launcher: list[str], *words: object) -> subprocess.CompletedProcess[str]:
    """Run to the end and return what was said."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if launcher is TWO:
        with socket.socket() as free:  # --main_process_port 0 is not understood by older versions
            free.bind(("127.0.0.1", 0))
            launcher = [*launcher, "--main_process_port", str(free.getsockname()[1])]
    command = [*launcher, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=environment)


def train(launcher: list[str], out: Path, *words: object) -> dict[str, torch.Tensor]:
    """Train without an accident, and return what the first process kept."""
    done = launch(launcher, SCRIPT, out, *words)
    assert done.returncode == 0, done.stderr
    return load_file(out / "kept-0.safetensors")


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], prefix: str) -> float:
    """Return the relative difference of all tensors of a prefix together."""
    names = [name for name in one if name.startswith(prefix)]
    assert names
    apart = sum(float((one[n].double() - other[n].double()).square().sum()) for n in names)
    return float(np.sqrt(apart / sum(float(one[n].double().square().sum()) for n in names)))


def curve(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest relative difference of two loss curves."""
    assert len(one["losses"]) == len(other["losses"]) == STEPS
    return float(((one["losses"] - other["losses"]) / one["losses"]).abs().max())


def validated(out: Path) -> list[list[float]]:
    """Return step, MAD and IoU of the log's validations."""
    header, *rows = [line.split(",") for line in (out / "log.csv").read_text(encoding="utf-8").splitlines()]
    columns = [header.index(name) for name in ("step", "validation/mad", "validation/iou")]
    return [[float(row[c]) for c in columns] for row in rows if row[columns[1]]]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of one process."""
    out = tmp_path_factory.mktemp("one")
    train(ONE, out)
    return out


@pytest.mark.slow
def test_two_processes_train_as_one(one: Path, tmp_path: Path) -> None:
    whole, shared = load_file(one / "kept-0.safetensors"), train(TWO, tmp_path)
    found = {"loss curve": curve(whole, shared)}
    found |= {prefix: difference(whole, shared, prefix) for prefix in ("gradient.1.", "gradient.50.", "net.", "ema.")}
    print({name: f"{value:.1e}" for name, value in found.items()})
    assert max(found.values()) <= 1e-5
    assert len(validated(one)) == 2
    assert np.allclose(validated(one), validated(tmp_path), rtol=1e-5)
    second = load_file(tmp_path / "kept-1.safetensors")
    assert all(torch.equal(shared[name], second[name]) for name in shared)


@pytest.mark.slow
def test_without_synchronised_normalisation_they_would_not(one: Path, tmp_path: Path) -> None:
    shared = train(TWO, tmp_path, "--fault", "unsynchronised")
    apart = curve(load_file(one / "kept-0.safetensors"), shared)
    print(f"loss curve {apart:.1e}")
    assert apart > 1e-3


@pytest.mark.slow
def test_a_signal_to_one_ends_both_and_either_number_goes_on(one: Path, tmp_path: Path) -> None:
    done = launch(TWO, SCRIPT, tmp_path, "--fault", "sigterm", "--at", 12)
    assert done.returncode == 0, done.stderr  # the script takes an early end for a success
    stopped = checkpoint.load(tmp_path / loop.CHECKPOINT).step
    said = re.findall(r"process \d: \w+ at \d+", done.stdout)  # the two may share a line
    assert sorted(said) == [f"process {i}: stopped at {stopped}" for i in (0, 1)]
    assert 12 <= stopped <= 14
    train(ONE, tmp_path, "--stop", 30)  # one goes on, and stops
    assert checkpoint.load(tmp_path / loop.CHECKPOINT).step == 30
    shared = train(TWO, tmp_path)
    assert difference(load_file(one / "kept-0.safetensors"), shared, "net.") <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "said"), [("nan", "the loss is nan"), ("broken", "a planted fault of the second")])
def test_a_failure_ends_both(tmp_path: Path, fault: str, said: str) -> None:
    done = launch(TWO, SCRIPT, tmp_path, "--fault", fault, "--at", 12)
    assert done.returncode != 0
    assert said in done.stderr
    assert checkpoint.load(tmp_path / loop.CHECKPOINT).step == 10  # the last one is intact


@pytest.mark.slow
def test_the_command_line_trains_on_a_set_of_ones_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(8):
        alpha = np.zeros((32, 32), np.uint8)
        alpha[index : index + 16, 8:24] = 255
        example = Example(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8), alpha.astype(np.float32) / 255)
        write_png(tmp_path / "set" / "image" / f"{index}.png", example.image)
        write_png(tmp_path / "set" / "alpha" / f"{index}.png", alpha)
    (tmp_path / "recipe.toml").write_text(
        "size = 32\nsteps = 4\nbatch = 4\nworkers = 0\nvalidate_every = 2\n"
        "[student]\nwidths = [8, 8, 8]\ndepths = [1, 1, 1]\n"
    )
    words = ["--recipe", tmp_path / "recipe.toml", "--data", tmp_path / "set", "--validation", tmp_path / "set"]
    done = launch(TWO, "-m", "edgemat.cli", "train", "student", *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("student.safetensors; next:") == 1
    assert done.stderr.count("step 4/4") == 1
    assert (tmp_path / "out" / "student.safetensors").is_file()
