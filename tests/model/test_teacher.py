"""The teacher: shapes, ranges, scales of its error, and configurations that are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgemat.model.predict import predict_teacher
from edgemat.model.student import Normalization
from edgemat.model.teacher import EXPECTED_ERROR, Teacher, TeacherConfig

SMALL = TeacherConfig(widths=(4, 8), depths=(0, 1))


def small(config: TeacherConfig = SMALL) -> Teacher:
    torch.manual_seed(0)
    return Teacher(config).eval()


def test_alpha_and_scale_have_the_images_size() -> None:
    net = small(TeacherConfig(widths=(4, 8, 8), depths=(1, 0, 1)))
    assert net.config.stride == 8
    alpha, log_scale = net(torch.rand(2, 3, 48, 64))
    assert alpha.shape == log_scale.shape == (2, 1, 48, 64)
    assert alpha.dtype == log_scale.dtype == torch.float32


def test_alpha_is_the_clamped_logits_and_reaches_both_ends() -> None:
    net = small()
    torch.nn.init.normal_(net.alpha.weight, std=10.0)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (logits, _), (alpha, _) = net.logits(image), net(image)
    assert torch.equal(alpha, logits.clamp(0, 1))
    assert (float(alpha.min()), float(alpha.max())) == (0.0, 1.0)
    assert float(logits.min()) < 0 < 1 < float(logits.max())


@pytest.mark.parametrize(("push", "end"), [(-1e4, -4.0), (1e4, 0.25)])
def test_the_scale_is_bounded_however_hard_it_is_pushed(push: float, end: float) -> None:
    net = small(TeacherConfig(widths=(4, 8), depths=(0, 1), log_scale=(-4.0, 0.25)))
    torch.nn.init.constant_(net.doubt[-1].bias, push)  # type: ignore[arg-type]
    with torch.no_grad():
        _, log_scale = net(torch.rand(1, 3, 32, 32))
    torch.testing.assert_close(log_scale, torch.full_like(log_scale, end))


def test_the_normalisation_is_applied_once() -> None:
    norm = Normalization((0.1, 0.4, 0.7), (0.2, 0.3, 0.5))
    plain, other = small(), small(TeacherConfig(widths=(4, 8), depths=(0, 1), normalization=norm))
    assert plain.config.normalization != norm
    image = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (norm.mean, norm.std))
    same = (image - mean) / std * plain.std + plain.mean  # what the other's normalisation makes of the image
    with torch.no_grad():
        torch.testing.assert_close(other.logits(image), plain.logits(same), atol=1e-5, rtol=1e-5)


def test_uncertainty_is_the_expected_absolute_error_of_the_likelihood() -> None:
    """Against draws: the mean of |error| for errors of that distribution and scale."""
    rng = np.random.default_rng(0)
    scale = 0.2
    drawn = {"laplace": rng.laplace(0, scale, 200_000), "gaussian": rng.normal(0, scale, 200_000)}
    assert drawn.keys() == EXPECTED_ERROR.keys()
    for likelihood, errors in drawn.items():
        net = Teacher(TeacherConfig(widths=(4, 8), depths=(0, 1), likelihood=likelihood))
        found = float(net.uncertainty(torch.tensor(math.log(scale))))
        assert found == pytest.approx(float(np.abs(errors).mean()), rel=0.01)


def test_predictions_are_those_of_the_network_in_any_batch() -> None:
    net = small().train()
    torch.nn.init.normal_(net.doubt[-1].weight, std=0.5)  # type: ignore[arg-type]
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), np.uint8)
    alpha, uncertainty = predict_teacher(net, images, batch=2)
    assert not net.training
    assert alpha.shape == uncertainty.shape == (5, 32, 48)
    assert alpha.dtype == uncertainty.dtype == np.float32
    assert float(uncertainty.min()) > 0
    with torch.no_grad():
        last, log_scale = net(torch.from_numpy(images[4:].transpose(0, 3, 1, 2).astype(np.float32) / 255))
    np.testing.assert_allclose(alpha[4], last[0, 0].numpy(), atol=1e-6)
    np.testing.assert_allclose(uncertainty[4], log_scale[0, 0].exp().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"likelihood": "cauchy"}, "likelihood 'cauchy', expected one of laplace, gaussian"),
        ({"widths": (8,), "depths": (1,)}, "expected two or more numbers of at least 4"),
        ({"widths": (2, 8), "depths": (0, 0)}, "expected two or more numbers of at least 4"),
        ({"widths": (8, 8), "depths": (1,)}, "expected 2 numbers of at least 0"),
        ({"widths": (8, 8), "depths": (1, -1)}, "expected 2 numbers of at least 0"),
        ({"log_scale": (0.5, -6.0)}, "expected a lower and a higher bound"),
    ],
)
def test_impossible_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeacherConfig(**values)  # type: ignore[arg-type]
