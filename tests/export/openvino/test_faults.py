"""Faults planted into an integer IR: each is caught by what the frame asks of it, and the tensor is named."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

if importlib.util.find_spec("openvino") is None:  # never imported here: it runs in processes of its own
    pytest.skip("needs openvino", allow_module_level=True)
pytest.importorskip("onnx")

from onnx import NodeProto

from edgemat.export import _compare
from edgemat.export._target import Trunk
from edgemat.export.openvino import TARGET, _adapt, _ir
from edgemat.export.openvino._write import GRAPH, NUMBERS

Images = npt.NDArray[np.uint8]
Expected = tuple[str, dict[str, str]]


@pytest.fixture(scope="module")
def whole(int_trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "student.openvino"
    TARGET.convert(int_trunk, "int8", path)
    return path


@pytest.fixture(scope="module")
def references(images: Images, tmp_path_factory: pytest.TempPathFactory) -> _compare.References:
    """Return the references, computed once for all faults."""
    return _compare.References(images[:2], tmp_path_factory.mktemp("references"))


def wrong(trunk: Trunk, path: Path, references: _compare.References) -> dict[str, list[str]]:
    """Return what the check of the file says of it, and what the comparison with grid and reference does."""
    with TARGET.load(path) as runner:
        alpha = runner.run(references.images)
        verdict = _compare.judge(TARGET, "int8", trunk, path, runner, alpha, references)
    return {"check": list(TARGET.check(path)), "judge": list(verdict.wrong)}


def change(path: Path, layer: str, position: int, how: Callable[[Any], Any]) -> None:
    """Change the constant that a layer reads at ``position``, in the numbers' file."""
    ir = _ir.read(path)
    reader = next(found for found in ir.layers.values() if found.name == layer)
    constant = ir.layers[reader.inputs[position]]
    value = ir.constant(reader.inputs[position])
    assert value is not None
    content, at = bytearray(ir.numbers), int(constant.data["offset"])
    content[at : at + value.nbytes] = np.ascontiguousarray(how(value), value.dtype).tobytes()
    (path / NUMBERS).write_bytes(content)


def asymmetric(path: Path) -> str:
    """Return a tensor whose zero point is neither end, so that no other layer has its bounds."""
    stated = _ir.read(path).facts["scales"]
    shared = [name for name in stated if list(stated.values()).count(stated[name]) == 1]
    return next(name for name in shared if 0 < stated[name][1] < 255)


def scale_stretched(path: Path) -> Expected:
    """One FakeQuantize has 1.01 of its bounds."""
    tensor = asymmetric(path)
    for position in (1, 2):
        change(path, f"{tensor}#quantize", position, lambda value: value * np.float32(1.01))
    return tensor, {"check": "bounds", "judge": "the file states scale"}


def zero_point_shifted(path: Path) -> Expected:
    """One FakeQuantize's bounds are off by one step."""
    tensor = asymmetric(path)
    step = np.float32(_ir.read(path).facts["scales"][tensor][0])
    for position in (1, 2):
        change(path, f"{tensor}#quantize", position, lambda value: value - step)
    return tensor, {"check": "bounds", "judge": "the file states zero point"}


def weight_scales_rolled(path: Path) -> Expected:
    """Each channel of a weight has its neighbour's scale."""
    change(path, "downs.1.weight", 1, lambda value: np.roll(value, 1, 0))
    return "downs.1.weight", {"judge": "channels' scales differ"}


def bias_dropped(path: Path) -> Expected:
    """One convolution adds zeros."""
    change(path, "downs.1#bias", 1, np.zeros_like)
    return "downs.1.relu", {"judge": "LSB"}


def interpolation_on_another_scale(path: Path) -> Expected:
    """What makes reals of an interpolation's codes has another scale."""
    ir = _ir.read(path)
    layer = next(found.name for found in ir.layers.values() if found.name.endswith("resize#kept#dequantize"))
    change(path, layer, 1, lambda value: value * np.float32(1.01))
    return layer.removesuffix("#kept#dequantize"), {"check": "become reals by", "judge": "the file states scale"}


def fact_missing(path: Path) -> Expected:
    """The licence is gone."""
    text = (path / GRAPH).read_text()
    (path / GRAPH).write_text(text.replace("&quot;license&quot;", "&quot;licence&quot;"))
    return "license", {"check": "is missing"}


FAULTS = [
    scale_stretched,
    zero_point_shifted,
    weight_scales_rolled,
    bias_dropped,
    interpolation_on_another_scale,
    fact_missing,
]


def test_an_untouched_file_is_right(whole: Path, int_trunk: Trunk, references: _compare.References) -> None:
    assert wrong(int_trunk, whole, references) == {"check": [], "judge": []}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_caught_and_its_tensor_named(
    whole: Path,
    int_trunk: Trunk,
    references: _compare.References,
    tmp_path: Path,
    fault: Callable[[Path], Expected],
) -> None:
    path = tmp_path / "faulty.openvino"
    shutil.copytree(whole, path)
    tensor, expected = fault(path)
    found = wrong(int_trunk, path, references)
    for who, what in expected.items():
        assert any(tensor in line and what in line for line in found[who]), (tensor, found)


def test_a_float_island_is_caught(int_trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _adapt._Writer._without_bias

    def faulty(self: _adapt._Writer, node: NodeProto) -> None:
        if node.name == "downs.1":  # behind a barrier, OpenVINO computes it in float
            node.input[0] = self._make("Max", [node.input[0], self._number(-1.0)], "held", "held")
        whole(self, node)

    monkeypatch.setattr(_adapt._Writer, "_without_bias", faulty)
    path = tmp_path / "island.openvino"
    TARGET.convert(int_trunk, "int8", path)
    lines = TARGET.check(path)
    assert any("downs.1: OpenVINO computes this Convolution in float32, not in int8" in line for line in lines), lines
    assert "downs.1" in {op.name for op in TARGET.inspect(path).islands}


def test_without_barriers_roundings_get_lost(
    int_trunk: Trunk, tmp_path: Path, references: _compare.References, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_adapt, "_BARRIER", ())
    path = tmp_path / "bare.openvino"
    TARGET.convert(int_trunk, "int8", path)
    with TARGET.load(path) as runner:
        alpha = runner.run(references.images)
        verdict = _compare.judge(TARGET, "int8", int_trunk, path, runner, alpha, references)
    assert verdict.on_grid is not None
    assert verdict.on_grid.identical < 0.95
