"""What all tests share: the options that let slow tests and those with fetched data run; a small student and trunk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.export._target import Trunk, Trunks

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: more threads only wait for each other

SIZE = 64

_OPTIONS = {
    "slow": "takes minutes; run it with --slow",
    "data": "needs fetched data (edgemat data fetch); run it with --data",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, reason in _OPTIONS.items():
        parser.addoption(f"--{name}", action="store_true", help=f"also run what {reason.split(';')[0]}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for name, reason in _OPTIONS.items():
            if item.get_closest_marker(name) and not config.getoption(f"--{name}"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def images() -> npt.NDArray[np.uint8]:
    """Return four smooth random images, RGB, uint8, (4, 64, 64, 3), with a different mean in each channel."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
    smooth = np.repeat(np.repeat(coarse, SIZE // 8, 1), SIZE // 8, 2)
    noisy = smooth * (0.9, 0.7, 0.5) + rng.normal(0, 8, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, images: npt.NDArray[np.uint8]) -> Path:
    """Return the file of a small student: fixed seed, trained-like batch statistics, alpha partly clamped."""
    import torch

    from edgemat.model import weights as files
    from edgemat.model.student import Student, StudentConfig

    torch.manual_seed(1)
    net = Student(StudentConfig(widths=(8, 8, 16), depths=(1, 1, 1)))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    net.train()
    with torch.no_grad():
        for _ in range(30):  # moves the running statistics to what the images give
            logits = net.logits(pixels)
        net.eval()
        logits = net.logits(pixels)
        spread = 0.06 / logits.std()  # a matte is mostly clamped: float16 must not be judged on grey alone
        net.head.weight.mul_(spread)
        net.head.bias.copy_(0.98 - spread * (logits.mean() - net.head.bias))
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    card = {"version": "0.0", "license": "Apache-2.0", "author": "the tests", "description": "A small student."}
    files.save(net, path, card)
    return path


@pytest.fixture(scope="session")
def trunk(tmp_path_factory: pytest.TempPathFactory, weights: Path, images: npt.NDArray[np.uint8]) -> Trunk:
    """Return the trunk of the small student at 64x64."""
    from edgemat.export import _trunk

    return _trunk.from_student(weights, SIZE, SIZE, tmp_path_factory.mktemp("trunk") / "trunk.onnx", images)


@pytest.fixture(scope="session")
def trunks(tmp_path_factory: pytest.TempPathFactory, trunk: Trunk, images: npt.NDArray[np.uint8]) -> Trunks:
    """Return the small student's trunk in float and, calibrated on the images, on every scheme's grid."""
    import dataclasses
    import shutil

    import onnx

    from edgemat.quantize.calibrate import calibrate
    from edgemat.quantize.scheme import SCHEMES

    folder, on_grid = tmp_path_factory.mktemp("trunks"), {}
    for scheme in SCHEMES:
        path = folder / f"{scheme.name}.onnx"
        shutil.copyfile(trunk.path, path)
        grid = calibrate(onnx.load(path), images, scheme, "minmax")
        on_grid[scheme.name] = dataclasses.replace(trunk, path=path, grid=grid)
    return Trunks(trunk, on_grid)


@pytest.fixture(scope="session")
def int_trunk(trunks: Trunks) -> Trunk:
    """Return the small student's trunk with a grid of 8 bits, asymmetric."""
    return trunks.on_grid["static_w8c_a8"]
