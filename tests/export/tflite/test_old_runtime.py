"""The same int8 file in the runtime that apps in the field still ship: tflite-runtime 2.14, in its own environment."""

from __future__ import annotations

import os
import subprocess
import sys
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

VARIABLE = "EDGEMAT_TFLITE_RUNTIME_PYTHON"
CHILD = Path(__file__).with_name("tflite_runtime_child.py")
Images = npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.int8]]


def run(python: str, file: Path, images: Images) -> Outputs:
    """Return what a file's outputs are for each image, by the tensor's index, as another environment computes them."""
    codes, out = file.with_suffix(".npy"), file.with_suffix(".npz")
    np.save(codes, (images[:, None].astype(np.int16) - 128).astype(np.int8))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [python, str(CHILD), str(file), str(codes), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        return dict(found)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trunk, Images]:
    """Return the trunk of the student that comes with the package, calibrated, and other images than it saw."""
    import dataclasses

    folder = tmp_path_factory.mktemp("shipped")
    images = calib_data.load().resized(256, 256)
    trunk = _trunk.from_student(None, 256, 256, folder / "trunk.onnx")
    grid = calibrate(onnx.load(trunk.path), images[:8], Scheme(), "minmax")
    return dataclasses.replace(trunk, grid=grid), images[8:14]


@pytest.mark.slow
def test_the_old_runtime_makes_the_reference_s_alpha(shipped: tuple[Trunk, Images], tmp_path: Path) -> None:
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} names no interpreter with tflite-runtime 2.14; edgemat doctor says how to make one")
    trunk, images = shipped
    assert trunk.grid is not None
    path = tmp_path / "student.tflite"
    TARGET.convert(trunk, "int8", path)
    found = run(python, path, images)
    assert found.pop("versions")[0] == "2.14.0"
    (alpha,) = found.values()

    # end to end: it rounds as TFLite's own kernels do, for it gives no int8 operator to XNNPACK
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
    values = run(python, copy, images[:2])
    sources = images[:2, None].astype(np.int16) - 128
    checks = [
        layers.check(reference, shown.read(lambda index, i=i: values.get(str(index), sources)[i]), images[i])
        for i in range(2)
    ]
    checked = layers.merge(checks)
    assert checked, str(checked)
    assert not checked.missing


def test_the_child_says_what_is_wrong(tmp_path: Path) -> None:
    """Without the runtime the test fails with the reason, not with an empty result."""
    with pytest.raises(AssertionError, match="tflite_runtime"):
        run(sys.executable, tmp_path / "none.tflite", np.zeros((1, 8, 8, 3), np.uint8))
