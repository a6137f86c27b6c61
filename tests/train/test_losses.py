"""The losses, on numbers worked out by hand or by SciPy, and on their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from edgemat import metrics
from edgemat.train import losses


def test_leaky_clamp_learns_outside() -> None:
    x = torch.tensor([-2.0, 0.25, 3.0], requires_grad=True)
    losses.leaky_clamp(x, 0.1).sum().backward()
    assert torch.allclose(x.grad, torch.tensor([0.1, 1.0, 0.1]))  # type: ignore[arg-type]


def test_the_pyramid_is_scipys() -> None:
    x = np.random.default_rng(0).random((2, 1, 32, 32))
    bands = losses.laplacian_pyramid(torch.from_numpy(x), 2)
    taps = np.array([1, 4, 6, 4, 1]) / 16
    low = ndimage.correlate1d(ndimage.correlate1d(x, taps, 2, mode="nearest"), taps, 3, mode="nearest")[:, :, ::2, ::2]
    up = torch.nn.functional.interpolate(torch.from_numpy(low), (32, 32), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bands[0].numpy(), x - up.numpy(), atol=1e-12)
    assert bands[1].shape == (2, 1, 16, 16)


def test_laplacian_weighs_the_levels() -> None:
    truth = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    spot = truth.clone()
    spot[0, 0, 16, 16] = 1.0
    bands = losses.laplacian_pyramid(spot, 3)
    by_hand = sum(2.0**level * float(b.abs().mean()) for level, b in enumerate(bands)) / 3
    assert float(losses.laplacian(spot, truth, 3)) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand > 0


def test_laplacian_weighs_a_coarse_pixel_by_the_mean_of_what_it_stands_for() -> None:
    generator = torch.Generator().manual_seed(3)
    truth, found, weight = (torch.rand(2, 1, 32, 32, dtype=torch.float64, generator=generator) for _ in range(3))
    total = 0.0
    for level, band in enumerate(losses.laplacian_pyramid(found - truth, 3)):
        side = 2**level
        blocks = weight.numpy().reshape(2, 1, 32 // side, side, 32 // side, side).mean((3, 5))
        total += side * float((blocks * band.abs().numpy()).mean()) / 3
    assert float(losses.laplacian(found, truth, 3, weight)) == pytest.approx(total, rel=1e-12)
    even = losses.laplacian(found, truth, 3, torch.full_like(weight, 2.0))
    assert float(even) == pytest.approx(2.0 * float(losses.laplacian(found, truth, 3)), rel=1e-12)
    weight.requires_grad_()
    assert not losses.laplacian(found, truth, 3, weight).requires_grad


def test_a_constant_offset_is_only_l1() -> None:
    truth = torch.full((1, 1, 32, 32), 0.25)
    assert float(losses.plain(truth + 0.5, truth)) == pytest.approx(0.5, abs=1e-6)


def test_the_gradient_of_the_plain_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(1, 1, 32, 32, dtype=torch.float64, generator=generator).requires_grad_()
    truth = torch.rand(1, 1, 32, 32, dtype=torch.float64, generator=generator)
    # One direction is enough: the loss is piecewise linear, so finite differences are exact away from its kinks.
    direction = torch.randn(logits.shape, dtype=torch.float64, generator=generator)
    losses.plain(logits, truth).backward()
    step = 1e-7
    with torch.no_grad():
        ahead, behind = (losses.plain(logits + s * step * direction, truth) for s in (1, -1))
    assert logits.grad is not None
    assert float((logits.grad * direction).sum()) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-4)


ERRORS = torch.tensor([-0.7, -0.02, 0.3, 0.9], dtype=torch.float64)
SCALES = torch.tensor([-3.0, -0.5, 0.2, -1.5], dtype=torch.float64)


def gradients(loss: Callable[..., torch.Tensor], *values: torch.Tensor) -> list[torch.Tensor]:
    """Return the gradient of a loss in each of its arguments."""
    leaves = [v.clone().requires_grad_() for v in values]
    return list(torch.autograd.grad(loss(*leaves), leaves))


def test_the_likelihoods_by_hand() -> None:
    e, s = torch.tensor([0.5, -0.25]), torch.tensor([math.log(2.0), 0.0])
    assert float(losses.laplace_nll(e, s)) == pytest.approx((0.25 + math.log(2) + 0.25) / 2)
    assert float(losses.laplace_nll(e, s, 1.0)) == pytest.approx((2 * (0.25 + math.log(2)) + 0.25) / 2)
    assert float(losses.gaussian_nll(e, s)) == pytest.approx((0.125 / 2 + math.log(2) / 2 + 0.03125) / 2)
    assert float(losses.gaussian_nll(e, s, 1.0)) == pytest.approx((0.125 + math.log(2) + 0.03125) / 2)


def test_the_likelihoods_are_scipys_but_for_a_constant() -> None:
    e, s = ERRORS.numpy(), SCALES.numpy()
    laplace = -stats.laplace.logpdf(e, scale=np.exp(s)).mean() - math.log(2)
    assert float(losses.laplace_nll(ERRORS, SCALES)) == pytest.approx(laplace, rel=1e-12)
    normal = -stats.norm.logpdf(e, scale=np.exp(s / 2)).mean() - math.log(2 * math.pi) / 2
    assert float(losses.gaussian_nll(ERRORS, SCALES)) == pytest.approx(normal, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_gradient_of_the_laplace_likelihood(beta: float) -> None:
    error, scale = gradients(lambda e, s: losses.laplace_nll(e, s, beta), ERRORS, SCALES)
    weight = SCALES.exp() ** beta / 4  # of the mean over four, and without a gradient of its own
    torch.testing.assert_close(error, weight * ERRORS.sign() * torch.exp(-SCALES))
    torch.testing.assert_close(scale, weight * (1 - ERRORS.abs() * torch.exp(-SCALES)))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_gradient_of_the_gaussian_likelihood(beta: float) -> None:
    error, variance = gradients(lambda e, s: losses.gaussian_nll(e, s, beta), ERRORS, SCALES)
    weight = SCALES.exp() ** beta / 4
    torch.testing.assert_close(error, weight * ERRORS * torch.exp(-SCALES))
    torch.testing.assert_close(variance, weight * 0.5 * (1 - ERRORS.square() * torch.exp(-SCALES)))


@pytest.mark.parametrize("loss", [losses.laplace_nll, losses.gaussian_nll])
def test_the_likelihoods_against_finite_differences(loss: Callable[..., torch.Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (ERRORS.clone().requires_grad_(), SCALES.clone().requires_grad_()))


def test_at_beta_1_alpha_is_pulled_as_plain_l1_pulls_it() -> None:
    error, _ = gradients(lambda e, s: losses.laplace_nll(e, s, 1.0), ERRORS, SCALES)
    (plain,) = gradients(lambda e: losses.weighted_l1(e, torch.zeros_like(e)), ERRORS)
    torch.testing.assert_close(error, plain)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("loss", "best"),
    [(losses.laplace_nll, ERRORS.abs().log()), (losses.gaussian_nll, ERRORS.square().log())],
    ids=["laplace", "gaussian"],
)
def test_a_likelihood_is_least_where_the_scale_is_the_error(
    loss: Callable[..., torch.Tensor], best: torch.Tensor, beta: float
) -> None:
    _, scale = gradients(lambda e, s: loss(e, s, beta), ERRORS, best)
    torch.testing.assert_close(scale, torch.zeros_like(scale), atol=1e-12, rtol=0)
    for step in (-0.1, 0.1):
        assert float(loss(ERRORS, best + step)) > float(loss(ERRORS, best))


@pytest.mark.parametrize("loss", [losses.laplace_nll, losses.gaussian_nll])
@pytest.mark.parametrize("log_scale", [-12.0, -6.0, 0.5, 1.0])
def test_the_likelihoods_stay_finite_at_both_ends_of_the_scale(
    loss: Callable[..., torch.Tensor], log_scale: float
) -> None:
    e = torch.tensor([0.0, 1e-30, -1.0, 1.0])
    s = torch.full_like(e, log_scale)
    for beta in (0.0, 0.5, 1.0):
        assert math.isfinite(float(loss(e, s, beta)))
        for gradient in gradients(lambda e, s, beta=beta: loss(e, s, beta), e, s):
            assert torch.isfinite(gradient).all()


def test_weighted_l1_by_hand_and_its_gradient() -> None:
    alpha, target = torch.tensor([0.75, 0.5, 0.0]), torch.tensor([0.25, 1.0, 0.0])
    weight = torch.tensor([2.0, 0.5, 9.0])
    assert float(losses.weighted_l1(alpha, target)) == pytest.approx(1 / 3)
    assert float(losses.weighted_l1(alpha, target, weight)) == pytest.approx((1.0 + 0.25 + 0.0) / 3)
    (gradient,) = gradients(lambda a: losses.weighted_l1(a, target, weight), alpha)
    torch.testing.assert_close(gradient, torch.tensor([2.0, -0.5, 0.0]) / 3)


def test_no_gradient_goes_through_a_weight() -> None:
    alpha = torch.tensor([0.5, 1.0], requires_grad=True)
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    losses.weighted_l1(alpha, torch.zeros(2), weight).backward()
    assert alpha.grad is not None
    assert weight.grad is None


def test_the_leak_is_continuous_and_has_its_slope() -> None:
    x = torch.tensor([-3.0, -1e-9, 0.0, 0.5, 1.0, 1.0 + 1e-9, 4.0], dtype=torch.float64)
    torch.testing.assert_close(
        losses.leaky_clamp(x, 0.25), torch.tensor([-0.75, 0, 0, 0.5, 1, 1, 1.75], dtype=torch.float64)
    )
    smooth = torch.tensor([-2.0, -0.5, 0.3, 0.8, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses.leaky_clamp, (smooth,))


def test_a_pixel_beyond_the_right_end_is_pulled_back_by_little() -> None:
    """Alpha above 1 where truth is 1 costs nothing once clamped, so it should hardly matter; below 0 it must matter."""
    truth = torch.ones(1, 1, 32, 32)
    beyond = torch.full_like(truth, 1.5)
    wrong = torch.full_like(truth, -0.5)
    assert float(losses.plain(beyond, truth)) == pytest.approx(0.05, abs=1e-6)
    assert float(losses.plain(wrong, truth)) == pytest.approx(1.05, abs=1e-6)


def test_edges_see_where_alpha_changes_and_no_constant() -> None:
    """A ramp of slope a: smoothing keeps it, two pixels apart it differs by 2 a, and its square is the mean."""
    ramp = (0.01 * torch.arange(32.0)).expand(1, 1, 32, 32)
    zero = torch.zeros(1, 1, 32, 32)
    inner = losses.edges(ramp, zero)
    # The outermost columns see the replicated border: 4 of 30 differences are smaller.
    assert 0.02**2 * 26 / 30 < float(inner) < 0.02**2
    assert float(losses.edges(ramp.transpose(2, 3), zero)) == pytest.approx(float(inner))
    assert float(losses.edges(ramp + 0.3, ramp)) == pytest.approx(0.0, abs=1e-12)


def test_edges_follow_the_metric() -> None:
    """Softer and softer edges of a square: the loss rises as Grad does."""
    truth = torch.zeros(1, 1, 32, 32)
    truth[..., 8:24, 8:24] = 1.0
    soft = [torch.nn.functional.avg_pool2d(truth, k, 1, k // 2, count_include_pad=False) for k in (1, 3, 5, 7)]
    found = [float(losses.edges(alpha, truth)) for alpha in soft]
    measured = [float(metrics.grad(alpha[0, 0].numpy(), truth[0, 0].numpy())) for alpha in soft]
    assert found == sorted(found)
    assert measured == sorted(measured)
