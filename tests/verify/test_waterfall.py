"""The error budget: each step's own cost, where a planted fault shows, and what is not run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat import export
from edgemat.errors import InputError
from edgemat.export import _frame
from edgemat.export._target import Trunk, Trunks
from edgemat.verify import exported, paired, waterfall_chain
from edgemat.verify.exported import Exported
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.waterfall import Step, Waterfall, waterfall

from ..export.faults import FAULTS

Images = npt.NDArray[np.uint8]
MADE = [("onnx", "fp32"), ("onnx", "fp16"), ("onnx", "int8"), ("tflite", "fp32"), ("tflite", "int8")]
SCHEME = "static_w8c_a8"
GRID = [f"{SCHEME} {name}" for name in ("torch", "trunk", "w8", "w8a8")]


def made(trunks: Trunks, images: Images, folder: Path, wanted: list[tuple[str, str]] = MADE) -> Exported:
    """Export and read the folder back."""
    _frame.export(trunks, [(export.get(name), precision) for name, precision in wanted], folder, images)
    return exported.read(folder)


@pytest.fixture(scope="module")
def samples(trunk: Trunk, images: Images) -> ParitySet:
    """Return four images whose truth is near what the student says."""
    with export.get("onnx").load(trunk.path) as runner:
        alphas = runner.run(images)
    return given(images, np.clip(np.roll(alphas, 2, 1), 0, 1))


def given(images: Images, truth: npt.NDArray[np.float32] | None, clips: int = 0) -> ParitySet:
    """Return a set of images of as many faces, and of clips that show the first images by turns."""
    facts = {"name": "four", "count": len(images), "faces": len(images), "clips": clips, "frames": 3 if clips else 0}
    faces = tuple(f"face {i}" for i in range(len(images)))
    moving = np.stack([images[:3]] * clips) if clips else np.zeros((0, 3, *images.shape[1:]), np.uint8)
    still = np.zeros(moving.shape[:4], np.float32)
    known = facts | {"truth": truth is not None}
    return ParitySet(images, truth, None, ((),) * len(images), faces, moving, still, faces[:clips], known)


@pytest.fixture(scope="module")
def clean(trunks: Trunks) -> Trunks:
    return Trunks(trunks.plain, {SCHEME: trunks.on_grid[SCHEME]})


@pytest.fixture(scope="module")
def folder(clean: Trunks, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return made(clean, images, tmp_path_factory.mktemp("waterfall") / "out")


@pytest.fixture(scope="module")
def budget(folder: Exported, samples: ParitySet, weights: Path) -> Waterfall:
    return waterfall(folder, samples, weights=[weights])


def test_every_step_is_compared_with_the_one_it_builds_on(budget: Waterfall) -> None:
    assert {step.name: step.after for step in budget.steps} == {
        "torch": "",
        "onnx trunk": "torch",
        "fp16": "onnx trunk",
        "onnx fp32": "onnx trunk",
        "onnx fp16": "fp16",
        "tflite fp32": "onnx trunk",
        GRID[0]: "torch",
        GRID[1]: GRID[0],
        GRID[2]: GRID[1],
        GRID[3]: GRID[2],
        "onnx int8": GRID[3],
        "tflite int8": GRID[3],
    }
    assert budget.step(GRID[0]).note == "the same weights as the float student's"


def test_conversion_costs_nothing_and_rounding_something(budget: Waterfall) -> None:
    moved = {step.name: step.moved for step in budget.steps}
    assert moved["torch"] is None
    assert moved[GRID[0]] == 0.0
    assert all(moved[name] < 1e-3 for name in ("onnx trunk", "onnx fp32", "tflite fp32", GRID[1]))  # type: ignore[operator]
    assert all(moved[name] > 1e-2 for name in ("fp16", GRID[2], GRID[3]))  # type: ignore[operator]


def test_changes_add_up_to_the_total(budget: Waterfall) -> None:
    start = budget.step("torch").figure("mad")
    end = budget.step("tflite int8").figure("mad")
    assert start is not None
    assert end is not None
    assert end.total is not None
    path = ["tflite int8", *reversed(GRID)]
    changes = [budget.step(name).figure("mad") for name in path]
    added = sum(figure.change.value for figure in changes if figure is not None and figure.change is not None)
    assert end.value.value - start.value.value == pytest.approx(added, abs=1e-9)
    assert end.total.value == pytest.approx(100 * added / start.value.value)


def test_the_document_reads_back_and_is_the_same_again(
    budget: Waterfall, folder: Exported, samples: ParitySet, weights: Path
) -> None:
    document = json.loads(json.dumps(budget.to_json(), allow_nan=False))
    assert Waterfall.from_json(document) == budget
    assert waterfall(folder, samples, weights=[weights]).to_json() == budget.to_json()
    with pytest.raises(InputError, match="schema_version 0, expected 1"):
        Waterfall.from_json(document | {"schema_version": 0})
    with pytest.raises(InputError, match="not whole"):
        Waterfall.from_json({"schema_version": 1})


# one fault in one step: it shows there and nowhere else


def _bad_trunk(trunk: Trunk, path: Path) -> Trunk:
    model = onnx.load(trunk.path)
    FAULTS["bias_dropped"](model)
    onnx.save(model, path)
    return dataclasses.replace(trunk, path=path)


def _in_the_conversion(clean: Trunks, path: Path) -> Trunks:
    assert clean.plain is not None
    return Trunks(_bad_trunk(clean.plain, path), clean.on_grid)


def _in_the_integer_conversion(clean: Trunks, path: Path) -> Trunks:
    return Trunks(clean.plain, {SCHEME: _bad_trunk(clean.on_grid[SCHEME], path)})


def _in_the_weights(clean: Trunks, path: Path) -> Trunks:
    trunk = clean.on_grid[SCHEME]
    assert trunk.grid is not None
    weights = {
        name: (s * np.float32(0.5) if name == "laterals.0.weight" else s) for name, s in trunk.grid.weights.items()
    }
    return Trunks(
        clean.plain, {SCHEME: dataclasses.replace(trunk, grid=dataclasses.replace(trunk.grid, weights=weights))}
    )


def _in_the_activations(clean: Trunks, path: Path) -> Trunks:
    trunk = clean.on_grid[SCHEME]
    assert trunk.grid is not None
    name = "laterals.0.relu"
    found = trunk.grid.activations[name]
    changed = {**trunk.grid.activations, name: dataclasses.replace(found, scale=float(np.float32(found.scale * 0.4)))}
    grid = dataclasses.replace(trunk.grid, activations=changed)
    return Trunks(clean.plain, {SCHEME: dataclasses.replace(trunk, grid=grid)})


@pytest.mark.parametrize(
    ("plant", "step"),
    [
        (_in_the_conversion, "onnx trunk"),
        (_in_the_integer_conversion, GRID[1]),
        (_in_the_weights, GRID[2]),
        (_in_the_activations, GRID[3]),
    ],
)
def test_a_fault_shows_at_its_step_alone(
    plant: Callable[[Trunks, Path], Trunks],
    step: str,
    budget: Waterfall,
    clean: Trunks,
    images: Images,
    samples: ParitySet,
    weights: Path,
    tmp_path: Path,
) -> None:
    faulty = made(plant(clean, tmp_path / "bad.onnx"), images, tmp_path / "out")
    found = waterfall(faulty, samples, weights=[weights])
    assert _grown(budget, found) == {step}
    figure = found.step(step).figure("mad")
    assert figure is not None
    assert figure.change is not None
    assert figure.change.value != 0.0


def test_a_fault_of_an_artefact_shows_at_it_alone(
    budget: Waterfall, clean: Trunks, images: Images, samples: ParitySet, weights: Path, tmp_path: Path
) -> None:
    folder = made(clean, images, tmp_path / "out")
    path = next(entry.path for entry in folder.entries if entry.name == "onnx fp32")
    model = onnx.load(path)
    FAULTS["bias_dropped"](model)
    onnx.save(model, path)
    found = waterfall(exported.read(folder.folder), samples, weights=[weights])
    assert _grown(budget, found) == {"onnx fp32"}
    assert found.step("onnx fp32").note == "its bytes are not those that the export wrote"


def test_a_fault_of_half_precision_shows_at_it_alone(
    folder: Exported, budget: Waterfall, samples: ParitySet, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemat.export import _half

    right = _half.to_half

    def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
        half = right(model)
        FAULTS["bias_dropped"](half)
        return half

    monkeypatch.setattr(_half, "to_half", wrong)
    others = tuple(entry for entry in folder.entries if "fp16" not in entry.precision)
    found = waterfall(dataclasses.replace(folder, entries=others), samples, weights=[weights])
    assert _grown(budget, found) == {"fp16"}


def _grown(before: Waterfall, after: Waterfall) -> set[str]:
    """Return the steps that move alpha by much more than they did."""
    old = {step.name: step.moved or 0.0 for step in before.steps}
    grown = {step.name: (step.moved or 0.0) - old[step.name] for step in after.steps}
    worst = max(grown.values())
    assert worst > 0.5
    return {name for name, more in grown.items() if more > 0.25 * worst}


# training moves the weights, and that is no rounding


def test_weights_trained_for_the_grid_are_a_step_of_their_own(
    clean: Trunks, images: Images, samples: ParitySet, weights: Path, tmp_path: Path
) -> None:
    from edgemat.export import _trunk
    from edgemat.model import weights as files
    from edgemat.quantize import checkpoint

    loaded = files.load(weights)
    net = loaded.net.deploy()
    bias = dict(net.named_parameters())["laterals.0.bias"]
    bias.data += 0.3 * bias.data.abs().mean()
    grid = clean.on_grid[SCHEME].grid
    assert grid is not None
    path = tmp_path / "trained.safetensors"
    checkpoint.save(net, grid, path, loaded.info)
    trained = _trunk.from_student(path, 64, 64, tmp_path / "trained.onnx", images)
    folder = made(
        Trunks(clean.plain, {SCHEME: trained}), images, tmp_path / "out", [("onnx", "fp32"), ("onnx", "int8")]
    )
    whole = waterfall(folder, samples, weights=[weights, path])
    first, second = whole.step(GRID[0]), whole.step(GRID[1])
    assert (first.kind, first.after, first.note) == ("training", "torch", "")
    assert first.moved is not None
    assert first.moved > 0.1
    assert (second.kind, second.after) == ("conversion", GRID[0])
    assert second.moved is not None
    assert second.moved < 1e-3
    # without torch, the same shows between the graphs
    graphs = waterfall(folder, samples)
    assert "which were not given; add them with --weights" in graphs.step("torch").missing
    assert graphs.step("onnx trunk").kind == "start"
    alone = graphs.step(GRID[1])
    assert (alone.kind, alone.after) == ("training", "onnx trunk")
    assert alone.moved == pytest.approx(first.moved, rel=1e-3)


# what is not run is named, never nothing


def test_what_cannot_be_run_is_named(folder: Exported, samples: ParitySet) -> None:
    class Broken:
        def __init__(self, path: Path) -> None:
            raise RuntimeError("segment 7 is gone")

    entries = [
        dataclasses.replace(entry, target=dataclasses.replace(entry.target, **change))
        for entry, change in zip(folder.entries, ({"load": Broken}, {"requires": ("no_such_package",)}), strict=False)
    ]
    failed = (exported.Failed("openvino", "fp32", "gate", "alpha differs by 0.3\nmore"),)
    found = waterfall(
        dataclasses.replace(folder, entries=tuple(entries), failed=failed), samples, gate=paired.limits("mad=+99%")
    )
    assert found.step("onnx fp32").missing == "cannot be run: RuntimeError: segment 7 is gone"
    assert found.step("onnx fp16").missing.startswith("no_such_package not installed; pip install")
    assert found.step("openvino fp32").missing == "not exported (gate): alpha differs by 0.3"
    for step in found.steps:
        assert bool(step.missing) == (not step.figures)
    row = next(row for row in found.rows() if row[1] == "onnx fp32")
    assert "not run" in row
    assert "0" not in "".join(row[3:])
    assert len(found.broken) == 3  # a limit that was not judged is not kept
    assert not found


@pytest.mark.parametrize("alpha", [np.nan, 1.5])
def test_alpha_that_is_no_matte_is_not_measured(alpha: float, images: Images) -> None:
    from contextlib import nullcontext

    plan = waterfall_chain.Plan(
        "x", "float", open=lambda: nullcontext(lambda pixels: np.full(pixels.shape[:3], alpha, np.float32))
    )
    assert plan.run(images)[1].startswith("cannot be measured: ")


# limits


def test_a_limit_judges_artefacts_by_their_total(folder: Exported, samples: ParitySet, weights: Path) -> None:
    found = waterfall(folder, samples, weights=[weights], gate=paired.limits("mad=+50%"))
    assert found
    found = waterfall(folder, samples, weights=[weights], gate=paired.limits("mad=-50%"))
    assert [sentence.partition(":")[0] for sentence in found.broken] == [f"{name} {p}" for name, p in _in_chains()]
    assert "limit -50 %" in found.broken[0]


def _in_chains() -> list[tuple[str, str]]:
    return sorted(MADE, key=lambda item: item[1] == "int8")


def test_what_cannot_be_measured_is_refused(folder: Exported, samples: ParitySet, trunk: Trunk) -> None:
    with pytest.raises(InputError, match=r"--gate conn\.frame=\+1%: not measured here; found mad, grad"):
        waterfall(folder, samples, gate=paired.limits("conn=+1%"))
    with pytest.raises(InputError, match="no metric 'dtssd' of images"):
        waterfall(folder, samples, metrics=["dtssd"])
    with pytest.raises(InputError, match="found images of 32x32, expected 64x64"):
        waterfall(folder, given(samples.images[:, :32, :32], None))


def test_without_truth_a_step_only_shows_how_far_it_moves(folder: Exported, images: Images) -> None:
    found = waterfall(folder, given(images, None))
    assert found.metrics == ()
    assert found.columns() == ("chain", "step", "after", "moved")
    assert "no truth" in found.said
    assert found.step(GRID[2]).figures == ()
    assert (found.step(GRID[2]).moved or 0) > 0
    assert Waterfall.from_json(found.to_json()) == found
    with pytest.raises(InputError, match=r"--gate mad\.frame=\+1%: not measured here; found images without truth"):
        waterfall(folder, given(images, None), gate=paired.limits("mad=+1%"))


def test_weights_of_another_network_are_refused(folder: Exported, samples: ParitySet, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match=r"other\.safetensors: SHA-256 .*was made from"):
        waterfall(folder, samples, weights=[tmp_path / "other.safetensors"])
    with pytest.raises(InputError, match="no such file"):
        waterfall(folder, samples, weights=[tmp_path / "none.safetensors"])


def test_clips_give_flicker(folder: Exported, samples: ParitySet) -> None:
    small = dataclasses.replace(folder, entries=folder.entries[:1])
    with_clips = given(samples.images, samples.truth, clips=2)
    found = waterfall(small, with_clips, metrics=["mad"], gate=paired.limits("dtssd=+900%"))
    assert found.metrics == ("mad", "dtssd")
    figure = found.step("onnx fp32").figure("dtssd")
    assert figure is not None
    assert figure.count == 2
    assert found


def test_a_step_says_one_thing() -> None:
    with pytest.raises(ValueError, match="step x: kind 'y', expected one of start, "):
        Step("x", "float", kind="y")
    with pytest.raises(ValueError, match="step x: 0 figures, although not run: gone"):
        Step("x", "float", moved=0.0, missing="gone")
