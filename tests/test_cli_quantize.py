"""``edgemat quantize``: students and foreign networks, engines, budgets, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.cli import main
from edgemat.export import _trunk
from edgemat.export._target import Trunk
from edgemat.files import sha256
from edgemat.images import write_png
from edgemat.model import weights as files
from edgemat.quantize import checkpoint, qdq
from edgemat.quantize import graph as graphs
from edgemat.quantize.extract import PASSPORT, extract
from edgemat.quantize.settle import grid_of

SIZE = ["--size", "64x64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, images: npt.NDArray[np.uint8]) -> Path:
    """Return a folder of eight images without mattes."""
    path = tmp_path_factory.mktemp("photos")
    for i, image in enumerate(np.concatenate([images, 255 - images])):
        write_png(path / f"{i}.png", image)
    return path


@pytest.fixture(scope="module")
def with_mattes(tmp_path_factory: pytest.TempPathFactory, images: npt.NDArray[np.uint8], trunk: Trunk) -> Path:
    """Return a folder of images with ground truth that the float network misses a little."""
    from edgemat.export.onnx import OnnxRunner

    path = tmp_path_factory.mktemp("pairs")
    entries = []
    rng = np.random.default_rng(0)
    for i, image in enumerate(images):
        alpha = OnnxRunner(trunk.path).run(image[None])[0]
        matte = np.clip(np.rint(alpha * 255 + rng.normal(0, 20, alpha.shape)), 0, 255).astype(np.uint8)
        write_png(path / f"{i}.png", image)
        write_png(path / f"a{i}.png", matte)
        entry = {"name": f"{i}.png", "alpha": f"a{i}.png"}
        entries.append({**entry, "sha256": sha256(path / f"{i}.png"), "alpha_sha256": sha256(path / f"a{i}.png")})
    (path / "manifest.json").write_text(json.dumps({"schema_version": 1, "files": entries}))
    return path


def test_a_student(tmp_path: Path, weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made.safetensors"
    code = main(
        ["quantize", "--weights", str(weights), "--calibration", str(folder), *SIZE, "--out", str(out), "--json"]
    )
    assert code == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["engine"], said["method"], said["scheme"], said["written"]) == (
        "grid", "mse", "static_w8c_a8", str(out),
    )  # fmt: skip
    assert 0.0 < said["difference"] < 20.0
    assert said["mad"] is None
    made = checkpoint.load(out)
    assert made.info["quantized_from_sha256"] == sha256(weights)
    assert made.info["license"] == files.load(weights).info["license"]
    assert made.grid.passport["images"]["count"] == 8  # type: ignore[index]
    again = _trunk.from_student(out, 64, 64, tmp_path / "trunk.onnx")
    assert again.grid is not None
    qdq.insert(onnx.load(again.path), again.grid)


@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="needs nncf")
def test_an_engine_that_corrects_biases(
    tmp_path: Path, weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NNCF changes arrives in the student's file; NNCF itself is run in tests/quantize/test_nncf.py."""
    from onnx import numpy_helper

    from edgemat.quantize.engines import _nncf, _ort

    def corrected(model: onnx.ModelProto, *rest: object) -> onnx.ModelProto:
        stated = _ort.run(model, rest[0], rest[1], "minmax", rest[3], str(rest[4]))  # type: ignore[arg-type]
        for tensor in stated.graph.initializer:
            if tensor.name == "head.bias_quantized":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.int32(1000), tensor.name))
        return stated

    monkeypatch.setattr(_nncf, "run", corrected)
    out = tmp_path / "made.safetensors"
    words = ["--engine", "nncf", "--weights", str(weights), "--calibration", str(folder), *SIZE, "--out", str(out)]
    assert main(["quantize", *words]) == 0
    before, after = files.load(weights).net.deploy().state_dict(), checkpoint.load(out).net.state_dict()
    assert float((after["head.bias"] - before["head.bias"]).abs().max()) > 1e-3
    assert all(np.array_equal(after[name], before[name]) for name in before if name.endswith("weight"))


