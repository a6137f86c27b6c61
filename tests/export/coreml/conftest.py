"""Packages of the small student, the reference for every inner tensor, and a way to damage a saved package."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("coremltools")
pytest.importorskip("onnx")

from edgemat.export._target import ModelInfo, Trunk, Trunks
from edgemat.export.coreml import TARGET

Tensors = dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="session")
def packages(trunks: Trunks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return precision to package of the small student; tests must not change them."""
    folder = tmp_path_factory.mktemp("coreml")
    paths = {precision: folder / precision / "student.mlpackage" for precision in TARGET.gates}
    for precision, path in paths.items():
        path.parent.mkdir()
        TARGET.convert(trunks.get(TARGET, precision), precision, path)
    return paths


@pytest.fixture
def calibrated(tmp_path: Path) -> Callable[..., Trunk]:
    """Return a function: nodes and constants to a trunk from ``image`` to ``alpha``, 16x16, with a grid of 8 bits."""

    def build(nodes: list[Any], constants: dict[str, Any], kept: frozenset[str] = frozenset()) -> Trunk:
        import onnx
        from onnx import helper

        from edgemat.quantize.calibrate import calibrate
        from edgemat.quantize.scheme import Scheme

        weights = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, 16, 16))
        alpha = helper.make_tensor_value_info("alpha", onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "net", [image], [alpha], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        onnx.save(model, tmp_path / "net.onnx")
        photos = np.random.default_rng(5).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
        grid = calibrate(model, photos, Scheme(), "minmax", kept)
        info = ModelInfo("net", "0", "the tests", "Apache-2.0", "A few operators.")
        return Trunk(tmp_path / "net.onnx", 16, 16, info, grid)

    return build


@pytest.fixture(scope="session")
def reference() -> Callable[[Path, npt.NDArray[np.uint8]], Tensors]:
    """Return a function: ONNX file and RGB image (H, W, 3) to all tensors, in the graph's order."""

    def run(path: Path, image: npt.NDArray[np.uint8]) -> Tensors:
        import onnx
        import onnxruntime

        model = onnx.load(path)
        names = [node.output[0] for node in model.graph.node if node.op_type != "Constant"]
        kept = {o.name for o in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in kept)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        source = (image.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
        return {"image": source} | dict(zip(names, session.run(names, {"image": source}), strict=True))

    return run


@pytest.fixture(scope="session")
def first_difference() -> Callable[[Tensors, Tensors, float], str | None]:
    """Return a function that names the first tensor, in the reference's order, that is off by a share of its size."""

    def find(expected: Tensors, found: Tensors, share: float) -> str | None:
        for name, value in expected.items():
            if name in found and not np.abs(found[name] - value).mean() <= share * np.abs(value).mean():
                return name
        return None

    return find


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[Path, Callable[[Any, Any], None]], Path]:
    """Return a function that copies a package and edits the copy: its specification and its list of operations."""

    def damage(package: Path, edit: Callable[[Any, Any], None]) -> Path:
        from edgemat.export.coreml import _coremltools

        copy = tmp_path / "damaged.mlpackage"
        shutil.copytree(package, copy)
        file = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
        spec = _coremltools.load("coremltools.proto.Model_pb2").Model()
        spec.ParseFromString(file.read_bytes())
        function = spec.mlProgram.functions["main"]
        edit(spec, function.block_specializations[function.opset].operations)
        file.write_bytes(spec.SerializeToString(deterministic=True))
        return copy

    return damage
