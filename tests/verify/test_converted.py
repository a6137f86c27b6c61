"""A quantized student runs as its integer file, and `edgemat evaluate` and `edgemat compare` take it like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.cli import main
from edgemat.errors import InputError
from edgemat.export._target import Trunk
from edgemat.images import write_png
from edgemat.model import weights as files
from edgemat.quantize import checkpoint
from edgemat.quantize import graph as graphs
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.reference import Reference
from edgemat.quantize.scheme import Scheme
from edgemat.verify import holdout

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def quantized(trunk: Trunk, weights: Path, images: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = files.load(weights)
    grid = calibrate(onnx.load(trunk.path), images, Scheme(), "mse")
    path = tmp_path_factory.mktemp("quantized") / "student-static_w8c_a8.safetensors"
    checkpoint.save(loaded.net.deploy(), grid, path, loaded.info)
    return path


def test_it_computes_on_the_grid(quantized: Path, trunk: Trunk, images: Pixels) -> None:
    found = holdout.predictor(quantized)(images)
    assert (found.dtype, found.shape) == (np.float32, (4, 64, 64))
    codes = found * 255
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
    grid = checkpoint.load(quantized).grid
    expected = Reference(graphs.of(onnx.load(trunk.path)), grid, "onnxruntime").run(images)
    assert (np.abs(found - expected) * 255 < 1.5).mean() > 0.95


def test_every_size_of_image_is_taken(quantized: Path) -> None:
    run = holdout.predictor(quantized)
    for height, width in ((32, 32), (64, 32), (32, 32)):
        assert run(np.zeros((2, height, width, 3), np.uint8)).shape == (2, height, width)


@pytest.fixture
def folder(tmp_path: Path, images: Pixels) -> Path:
    for i, image in enumerate(images):
        big = np.repeat(np.repeat(image, 4, 0), 4, 1)
        write_png(tmp_path / "set" / "image" / f"{i}.png", big)
        write_png(tmp_path / "set" / "alpha" / f"{i}.png", np.ascontiguousarray(big[..., 0]))
    return tmp_path / "set"


def test_evaluate_takes_it(quantized: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--weights", str(quantized), "--folder", str(folder), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 4


def test_compare_prints_a_table_or_a_document_and_fails_beyond_a_limit(
    quantized: Path, weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(weights), str(quantized), "--folder", str(folder)]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "student-static_w8c_a8" in table
    assert "MAD" in table
    assert main([*words, "--json", "--gate", "mad=-90%"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["broken"]
    assert "FAILED: student-static_w8c_a8: mad (frame)" in captured.err
    assert main([*words, "--gate", "dtssd=+1%"]) == 2
    assert main([*words, "--gate", "mad"]) == 2


def test_networks_have_names_that_tell_them_apart(quantized: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "student.safetensors"
    other.write_bytes(weights.read_bytes())
    assert list(holdout.predictors([weights, other])) == [str(weights), str(other)]
    assert list(holdout.predictors([quantized])) == ["student", "student-static_w8c_a8"]
    with pytest.raises(InputError, match="given twice"):
        holdout.predictors([weights, weights])
