"""Batch normalisation over two processes: what nn.BatchNorm2d gives on the whole batch, forward, backward and kept."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgemat.train.sync import SyncedBatchNorm2d, synchronize

PROCESSES = 2


def whole_batch(dtype: torch.dtype) -> torch.Tensor:
    """Return an input whose halves differ and whose mean is far from 0, where careless sums lose the variance."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, 4, 3, generator=draw, dtype=torch.float64)
    x[3:] = 3.0 * x[3:] + 2.0
    return (x + torch.tensor([0.0, 1.0, -3.0, 100.0, 1000.0]).view(1, 5, 1, 1)).to(dtype)


def outcome(norm: nn.BatchNorm2d, x: torch.Tensor, share: float) -> dict[str, torch.Tensor]:
    """Return all that three training steps and a prediction leave behind; the loss is not symmetric in the samples."""
    found = {}
    for step in range(3):
        norm.zero_grad()
        leaf = (x * (1.0 + step)).requires_grad_()
        y = norm(leaf)
        (y.to(torch.float64).square() * torch.sigmoid(leaf.detach().to(torch.float64))).sum().mul(share).backward()
        found |= {f"y.{step}": y.detach(), f"x.{step}": leaf.grad}
        found |= {f"weight.{step}": norm.weight.grad.clone(), f"bias.{step}": norm.bias.grad.clone()}
    norm.eval()
    return found | {f"kept.{k}": v.clone() for k, v in norm.state_dict().items()} | {"eval": norm(x).detach()}


def fresh(dtype: torch.dtype) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(5).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 5))
        norm.bias.copy_(torch.linspace(-1.0, 1.0, 5))
    return norm


def process(rank: int, port: int, out: Path) -> None:
    """Be one of the processes."""
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=PROCESSES)
    for name, kind, norms in CASES:
        part = whole_batch(kind).chunk(PROCESSES)[rank]
        net = synchronize(nn.Sequential(fresh(norms)), torch.device("cpu"))
        assert type(net[0]) is SyncedBatchNorm2d
        save_file(outcome(net[0], part, share=PROCESSES), out / f"{name}-{rank}.safetensors")
    torch.distributed.destroy_process_group()


CASES = [
    ("float64", torch.float64, torch.float64),
    ("float32", torch.float32, torch.float32),
    ("bfloat16", torch.bfloat16, torch.float32),
]
"""Name, type of the input and type of the parameters; under autocast these differ."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with what each process found."""
    out = tmp_path_factory.mktemp("sync")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, __file__, str(port), str(out)]
    running = [subprocess.Popen([*words, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(PROCESSES)]
    for one in running:
        _, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
    return out


@pytest.mark.parametrize(
    ("name", "kind", "norms", "tolerance"),
    [(*case, t) for case, t in zip(CASES, (1e-11, 1e-4, 2e-2), strict=True)],
    ids=[case[0] for case in CASES],
)
def test_two_processes_are_one_batch(
    found: Path, name: str, kind: torch.dtype, norms: torch.dtype, tolerance: float
) -> None:
    whole = outcome(fresh(norms), whole_batch(kind), share=1.0)
    parts = [load_file(found / f"{name}-{rank}.safetensors") for rank in range(PROCESSES)]
    for key, right in whole.items():
        if key.startswith(("y.", "x.", "eval")):  # samples; a loss of one process counts twice its share
            scale = PROCESSES if key.startswith("x.") else 1
            mine = torch.cat([p[key] for p in parts]).double() / scale
        elif key.startswith("kept."):
            assert torch.equal(parts[0][key], parts[1][key]), key
            mine = parts[0][key].double()
        else:  # parameters' gradients, which are averaged as those of all layers
            mine = sum(p[key].double() for p in parts) / PROCESSES
        assert mine.shape == right.shape
        error = float((mine - right.double()).norm() / right.double().norm())
        assert error <= tolerance, f"{key}: relative difference {error:.2e}"


def test_each_part_alone_would_be_noticed() -> None:
    """The planted fault: statistics of one part."""
    whole = outcome(fresh(torch.float64), whole_batch(torch.float64), share=1.0)
    parts = [outcome(fresh(torch.float64), part, share=2.0) for part in whole_batch(torch.float64).chunk(PROCESSES)]
    mine = torch.cat([p["x.0"] for p in parts]) / PROCESSES
    assert float((mine - whole["x.0"]).norm() / whole["x.0"].norm()) > 0.1
    assert not torch.allclose(parts[0]["kept.running_var"], whole["kept.running_var"], rtol=1e-2)


def test_names_parameters_and_settings_stay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.2)))
    before, parameters = net.state_dict(), list(net.parameters())
    synchronize(net, torch.device("cpu"))
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(after[k].data_ptr() == before[k].data_ptr() for k in before)
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert (net[1][0].eps, net[1][0].momentum, net[1][0].training) == (1e-3, 0.2, True)


def test_elsewhere_torch_own_layer_is_used() -> None:
    net = synchronize(nn.Sequential(nn.BatchNorm2d(4)), torch.device("cuda"))
    assert type(net[0]) is nn.SyncBatchNorm


if __name__ == "__main__":
    process(int(sys.argv[3]), int(sys.argv[1]), Path(sys.argv[2]))
