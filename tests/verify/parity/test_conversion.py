"""Each gate of conversion has a fault here that makes it fail, and faults in real files are found and placed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.export import get
from edgemat.export._compare import Measured
from edgemat.export._target import Gate, IntegerGate, Trunk
from edgemat.verify import exported, layers
from edgemat.verify.bisect import Bisection, Part
from edgemat.verify.exported import Entry, Exported
from edgemat.verify.parity import conversion, run
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.parity.limits import ConversionLimits
from edgemat.verify.parity.report import Outcome
from edgemat.verify.report import Comparison

GATE, INTEGER = Gate(0.01, 0.001), IntegerGate()
PART = Part("stem", "Conv", "conv", "float32", 0.1, 0.1, 9.0, 3.0, 0.5)


def entry(trunk: Trunk, target: str = "onnx", precision: str = "fp32") -> Entry:
    return Entry(get(target), precision, Path("artefact"), trunk)


def walked(closest: float = 0.5, compared: int = 20, parts: tuple[Part, ...] = ()) -> Bisection:
    return Bisection("onnx fp32", "artefact", "", parts, None, compared, (), 2, closest)


def floats(trunk: Trunk, comparison: Comparison, walk: Bisection, **limits: float | None) -> set[str]:
    """Return the names of a float artefact's failed figures."""
    measured = Measured((), comparison)
    given = dataclasses.replace(ConversionLimits(), **limits)  # type: ignore[arg-type]
    return {f.name for f in conversion._float(entry(trunk), GATE, given, measured, walk) if not f.passed}


@pytest.mark.parametrize(
    ("comparison", "walk", "limits", "failed"),
    [
        (Comparison(0.01, 0.001, 60.0, 4), walked(1.0), {}, set()),
        (Comparison(0.0, 0.0, None, 4), walked(0.0), {}, set()),
        (Comparison(0.011, 0.001, 60.0, 4), walked(), {}, {"max_abs"}),
        (Comparison(0.01, 0.0011, 60.0, 4), walked(), {}, {"mean_abs"}),
        (Comparison(0.01, 0.001, 59.9, 4), walked(), {}, {"psnr"}),
        (Comparison(0.01, 0.001, 59.9, 4), walked(), {"psnr": 55.0}, set()),
        (Comparison(0.01, 0.001, 10.0, 4), walked(), {"psnr": None}, set()),
        (Comparison(0.01, 0.001, 60.0, 4), walked(1.01, parts=(PART,)), {}, {"layer_rounding"}),
        (Comparison(0.01, 0.001, 60.0, 4), walked(float("inf"), parts=(PART,)), {}, {"layer_rounding"}),
        (Comparison(0.01, 0.001, 60.0, 4), walked(1.5, parts=(PART,)), {"rounding": 2.0}, set()),
        (Comparison(0.01, 0.001, 60.0, 4), walked(1.5, parts=(PART,)), {"rounding": None}, set()),
    ],
)
def test_each_gate_of_floats(
    comparison: Comparison, walk: Bisection, limits: dict[str, float | None], failed: set[str], trunk: Trunk
) -> None:
    assert floats(trunk, comparison, walk, **limits) == failed


def test_a_back_end_that_shows_no_tensors_has_no_figure_of_them(trunk: Trunk) -> None:
    measured = Measured((), Comparison(0.0, 0.0, None, 4))
    found = conversion._float(entry(trunk), GATE, ConversionLimits(), measured, walked(compared=1))
    assert "layer_rounding" not in {figure.name for figure in found}


def integers(
    lsb: int = 0, differ: float = 0.0, missing: tuple[str, ...] = (), within: float = 1.0, stated: tuple[str, ...] = ()
) -> set[str]:
    """Return the names of an integer artefact's failed figures."""
    layer = layers.Layer("stem", lsb, differ, 1000)
    check = layers.LayerCheck((layer,), missing, INTEGER.lsb, INTEGER.differ)
    agreement = layers.Agreement(within, within)
    measured = Measured((), Comparison(0.1, 0.1, 20.0, 4), agreement, check, stated, 0.0)
    return {figure.name for figure in conversion._integer(INTEGER, measured) if not figure.passed}


