"""The stages: their losses by hand, the teacher's word asked or read, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.model.predict import predict_teacher
from edgemat.model.student import Student, StudentConfig
from edgemat.model.teacher import Teacher, TeacherConfig
from edgemat.train import losses, stages
from edgemat.train.batches import Batch
from edgemat.train.stages import TOTAL, StudentStage, TeacherStage

from .tiny import CARD, IMAGES, STUDENT, TEACHER, student_recipe, teacher, teacher_file, teacher_recipe


def plane(*quarters: float) -> torch.Tensor:
    """Return four quarters, top left to bottom right, as (1, 1, 32, 32)."""
    return torch.tensor(quarters).view(1, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)


IMAGE = torch.zeros(1, 3, 32, 32)
TRUTH = plane(1.0, 0.0, 0.5, 1.0)
LOGITS = plane(0.9, 0.2, 0.5, 2.0)  # the last one is beyond the clamp: 1.1
BATCH = Batch(IMAGE, TRUTH)


@pytest.mark.parametrize("likelihood", ["laplace", "gaussian"])
def test_a_teacher_learns_alpha_first_and_its_doubt_later(likelihood: str) -> None:
    recipe = teacher_recipe(teacher=replace(TEACHER, likelihood=likelihood), sure_after=10, nll=0.3, beta=0.0)
    stage, log_scale = TeacherStage(recipe), plane(-1.0, -2.0, 0.0, -3.0)
    before, after = (stage.losses((LOGITS, log_scale), BATCH, step) for step in (9, 10))
    error = np.array([0.1, 0.2, 0.0, 0.1])
    scale = np.exp([-1.0, -2.0, 0.0, -3.0])
    if likelihood == "laplace":
        nll = (error / scale + np.log(scale)).mean()
    else:  # the scale is the standard deviation
        nll = (error**2 / scale**2 / 2 + np.log(scale)).mean()
    plain = float(losses.plain(LOGITS, TRUTH))
    assert float(before[TOTAL]) == pytest.approx(plain)
    assert float(after[TOTAL]) == pytest.approx(plain + 0.3 * nll, rel=1e-5)
    for terms in (before, after):
        assert float(terms["alpha"]) == pytest.approx(plain)
        assert float(terms["nll"]) == pytest.approx(nll, rel=1e-5)


def test_the_teachers_beta_reaches_the_likelihood() -> None:
    log_scale = plane(-1.0, -2.0, 0.0, -3.0)
    stage = TeacherStage(teacher_recipe(sure_after=0, nll=1.0, beta=0.5))
    expected = losses.laplace_nll(losses.leaky_clamp(LOGITS) - TRUTH, log_scale, 0.5)
    assert float(stage.losses((LOGITS, log_scale), BATCH, 0)["nll"]) == pytest.approx(float(expected))


@pytest.mark.parametrize(("step", "learns"), [(0, False), (5, True)])
def test_every_parameter_has_a_gradient_from_the_first_step(step: int, learns: bool) -> None:
    """Several processes wait for every parameter's gradient; that of doubt is 0 at first."""
    net, stage = teacher().train(), TeacherStage(teacher_recipe(sure_after=5))
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    truth = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    stage.losses(net.logits(pixels), Batch(pixels, truth), step)[TOTAL].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in net.parameters())
    assert net.doubt[-1].weight.grad is not None
    assert bool(net.doubt[-1].weight.grad.abs().sum() > 0) is learns  # type: ignore[operator,union-attr]


def distilling(**changes: object) -> StudentStage:
    recipe = student_recipe(**{"teacher_share": 0.25, "weighting": "up", "strength": 4.0, "bfloat16": False, **changes})
    return StudentStage(recipe, teacher(), IMAGES)


TARGET = plane(0.8, 0.1, 0.5, 1.0)
WORD = Batch(IMAGE, TRUTH, TARGET, plane(0.0, 0.05, 0.1, 0.4))


@pytest.mark.parametrize("kind", ["none", "up", "down"])
def test_distillation_by_hand(kind: str) -> None:
    stage = distilling(weighting=kind)
    assert stage.weighting is not None
    stage.weighting = replace(stage.weighting, reference=0.2, mean_u=0.5)
    terms = stage.losses(LOGITS, WORD, 0)
    alpha, u = np.array([0.9, 0.2, 0.5, 1.1]), np.array([0, 0.25, 0.5, 1.0])
    truth_weight = {"none": 1.0, "up": (1 + 4 * u) / 3, "down": (1 - u) / 0.5}[kind]
    target_weight = 1.0 if kind == "none" else (1 - u) / 0.5
    truth = (truth_weight * np.abs(alpha - [1, 0, 0.5, 1])).mean()
    target = (target_weight * np.abs(alpha - [0.8, 0.1, 0.5, 1])).mean()
    truth += edges(TRUTH, truth_weight)
    target += edges(TARGET, target_weight)
    assert float(terms["truth"]) == pytest.approx(truth, rel=1e-5)
    assert float(terms["teacher"]) == pytest.approx(target, rel=1e-5)
    assert float(terms[TOTAL]) == pytest.approx(0.75 * truth + 0.25 * target, rel=1e-5)


def edges(goal: torch.Tensor, weight: object) -> float:
    """Return the Laplacian term of the four values, each of which stands in its own quarter."""
    weights = plane(*np.broadcast_to(np.asarray(weight, np.float64), 4))
    return float(losses.laplacian(losses.leaky_clamp(LOGITS), goal, weight=weights))


