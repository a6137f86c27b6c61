"""A Mac is asked as an app asks it; everywhere else the interpreter answers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgemat.export.coreml import TARGET, _coremltools, _runner
from edgemat.export.coreml._interpreter import Interpreter


def test_interpreter_answers_off_macos(packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert isinstance(TARGET.load(packages["fp16"]), Interpreter)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_core_ml_is_given_pictures_and_gives_alphas(
    precision: str, packages: dict[str, Path], images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Core ML is played here; what is tested is how it is asked and how its answer is read."""

    def predict(features: dict[str, Any]) -> dict[str, Any]:
        picture = features["image"]
        assert (picture.mode, picture.size) == ("RGB", (64, 64))
        red = np.asarray(picture)[..., 0].astype(np.float32) / 255
        return {"alpha": Image.fromarray(red) if precision == "fp16" else red[None, None]}

    played = SimpleNamespace(models=SimpleNamespace(MLModel=lambda path: SimpleNamespace(predict=predict)))
    real = _coremltools.load
    monkeypatch.setattr(
        _coremltools, "load", lambda name="coremltools": played if name == "coremltools" else real(name)
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    with TARGET.load(packages[precision]) as runner:
        assert isinstance(runner, _runner.CoreML)
        found = runner.run(images)
        assert "alpha" in runner.trace(images[0])
    assert found.dtype == np.float32
    assert np.abs(found - images[..., 0] / 255).max() < 1e-6
