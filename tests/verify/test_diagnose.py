"""What the diagnosis says where a backend shows little: alpha alone, some tensors, wrong shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.export._target import Gate, Runner, Trunk
from edgemat.export.onnx import OnnxRunner, to_floats
from edgemat.verify.diagnose import Diagnosis, diagnose

from ..export.faults import inner_conv, last_resize, overflowing

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Tensors = dict[str, Floats]
GATE = Gate(max_abs=1e-5, mean_abs=1e-6)


class Altered(Runner):
    """The reference with its input, its output or its traced tensors changed."""

    def __init__(
        self,
        path: Path,
        change: Callable[[Floats], Floats] = lambda x: x,
        output: Callable[[Floats], Floats] = lambda x: x,
        tensors: Callable[[Tensors], Tensors] = lambda _: {},
    ) -> None:
        self.reference = OnnxRunner(path)
        self.change, self.output, self.tensors = change, output, tensors

    def run(self, images: Images) -> Floats:
        inputs = [np.ascontiguousarray(self.change(x), np.float32) for x in to_floats(images)]
        return self.output(np.stack([self.reference.run_float(x) for x in inputs]))

    def trace(self, image: Images) -> Tensors:
        return self.tensors(dict(self.reference.trace(image)))


def said(trunk: Trunk, images: Images, **change: Callable[..., object]) -> Diagnosis:
    return diagnose(trunk, Altered(trunk.path, **change), images, GATE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:, ::-1], "R and B were swapped"),
        (lambda x: x / 255, "divided by 255 twice"),
        (lambda x: x * 2 - 1, r"scaled to [-1, 1]"),
        (lambda x: x.transpose(0, 2, 3, 1).reshape(x.shape), "interleaved pixels (NHWC)"),
        (lambda x: x.transpose(0, 1, 3, 2), "rows and columns were swapped"),
        (lambda x: x[..., ::-1], "mirrored"),
        (lambda x: x[:, :, ::-1], "upside down"),
        (lambda x: x + 0.05, "R * 1 +0.050, G * 1 +0.050, B * 1 +0.050"),
        (lambda x: x * np.array([0.9, 1.0, 1.1], np.float32).reshape(1, 3, 1, 1), "R * 0.9 "),
    ],
)
def test_input_mistakes_from_alpha_alone(
    change: Callable[[Floats], Floats], words: str, trunk: Trunk, images: Images
) -> None:
    diagnosis = said(trunk, images, change=change)
    assert words in diagnosis.findings[0]
    assert "shows no inner tensors" in diagnosis.findings[-1]


def test_nothing_is_invented(trunk: Trunk, images: Images) -> None:
    diagnosis = said(trunk, images, output=lambda a: np.clip(a + np.float32(0.01), 0, 1))
    assert diagnosis.findings == ("this backend shows no inner tensors",)
    assert diagnosis.tensor is None


def test_dead_output(trunk: Trunk, images: Images) -> None:
    assert "alpha is 0.5 everywhere" in str(said(trunk, images, output=lambda a: np.full_like(a, 0.5)))


def test_overflow_without_a_trace(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    large = overflowing(trunk, tmp_path / "large.onnx")
    diagnosis = said(large, images, output=lambda a: np.full_like(a, np.nan))
    assert "12288 values of alpha are NaN or infinite; large peaks at" in str(diagnosis)


def test_the_nodes_behind_a_fused_tensor(trunk: Trunk, images: Images) -> None:
    resize = last_resize(onnx.load(trunk.path)).name
    conv = inner_conv(onnx.load(trunk.path)).name

    def fused(tensors: Tensors) -> Tensors:
        del tensors[conv]
        tensors[resize] = tensors[resize] * np.float32(1.5)
        return tensors

    diagnosis = said(trunk, images, tensors=fused, output=lambda a: a * np.float32(0.9))
    assert f"first differs at {resize} (Conv {conv} then Resize {resize})" in str(diagnosis)
    assert diagnosis.tensor == resize


def test_shape_and_border(trunk: Trunk, images: Images) -> None:
    resize = last_resize(onnx.load(trunk.path)).name

    def cut(tensors: Tensors) -> Tensors:
        tensors[resize] = tensors[resize][:, :, ::2]
        return tensors

    def border(tensors: Tensors) -> Tensors:
        tensors[resize] = tensors[resize].copy()
        tensors[resize][:, :, 0] = 0
        return tensors

    dimmed = {"output": lambda a: a * np.float32(0.9)}
    assert "its shape is" in str(said(trunk, images, tensors=cut, **dimmed))
    assert "only the outermost pixels differ" in str(said(trunk, images, tensors=border, **dimmed))


def test_gradual_loss_names_no_tensor(trunk: Trunk, images: Images) -> None:
    def noisy(tensors: Tensors) -> Tensors:
        rng = np.random.default_rng(0)
        return {n: t + rng.normal(0, 1e-7, t.shape).astype(np.float32) for n, t in tensors.items()}

    diagnosis = said(trunk, images, tensors=noisy, output=lambda a: a * np.float32(0.9))
    assert diagnosis.tensor is None
    assert "no tensor stands out" in str(diagnosis)
