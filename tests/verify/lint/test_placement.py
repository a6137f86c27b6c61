"""Who runs what: runtimes and compilers are asked, and what they leave is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemat.export import get
from edgemat.export._target import Trunk, Trunks
from edgemat.verify.lint import placement, sources
from edgemat.verify.lint.facts import Placement


def of(path: Path, target: str) -> dict[str, Placement]:
    found = placement.placements(sources.read(path, target), path, target)
    return {each.accelerator: each for each in found}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, int_trunk: Trunk) -> Path:
    path = tmp_path_factory.mktemp("npu") / "student-int8.ethos_u"
    get("ethos_u").convert(int_trunk, "int8", path)
    return path


def test_a_folder_for_ethos_u_is_read_by_its_source_and_asked_core_by_core(compiled: Path) -> None:
    facts = sources.read(compiled, "ethos_u")
    assert facts.form == "TFLite"
    assert facts.file == compiled.name
    assert all(found.left == () for found in of(compiled, "ethos_u").values())
    assert len(of(compiled, "ethos_u")) == 4


def test_operators_that_vela_leaves_are_told_by_number_and_by_name(compiled: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(compiled, tmp_path / "a.ethos_u"))
    place = folder / "report.json"
    report = json.loads(place.read_text())
    first, second = report["compiled"][:2]
    first["operators"]["cpu"] = 2
    second["file"] = report["source"]["file"]  # a file in which nothing was compiled
    place.write_text(json.dumps(report))
    found = of(folder, "ethos_u")
    assert [left.op for left in found[f"Ethos-U {first['chip']}"].left] == ["2 operators"]
    left = [each.op for each in found[f"Ethos-U {second['chip']}"].left]
    assert "downs.0.relu (CONV_2D)" in left


def test_onnx_runtime_tells_what_it_computes_in_float(int_trunk: Trunk, tmp_path: Path) -> None:
    path = tmp_path / "student-int8.onnx"
    get("onnx").convert(int_trunk, "int8", path)
    assert of(path, "onnx")[placement.ORT].left == ()
    model = onnx.load(path)
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    codes = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.output[0] == conv.input[0])
    model.graph.node.insert(list(model.graph.node).index(conv), helper.make_node("Sin", [codes.output[0]], ["waves"]))
    conv.input[0] = "waves"
    onnx.save(model, path)
    left = of(path, "onnx")[placement.ORT].left
    assert [each.op for each in left] == [conv.name]


def test_tensorrts_rules_are_told_with_their_source(trunks: Trunks, tmp_path: Path) -> None:
    path = tmp_path / "student-int8.tensorrt.onnx"
    get("tensorrt").convert(trunks.on_grid[get("tensorrt").scheme], "int8", path)
    assert of(path, "tensorrt")[placement.TENSORRT].left == ()
    model = onnx.load(path)
    quantize = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    zero = next(tensor for tensor in model.graph.initializer if tensor.name == quantize.input[2])
    zero.CopyFrom(onnx.numpy_helper.from_array(np.int8(3), zero.name))
    onnx.save(model, path)
    left = of(path, "tensorrt")[placement.TENSORRT].left
    assert quantize.name in [each.op for each in left]
    assert all("TensorRT's rule" in each.reason for each in left)


def test_float32_stays_off_the_neural_engine_and_older_engines_are_another_matter(trunk: Trunk, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for precision in ("fp16", "fp32"):
        path = tmp_path / f"{precision}.mlpackage"
        get("coreml").convert(trunk, precision, path)
        found[precision] = of(path, "coreml")
    assert found["fp16"][placement.ANE].left == ()
    assert {left.op.partition(" (")[2] for left in found["fp32"][placement.ANE].left} == {"conv)"}
    assert any("upsample" in left.op for left in found["fp16"][placement.ANE_OLDER].left)
    assert placement.ANE_OLDER not in found["fp32"]


def test_a_target_that_nobody_can_be_asked_about_has_no_placement(tmp_path: Path, trunk: Trunk) -> None:
    facts = sources.read(trunk.path, "onnx")
    assert placement.placements(facts, trunk.path, "openvino") == ()
