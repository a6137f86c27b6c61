"""The same int8 file in the runtime that apps in the field still ship: tflite-runtime 2.14, in its own environment."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat import calib_data
from edgemat.export import _trunk
from edgemat.export._target import Trunk
from edgemat.export.tflite import TARGET, _runner
from edgemat.quantize import graph
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.reference import Reference
from edgemat.quantize.scheme import Scheme
from edgemat.verify import layers

Images = npt.NDArray[np.uint8]
Outputs = Mapping[str, npt.NDArray[np.int8]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trunk, Images]:
    """Return the trunk of the student that comes with the package, calibrated, and other images than it saw."""
    folder = tmp_path_factory.mktemp("shipped")
    images = calib_data.load().resized(256, 256)
    trunk = _trunk.from_student(None, 256, 256, folder / "trunk.onnx")
    grid = calibrate(onnx.load(trunk.path), images[:8], Scheme(), "minmax")
    return dataclasses.replace(trunk, grid=grid), images[8:14]


@pytest.mark.slow
def test_the_old_runtime_makes_the_reference_s_alpha(
    shipped: tuple[Trunk, Images], tmp_path: Path, old_runtime: Callable[[Path, Images], Outputs]
) -> None:
    trunk, images = shipped
    assert trunk.grid is not None
    path = tmp_path / "student.tflite"
    TARGET.convert(trunk, "int8", path)
    (alpha,) = old_runtime(path, images).values()

    # end to end: it gives no int8 operator to XNNPACK, so it rounds as TFLite's own kernels do
    net = graph.of(onnx.load(trunk.path))
    reference = Reference(net, trunk.grid, "tflite")
    end = trunk.grid.activations[net.outputs[0]]
    expected = np.stack([end.codes(matte) for matte in reference.run(images)])
    agreement = layers.end_to_end(alpha[:, 0, :, :, 0].astype(np.int32) + 128, expected)
    assert agreement.within_one >= 0.99
    assert agreement.identical >= 0.99

    # tensor by tensor, on the same inputs: this is where a misread scale or zero point would show
    shown = _runner.Shown(path.read_bytes(), path)
    copy = tmp_path / "shown.tflite"
    copy.write_bytes(shown.copy)
    values, checks = old_runtime(copy, images[:2]), []
    for i in range(2):
        fed = (images[i : i + 1].astype(np.int16) - 128).astype(np.int8)
        made = {int(index): found[i] for index, found in values.items()}
        checks.append(layers.check(reference, shown.read(lambda index, m=made, f=fed: m.get(index, f)), images[i]))
    checked = layers.merge(checks)
    assert checked, str(checked)
    assert not checked.missing


def test_another_environment_s_error_is_shown(
    tmp_path: Path, run_elsewhere: Callable[[str, Path, Images], Outputs]
) -> None:
    """A Python without the runtime gives the reason, not an empty result."""
    with pytest.raises(AssertionError, match="tflite_runtime"):
        run_elsewhere(sys.executable, tmp_path / "none.tflite", np.zeros((1, 8, 8, 3), np.uint8))
