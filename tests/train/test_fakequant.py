"""Fake quantization by hand: values as ONNX takes them, gradients as LSQ states them, halves where they are safe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgemat.quantize.grid import QParams
from edgemat.train.fakequant import Geometry, convolve, fake_quantize, open_quantize


def stated(x: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """LSQ's own statement: straight through the rounding, and the scale's gradient divided by sqrt(N Q)."""
    factor = (x.numel() // scale.numel() * high) ** -0.5
    scale = scale * factor + (scale * (1 - factor)).detach()
    steps = (x / scale).clamp(low, high)
    return (steps + (torch.round(steps) - steps).detach()) * scale


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-100, 155), (-128, 127)])
def test_codes_are_those_of_the_grid(low: int, high: int) -> None:
    x = torch.randn(2, 3, 8, 8) * 4
    found = fake_quantize(x, torch.tensor(0.031), low, high).numpy()
    params = QParams(0.031, -low, 0, 255) if low > -128 else QParams(0.031, 0, -128, 127)
    np.testing.assert_array_equal(found, params.reals(params.codes(x.numpy())))


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-100, 155), (-7, 7)])
@pytest.mark.parametrize("channels", [False, True])
def test_gradients_are_those_of_learned_step_sizes(low: int, high: int, channels: bool) -> None:
    x = torch.randn(4, 3, 8, 8, dtype=torch.float32) * 3
    scale = torch.tensor([0.011, 0.02, 0.4, 0.03]).view(4, 1, 1, 1) if channels else torch.tensor(0.0171)
    weight = torch.randn_like(x)
    grads = []
    for quantize in (fake_quantize, stated):
        a, s = x.clone().requires_grad_(), scale.clone().requires_grad_()
        (quantize(a, s, low, high) * weight).sum().backward()
        assert a.grad is not None
        assert s.grad is not None
        grads.append((a.grad, s.grad))
    torch.testing.assert_close(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-3, atol=1e-5)


def test_a_fixed_scale_gets_no_gradient() -> None:
    x, scale = torch.randn(1, 1, 2, 2, requires_grad=True), torch.tensor(0.1)
    fake_quantize(x, scale, 0, 255).sum().backward()
    assert scale.grad is None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (x > 0).float())


def test_an_open_end_rounds_inside_and_lets_all_gradients_through() -> None:
    x = torch.tensor([-0.3, 0.26, 0.9, 1.7], requires_grad=True)
    found = open_quantize(x, torch.tensor(0.25), 0, 4)
    torch.testing.assert_close(found, torch.tensor([-0.3, 0.25, 1.0, 1.7]))
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 4


@pytest.mark.parametrize("groups", [1, 4])
def test_half_gradients_leave_the_forward_as_it_is_and_are_close(groups: int) -> None:
    x, w, b = torch.randn(2, 4, 8, 8), torch.randn(4, 4 // groups, 3, 3), torch.randn(4)
    how = Geometry((2, 2), (1, 1), (1, 1), groups)
    outputs, grads = [], []
    for half in (False, True):
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        outputs.append(convolve(*leaves, how, half))
        outputs[-1].square().sum().backward()
        grads.append([t.grad for t in leaves])
    assert torch.equal(*outputs)
    for one, other in zip(*grads, strict=True):
        assert one is not None
        assert other is not None
        assert float((one - other).norm() / one.norm()) < 0.01
