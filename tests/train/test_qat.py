"""A network on its grid: computes what the integer file computes, learns, stays within the rules, and resumes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from edgemat.data.types import Example
from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _trunk
from edgemat.export._target import Trunk
from edgemat.model import weights as files
from edgemat.model.student import Student, StudentConfig
from edgemat.quantize import checkpoint, rules
from edgemat.quantize import graph as graphs
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.grid import Grid
from edgemat.quantize.reference import Reference
from edgemat.quantize.scheme import SCHEMES, Scheme
from edgemat.train import loop, losses
from edgemat.train.checkpoint import load
from edgemat.train.qat import QuantizedNet
from edgemat.train.qatstage import QatStage
from edgemat.train.recipe import QatRecipe
from edgemat.train.stages import TOTAL

from .test_resume import StoppedError, same, stop_at
from .tiny import CARD, IMAGES, VALIDATION, square, teacher

Pixels = npt.NDArray[np.uint8]
_VALUES = {"size": 32, "steps": 6, "batch": 2, "warmup": 2, "checkpoint_every": 2, "validate_every": 3, "workers": 0}


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """Return the trunk of a student with depthwise convolutions and ReLU6."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mobile")
    net = Student(StudentConfig("mobile", (8, 8, 16), (1, 1, 1)))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    files.save(net, folder / "m.safetensors", CARD)
    return onnx.load(_trunk.from_student(folder / "m.safetensors", 64, 64, folder / "trunk.onnx").path)


def parts(model: onnx.ModelProto, images: Pixels, scheme: Scheme) -> tuple[graphs.Graph, Grid]:
    return graphs.of(model), calibrate(model, images, scheme, "mse")


