"""Each planted fault makes the gate fail, and the message points at it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.export._target import Trunk
from edgemat.export.onnx import TARGET, OnnxRunner
from edgemat.verify.compare import compare
from edgemat.verify.diagnose import Diagnosis, diagnose

from .faults import FAULTS, inner_conv, last_resize, overflowing

Images = npt.NDArray[np.uint8]
POINTS_AT = {
    "align_corners": "first differs at {resize} (Resize {resize})",
    "mean_shifted": "the artefact behaves as if its input were shifted and scaled to R * ",
    "channels_swapped": "the artefact behaves as if R and B were swapped: look at its input's colour layout",
    "bias_dropped": "first differs at {conv} (Conv {conv})",
}
ALSO = {
    "align_corners": r"half_pixel is not align_corners",
    "mean_shifted": r"R \* (1|0\.99\d*|1\.00\d*) \+0\.(10|099).*look at its input's mean, bias and scale",
    "channels_swapped": "first differs at",
    "bias_dropped": "constant a channel, as if a bias were missing",
}


def judge(trunk: Trunk, precision: str, path: Path, images: Images) -> tuple[bool, Diagnosis]:
    gate = TARGET.gates[precision]
    with OnnxRunner(trunk.path) as reference, TARGET.load(path) as runner:
        alpha = runner.run(images)
        found = compare(alpha, reference.run(images))
        passed = found.max_abs <= gate.max_abs and found.mean_abs <= gate.mean_abs
        return passed, diagnose(trunk, runner, images, gate)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FAULTS)
def test_planted(name: str, precision: str, trunk: Trunk, images: Images, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    TARGET.convert(trunk, precision, path)
    assert judge(trunk, precision, path, images)[0]
    model = onnx.load(path)
    FAULTS[name](model)
    onnx.save(model, path)
    passed, diagnosis = judge(trunk, precision, path, images)
    assert not passed
    begin = POINTS_AT[name].format(resize=last_resize(model).name, conv=inner_conv(model).name)
    assert str(diagnosis).startswith(begin)
    assert re.search(ALSO[name], str(diagnosis))


def test_overflow(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    large = overflowing(trunk, tmp_path / "large.onnx")
    TARGET.convert(large, "fp16", tmp_path / "a.onnx")
    passed, diagnosis = judge(large, "fp16", tmp_path / "a.onnx", images)
    assert not passed
    assert str(diagnosis).startswith("fp16 overflow at tensor large (Mul scale_up), peak ")