def test_a_budget(tmp_path: Path, weights: Path, with_mattes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made.safetensors"
    common = ["--weights", str(weights), "--calibration", str(with_mattes), *SIZE, "--out", str(out)]
    words = ["quantize", *common, "--scheme", "static_w4c_a8"]
    assert main([*words, "--budget", "mad=+1%", "--sensitivity"]) == 0
    said = capsys.readouterr()
    assert "layer, alone quantized" in said.out
    assert "kept in float: " in said.err
    made = checkpoint.load(out)
    assert made.grid.kept
    assert f"with {len(made.grid.kept)} layers kept in float" in said.err
    out.unlink()
    assert main([*words, "--budget", "mad=+0.0001%"]) == 1
    said = capsys.readouterr()
    assert "FAILED: even with every layer in float" in said.err
    assert "nothing" in said.out
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file(tmp_path: Path, trunk: Trunk, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made.onnx"
    words = ["quantize", "--model", str(trunk.path), "--calibration", str(folder)]
    assert main([*words, "--engine", "ort", "--keep", "head", "--out", str(out)]) == 0
    model = onnx.load(out)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts[PASSPORT])["engine"] == "ort"
    assert grid_of(extract(model), "x").kept == {"head"}
    assert main(["quantize", "--model", str(out), "--calibration", str(folder)]) == 2
    assert "is on a whole integer grid already; export it" in capsys.readouterr().err


def test_an_incomplete_qdq_file(
    tmp_path: Path, int_trunk: Trunk, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert int_trunk.grid is not None
    model = qdq.insert(onnx.load(int_trunk.path), int_trunk.grid)
    tensor = next(node.outputs[0] for node in graphs.of(onnx.load(int_trunk.path)).nodes if node.op == "Add")
    tensor = next(n for n in int_trunk.grid.activations if n.startswith(tensor.removesuffix(".add")) and n != tensor)
    for node in list(model.graph.node):
        if node.name in (f"{tensor}#quantize", f"{tensor}#dequantize"):
            model.graph.node.remove(node)
        node.output[:] = [name.removesuffix(qdq.FLOAT) if name == tensor + qdq.FLOAT else name for name in node.output]
    del model.metadata_props[:], model.graph.value_info[:]
    path, out = tmp_path / "theirs.onnx", tmp_path / "made.onnx"
    onnx.save(model, path)
    words = ["quantize", "--model", str(path), "--calibration", str(folder), "--out", str(out)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{tensor}: no scale" in said
    assert "--complete" in said
    assert not out.exists()
    assert main([*words, "--complete"]) == 0
    assert f"note: {tensor}: no scale in the file; calibrated" in capsys.readouterr().err
    made = grid_of(extract(onnx.load(out)), "x")
    assert {n: p for n, p in made.activations.items() if n != tensor} == {
        n: p for n, p in int_trunk.grid.activations.items() if n != tensor
    }
    assert main(["quantize", "--model", str(int_trunk.path), "--complete", "--out", str(out)]) == 2
    assert "holds no Q/DQ pairs to complete" in capsys.readouterr().err


def test_refused(tmp_path: Path, weights: Path, trunk: Trunk, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    empty, flat = tmp_path / "empty", tmp_path / "flat"
    empty.mkdir()
    flat.mkdir()
    write_png(flat / "grey.png", np.full((64, 64, 3), 128, np.uint8))
    model = ["quantize", "--model", str(trunk.path), "--out", str(out)]
    for words, said in (
        (["--calibration", str(empty)], "holds no .png, .jpg, .jpeg file"),
        (["--calibration", str(flat)], "of one single value"),
        (["--calibration", str(folder), "--budget", "mad=+1%"], "no ground truth"),
        (["--calibration", str(folder), "--keep", "nobody"], "--keep nobody: no such node"),
        (["--calibration", str(folder), "--method", "entropy"], "engine grid has no method 'entropy'"),
        (["--scheme", "int8"], "scheme 'int8' is not known"),
        (["--budget", "iou=1%"], "expected one of mad, grad"),
        (["--weights", str(weights)], "exclude each other"),
    ):
        assert main([*model, *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["quantize", "--weights", str(weights), "--complete"]) == 2
    assert not out.exists()


def test_already_quantized(tmp_path: Path, weights: Path, int_trunk: Trunk, capsys: pytest.CaptureFixture[str]) -> None:
    assert int_trunk.grid is not None
    loaded = files.load(weights)
    path = tmp_path / "student.safetensors"
    checkpoint.save(loaded.net.deploy(), int_trunk.grid, path, loaded.info)
    assert main(["quantize", "--weights", str(path), "--out", str(tmp_path / "out.safetensors")]) == 2
    assert "is on its integer grid already" in capsys.readouterr().err


def test_one_image_is_warned_of(
    tmp_path: Path, trunk: Trunk, images: npt.NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one"
    one.mkdir()
    write_png(one / "a.png", images[0])
    assert (
        main(["quantize", "--model", str(trunk.path), "--calibration", str(one), "--out", str(tmp_path / "o.onnx")])
        == 0
    )
    assert "warning: 1 calibration image: too few" in capsys.readouterr().err
