"""The losses, on numbers worked out by hand or by SciPy, and on their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

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