def pixels(images: Pixels) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def trained(net: QuantizedNet, images: Pixels, steps: int = 8) -> float:
    """Take a few steps that move weights and scales; return by how much the loss fell."""
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    target = torch.rand(len(images), 1, 64, 64, generator=torch.Generator().manual_seed(0)).round()
    found = []
    net.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = losses.plain(net.logits(pixels(images)), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(float(loss.detach()))
    return found[0] - found[-1]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
@pytest.mark.parametrize("arch", ["friendly", "mobile"])
def test_what_is_trained_is_what_the_integers_compute(
    scheme: Scheme, arch: str, trunk: Trunk, mobile: onnx.ModelProto, images: Pixels
) -> None:
    """Fresh and after steps that moved every scale; the trained grid breaks no rule."""
    model = mobile if arch == "mobile" else onnx.load(trunk.path)
    graph, grid = parts(model, images, scheme)
    net = QuantizedNet(graph, grid)
    for moved in (False, True):
        if moved:
            assert trained(net, images) > 0
        learned = net.grid({})
        assert rules.complaints(graph, learned) == []
        student = net.student(StudentConfig(arch, (8, 8, 16), (1, 1, 1)))
        constants = {
            **graph.constants,
            **{k: v.numpy() for k, v in student.state_dict().items() if k in graph.constants},
        }
        expected = Reference(replace(graph, constants=constants), learned).run(images)
        with torch.no_grad():
            alpha = net.eval()(pixels(images))[:, 0].numpy()
        apart = np.rint(np.abs(alpha - expected) * 255)
        assert (apart <= 1).mean() >= 0.999
        assert (apart == 0).mean() >= 0.9  # one tie that float32 breaks elsewhere moves many pixels of a net so small
    assert any(learned.activations[name] != grid.activations[name] for name in grid.activations)


def test_a_bias_that_is_not_rounded_would_be_noticed(trunk: Trunk, images: Pixels) -> None:
    """A fault planted: a bias half a code away in every channel is another network."""
    graph, grid = parts(onnx.load(trunk.path), images, Scheme())
    net = QuantizedNet(graph, grid).eval()
    with torch.no_grad():
        right = net(pixels(images))
        net.biases["head:bias"] += 1.5 / 255
        assert float((net(pixels(images)) - right).abs().max()) >= 0.99 / 255


def test_groups_share_a_scale_and_ends_have_none(trunk: Trunk, images: Pixels) -> None:
    graph, grid = parts(onnx.load(trunk.path), images, Scheme())
    net = QuantizedNet(graph, grid)
    shared = [names for names in rules.groups(graph) if len(names) > 1]
    assert shared
    assert len(net.scales) == len(rules.groups(graph)) - 2  # the image's and alpha's are fixed
    assert not {name.replace(":", ".") for name in net.scales} & set(rules.fixed(graph, Scheme()))


def test_a_clips_bound_holds_while_scales_grow(mobile: onnx.ModelProto, images: Pixels) -> None:
    graph, grid = parts(mobile, images, Scheme())
    net = QuantizedNet(graph, grid)
    with torch.no_grad():
        for scale in net.scales.values():
            scale += 5.0
    assert rules.complaints(graph, net.grid({})) == []
    tops = rules.bounds(graph)
    assert any(abs(params.top - tops.get(name, 0)) < 1e-4 for name, params in net.grid({}).activations.items())


def test_a_bias_that_the_file_leaves_out_is_learned_all_the_same(images: Pixels, tmp_path: Path) -> None:
    """Exporters drop a bias of zeros, as fresh batch normalisation gives to every convolution."""
    files.save(Student(config := StudentConfig("friendly", (8, 8, 16), (0, 0, 1))), tmp_path / "s.safetensors", CARD)
    model = onnx.load(_trunk.from_student(tmp_path / "s.safetensors", 64, 64, tmp_path / "trunk.onnx").path)
    graph, grid = parts(model, images, Scheme())
    assert "laterals.1.bias" not in graph.constants
    net = QuantizedNet(graph, grid)
    trained(net, images)
    assert net.student(config).state_dict()["laterals.1.bias"].abs().min() > 0


def test_what_cannot_be_trained_is_refused(trunk: Trunk, images: Pixels) -> None:
    graph, grid = parts(onnx.load(trunk.path), images, Scheme())
    with pytest.raises(InputError, match=r"downs\.0: kept in float"):
        QuantizedNet(graph, replace(grid, kept=frozenset({"downs.0"})))
    few = {k: v for k, v in grid.activations.items() if k != "downs.0.relu"}
    with pytest.raises(InputError, match=r"downs\.0\.relu: no scale"):
        QuantizedNet(graph, replace(grid, activations=few))
    nodes = tuple(replace(n, op="Identity") if n.op == "DepthToSpace" else n for n in graph.nodes)
    with pytest.raises(UnsupportedOpError, match="Identity"):
        QuantizedNet(replace(graph, nodes=nodes), grid)


def recipe(**changes: object) -> QatRecipe:
    return QatRecipe(**{**_VALUES, **changes})  # type: ignore[arg-type]


@pytest.fixture
def staged(trunk: Trunk, weights: Path, images: Pixels) -> Callable[..., QatStage]:
    """Return what makes a stage."""
    model = onnx.load(trunk.path)

    def make(**changes: object) -> QatStage:
        told = recipe(**changes)
        graph, grid = parts(model, images, Scheme.parse(told.scheme))
        student = files.load(weights).net.deploy()
        return QatStage(told, student, graph, grid, teacher() if told.needs_teacher else None, IMAGES)

    return make


def train(stage: QatStage, out: Path, source: Callable[[int], Example] = square) -> bool:
    return loop.train(stage, source, VALIDATION, out, card=CARD)


def test_a_resumed_run_is_bit_identical(staged: Callable[..., QatStage], tmp_path: Path) -> None:
    """Stopped before the scales freeze, and gone on with after."""
    assert train(staged(), tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(staged(), tmp_path / "parts", stop_at(3))
    assert load(tmp_path / "parts" / loop.CHECKPOINT).step == 2
    assert train(staged(), tmp_path / "parts")
    for name in (loop.CHECKPOINT, "student-static_w8c_a8.safetensors"):
        assert same(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_another_student_is_not_gone_on_with(staged: Callable[..., QatStage], tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(staged(), tmp_path, stop_at(3))
    stage = staged()
    stage.constants = {**stage.constants, "init": stage.constants["init"] * 1.1}
    with pytest.raises(InputError, match="init"):
        train(stage, tmp_path)


def test_frozen_scales_stay_while_weights_move(staged: Callable[..., QatStage], tmp_path: Path) -> None:
    states = []
    for stop in (4, 6):
        stage = staged(frozen_after=0.5, learning_rate=1e-3)
        with contextlib.suppress(StoppedError):
            train(stage, tmp_path, stop_at(stop))
        states.append(load(tmp_path / loop.CHECKPOINT).part("model"))
    moved = {name for name, value in states[0].items() if not torch.equal(value, states[1][name])}
    assert {name.split(".")[0] for name in moved} == {"weights", "biases"}


def test_the_result_is_whole_and_says_how_it_came_about(staged: Callable[..., QatStage], tmp_path: Path) -> None:
    assert train(staged(scheme="static_w8c_a8s"), tmp_path)
    found = checkpoint.load(tmp_path / "student-static_w8c_a8s.safetensors")
    assert found.grid.scheme.symmetric
    assert (found.grid.passport["engine"], found.grid.passport["scales_frozen_from_step"]) == ("qat", 4)
    assert "learned since" in str(found.grid.passport["notes"])
    trunk = _trunk.from_student(tmp_path / "student-static_w8c_a8s.safetensors", 64, 64, tmp_path / "trunk.onnx")
    assert trunk.grid is not None


def test_keeping_all_of_the_first_weights_gives_them_back(staged: Callable[..., QatStage], tmp_path: Path) -> None:
    stage = staged(keep_init=1.0)
    train(stage, tmp_path)
    found = checkpoint.load(tmp_path / stage.weights_name)
    for name, value in stage.student.state_dict().items():
        torch.testing.assert_close(found.net.state_dict()[name], value)
    scales = {name: params.scale for name, params in found.grid.activations.items()}
    assert scales == pytest.approx({name: params.scale for name, params in stage.grid.activations.items()})


def test_the_loss_joins_truth_and_the_float_student(staged: Callable[..., QatStage]) -> None:
    stage = staged(student_share=0.25, weighting="none")
    batch = stage.prepare(loop.Batch(pixels(IMAGES), torch.rand(4, 1, 32, 32)))
    assert batch.teacher is not None
    torch.testing.assert_close(batch.teacher, stage.student(pixels(IMAGES)))
    terms = stage.losses(batch.teacher, batch, 0)
    truth = float(losses.matting(batch.teacher, batch.alpha))
    assert float(terms["student"]) == 0.0
    assert float(terms[TOTAL]) == pytest.approx(0.75 * truth)
    edged = staged(student_share=0.25, weighting="none", edges=2.0).losses(batch.teacher, batch, 0)
    expected = 0.75 * truth + 2.0 * float(losses.edges(batch.teacher, batch.alpha))
    assert float(edged[TOTAL]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheme": "int8"},
        {"method": "guess"},
        {"student_share": 2.0},
        {"weighting": "sideways"},
        {"calibration": 0},
        {"edges": -1.0},
    ],
)
def test_a_recipe_refuses_what_cannot_be_trained(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        recipe(**wrong)