def test_a_weighting_alone_needs_no_share() -> None:
    stage = distilling(teacher_share=0.0)
    assert stage.weighting is not None
    terms = stage.losses(LOGITS, WORD, 0)
    weight = stage.weighting.truth(WORD.uncertainty)  # type: ignore[arg-type]
    alpha = losses.leaky_clamp(LOGITS)
    expected = losses.weighted_l1(alpha, TRUTH, weight) + losses.laplacian(alpha, TRUTH, weight=weight)
    assert float(terms[TOTAL]) == pytest.approx(float(expected))


def test_a_recipe_without_a_teacher_is_the_plain_loss_and_asks_none() -> None:
    stage = StudentStage(student_recipe())
    assert stage.prepare(BATCH) is BATCH
    assert float(stage.losses(LOGITS, WORD, 0)[TOTAL]) == pytest.approx(float(losses.plain(LOGITS, TRUTH)))
    assert stage.constants == {}


def test_the_teacher_is_asked_where_the_batch_brings_no_word() -> None:
    stage = distilling()
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    batch = stage.prepare(Batch(pixels, torch.zeros(4, 1, 32, 32)))
    alpha, uncertainty = predict_teacher(teacher(), IMAGES, flip=True)
    assert batch.teacher is not None
    assert batch.uncertainty is not None
    np.testing.assert_allclose(batch.teacher[:, 0].numpy(), alpha, atol=1e-6)
    np.testing.assert_allclose(batch.uncertainty[:, 0].numpy(), uncertainty, atol=1e-6)
    assert not batch.teacher.requires_grad
    assert float(batch.teacher.std()) > 0.01  # the word says something


def test_the_teacher_is_not_asked_again() -> None:
    stage = distilling()
    stage.teacher = None
    assert stage.prepare(WORD) is WORD


def test_the_constants_are_measured_on_the_representative_images() -> None:
    uncertainty = predict_teacher(teacher(), IMAGES)[1]
    reference = float(np.percentile(uncertainty, 99))
    assert distilling().constants == pytest.approx(
        {"reference": reference, "mean_u": float(np.minimum(uncertainty / reference, 1).mean(dtype=np.float64))}
    )


@pytest.mark.parametrize("changes", [{"teacher_share": 0.5}, {"weighting": "up"}])
def test_a_recipe_that_needs_a_teacher_says_so(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"need a teacher; give one with --teacher"):
        StudentStage(student_recipe(**changes))


@pytest.mark.parametrize("doubt", [0.0, 0.25])
def test_a_teacher_whose_doubt_says_nothing_is_refused(doubt: float, monkeypatch: pytest.MonkeyPatch) -> None:
    even = np.full((4, 32, 32), doubt, np.float32)
    monkeypatch.setattr(stages, "predict_teacher", lambda net, images: (even, even))
    with pytest.raises(InputError, match=r"--teacher: uncertainty is .*judge it with: edgemat uncertainty"):
        distilling()


def test_a_teacher_begins_with_given_weights_of_its_own_kind(tmp_path: Path) -> None:
    path = teacher_file(tmp_path / "t.safetensors")
    built = TeacherStage(teacher_recipe()).build(path)
    given = weights.load_teacher(path).net.state_dict()
    assert built.training
    assert all(torch.equal(value, given[name]) for name, value in built.state_dict().items())
    other = teacher_recipe(teacher=TeacherConfig(widths=(8, 8), depths=(0, 1)))
    with pytest.raises(InputError, match=r"--init .*t\.safetensors: a teacher of"):
        TeacherStage(other).build(path)


def test_each_stage_saves_its_own_kind(tmp_path: Path) -> None:
    TeacherStage(teacher_recipe()).save(teacher(), tmp_path / "t.safetensors", CARD, None)
    StudentStage(student_recipe()).save(Student(STUDENT), tmp_path / "s.safetensors", CARD, None)
    assert weights.file_format(tmp_path / "t.safetensors") == weights.TEACHER_FORMAT
    assert weights.file_format(tmp_path / "s.safetensors") == weights.FORMAT


def test_predictions_bring_doubt_only_of_a_teacher() -> None:
    alpha, uncertainty = TeacherStage(teacher_recipe()).predict(teacher(), IMAGES)
    assert uncertainty is not None
    assert alpha.shape == uncertainty.shape == IMAGES.shape[:3]
    assert StudentStage(student_recipe()).predict(Student(STUDENT), IMAGES)[1] is None


def test_a_gaussian_teachers_uncertainty_is_the_mean_of_a_folded_normal() -> None:
    net = Teacher(replace(TEACHER, likelihood="gaussian"))
    assert float(net.uncertainty(torch.tensor(math.log(0.3)))) == pytest.approx(0.3 * math.sqrt(2 / math.pi))


def test_kept_weights_lie_between_the_first_and_the_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, trained = Student(STUDENT), Student(STUDENT)
    trained.downs[0][1].num_batches_tracked.fill_(7)  # type: ignore[index,operator,union-attr]
    weights.save(first, tmp_path / "first.safetensors", CARD)
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    stage = StudentStage(student_recipe(keep_init=0.25))
    stage.save(trained, tmp_path / "kept.safetensors", CARD, tmp_path / "first.safetensors")
    kept = weights.load(tmp_path / "kept.safetensors").net.state_dict()
    for name, value in first.state_dict().items():
        expected = 0.75 * before[name] + 0.25 * value if value.is_floating_point() else before[name]
        torch.testing.assert_close(kept[name], expected)


def test_keeping_needs_weights_of_the_same_network(tmp_path: Path) -> None:
    stage = StudentStage(student_recipe(keep_init=0.25))
    with pytest.raises(InputError, match="give --init"):
        stage.check(None)
    weights.save(Student(StudentConfig(widths=(8, 8, 16), depths=(1, 1, 1))), tmp_path / "s.safetensors", CARD)
    with pytest.raises(InputError, match=r"--init .*s\.safetensors: a student of"):
        stage.build(tmp_path / "s.safetensors")
