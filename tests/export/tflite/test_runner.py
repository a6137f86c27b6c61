"""The runner reads everything from the file, and a damaged file is an error, never a crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.errors import InputError
from edgemat.export._target import Trunk
from edgemat.export.onnx import OnnxRunner
from edgemat.export.tflite import TARGET, _flatbuffer, _reading, _runner

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def artefact(trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "student.tflite"
    TARGET.convert(trunk, "fp32", path)
    return path


def test_trace_shows_the_trunk_s_tensors(artefact: Path, trunk: Trunk, images: Images) -> None:
    with OnnxRunner(trunk.path) as reference, TARGET.load(artefact) as runner:
        expected, found = reference.trace(images[0]), runner.trace(images[0])
        alpha = runner.run(images[:1])
    assert len(found) > 0.6 * len(expected)  # fused activations and shuffled channels are not shown
    for name, value in found.items():
        assert value.dtype == np.float32
        assert value.shape == expected[name].shape
        assert np.abs(value - expected[name]).max() <= 1e-5 * np.abs(expected[name]).max(), name
    assert np.abs(found["alpha"][:, 0] - alpha).max() <= 1e-6


def test_loading_is_silent(artefact: Path, images: Images, capfd: pytest.CaptureFixture[str]) -> None:
    with TARGET.load(artefact) as runner:
        runner.trace(images[0])
    os.write(2, b"heard again")
    assert capfd.readouterr() == ("", "heard again")


def test_threads_change_nothing(artefact: Path, images: Images) -> None:
    with _runner.LiteRTRunner(artefact, num_threads=2) as two, TARGET.load(artefact) as one:
        assert np.array_equal(two.run(images), one.run(images))


def test_the_declared_normalisation_is_obeyed(artefact: Path, tmp_path: Path, images: Images) -> None:
    """A file that declares another normalisation is fed by it: the difference is then what an app would see."""
    model = _reading.read_model(artefact.read_bytes())
    entry = next(e for e in model.metadata if e.name == b"TFLITE_METADATA")
    buffer = model.buffers[entry.buffer]
    buffer.data = np.frombuffer(
        bytes(buffer.data).replace(np.float32(255).tobytes(), np.float32(127).tobytes()), np.uint8
    )
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(_flatbuffer.write(model))
    with TARGET.load(wrong) as runner, TARGET.load(artefact) as right:
        assert np.abs(runner.run(images) - right.run(images)).max() > 0.05
    assert any("std (127.0, 127.0, 127.0)" in complaint for complaint in TARGET.check(wrong))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_an_error(artefact: Path, tmp_path: Path, part: float) -> None:
    content = artefact.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(len(content) * part)])
    for use in (TARGET.load, TARGET.check):
        with pytest.raises(InputError, match=r"cut\.tflite"):
            use(path)


def test_garbage_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "garbage.tflite"
    path.write_bytes(b"not a model at all" * 99)
    with pytest.raises(InputError, match=r"garbage\.tflite: identifier .* not a \.tflite file"):
        TARGET.load(path)
    path.write_bytes(b"\x1c\0\0\0TFL3" + np.random.default_rng(0).bytes(5000))
    with pytest.raises(InputError, match="LiteRT cannot load it"):
        TARGET.load(path)
    with pytest.raises(InputError, match="No such file"):
        TARGET.load(tmp_path / "none.tflite")


def test_a_file_without_metadata_is_an_error(artefact: Path, tmp_path: Path) -> None:
    model: Any = _reading.read_model(artefact.read_bytes())
    model.metadata = []
    path = tmp_path / "bare.tflite"
    path.write_bytes(_flatbuffer.write(model))
    with pytest.raises(InputError, match="no TFLITE_METADATA"):
        TARGET.load(path)