def test_each_gate_of_integers() -> None:
    assert integers() == set()
    assert integers(lsb=1, differ=0.01, within=0.99) == set()
    assert integers(lsb=2, differ=0.001) == {"layer_lsb"}
    assert integers(lsb=1, differ=0.011) == {"layer_differ"}
    assert integers(missing=("stem",)) == {"layers_hidden"}
    assert integers(within=0.989) == {"within_one"}
    assert integers(stated=("stem: the file states zero point 1, the grid 0",)) == {"wrong_scales"}


def test_a_projects_limit_stands_in_the_targets_gate(trunk: Trunk, int_trunk: Trunk) -> None:
    assert conversion.gate(entry(trunk), ConversionLimits()) == get("onnx").gates["fp32"]
    assert conversion.gate(entry(trunk), ConversionLimits(max_abs=0.5)) == Gate(0.5, 1e-6)
    found = conversion.gate(entry(int_trunk, "tflite", "int8"), ConversionLimits(lsb=3, max_abs=0.5))
    assert found == IntegerGate(lsb=3)
    with pytest.raises(InputError, match="onnx fp32: gate needs"):
        conversion.gate(entry(trunk), ConversionLimits(mean_abs=0.5))


# faults in real files


def edited(path: Path, change: Callable[[object], None]) -> None:
    import onnx

    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def _scaled(model: object) -> None:
    """Multiply one convolution in the middle by 1.01."""
    from onnx import numpy_helper

    weights = [t for t in model.graph.initializer if len(t.dims) == 4]  # type: ignore[attr-defined]
    tensor = weights[len(weights) // 2]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))


def _bgr(model: object) -> None:
    """Let the first convolution read its channels the other way round."""
    from onnx import numpy_helper

    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)  # type: ignore[attr-defined]
    assert tensor.dims[1] == 3
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, ::-1].copy(), tensor.name))


def _rescaled(model: object) -> None:
    """State a scale of an activation that is 1 % off, on both sides of its pair."""
    from onnx import numpy_helper

    scales = [t for t in model.graph.initializer if not t.dims and t.data_type == 1]  # type: ignore[attr-defined]
    tensor = scales[len(scales) // 2]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))


def _nameless(model: object) -> None:
    del model.metadata_props[:]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def faulty(parity_folder: Path, parity_set: ParitySet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Return the outcomes of a folder in which each ONNX file has a fault of its own."""
    folder = Path(shutil.copytree(parity_folder, tmp_path_factory.mktemp("faulty") / "out"))
    stem = exported.read(folder).trunks.any().info.name
    edited(folder / f"{stem}-fp32.onnx", _scaled)
    edited(folder / f"{stem}-fp16.onnx", _bgr)
    edited(folder / f"{stem}-int8.onnx", _rescaled)
    report = run.judge(exported.read(folder), parity_set)[0]
    assert report.exit_code == 1
    return {outcome.name: outcome for outcome in report.outcomes}


def failed(outcome: Outcome) -> set[str]:
    return {figure.name for figure in outcome.figures if not figure.passed and figure.question == "conversion"}


def test_a_weight_one_per_cent_off_is_found_and_placed(faulty: dict[str, Outcome]) -> None:
    found = faulty["onnx fp32"]
    assert found.changed
    assert "layer_rounding" in failed(found)
    assert found.tensor.startswith("stages.2.0.first")
    assert any(line.startswith("first differs at stages.2.0.first") for line in found.findings)
    assert "a conversion bug" in found.message


def test_channels_the_other_way_round_are_named(faulty: dict[str, Outcome]) -> None:
    found = faulty["onnx fp16"]
    assert {"max_abs", "psnr"} <= failed(found)
    said = " ".join(found.findings)
    assert "R and B" in said or "channels" in said


def test_a_scale_one_per_cent_off_is_found_and_placed(faulty: dict[str, Outcome]) -> None:
    found = faulty["onnx int8"]
    assert "wrong_scales" in failed(found)
    assert found.tensor
    assert any("the file states scale" in line for line in found.findings)


def test_the_others_pass(faulty: dict[str, Outcome]) -> None:
    assert failed(faulty["tflite int8"]) == set()
    assert faulty["tflite int8"].findings == ()


def test_a_file_that_is_not_as_promised_fails(found: Exported, parity_set: ParitySet, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(found.folder, tmp_path / "out"))
    read = exported.read(folder)
    edited(read.entries[0].path, _nameless)
    report = run.judge(dataclasses.replace(read, entries=read.entries[:1]), parity_set)[0]
    assert failed(report.outcomes[0]) == {"broken_promises"}
    assert any(line.startswith("the file: metadata") for line in report.outcomes[0].findings)
