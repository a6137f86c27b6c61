"""The student: exact folds, exact ends of alpha, and configurations that are refused."""

from __future__ import annotations

import pytest
import torch

from edgemat.model.student import (
    ARCHITECTURES,
    Normalization,
    Student,
    StudentConfig,
    _fold_normalization,
    count_macs,
)

ODD = Normalization((0.1, 0.4, 0.7), (0.2, 0.3, 0.5))


def small(arch: str = "friendly") -> Student:
    """A small student whose batch statistics and normalisation are not trivial."""
    torch.manual_seed(1)
    net = Student(StudentConfig(arch=arch, widths=(8, 16, 16), depths=(1, 1, 1), normalization=ODD))
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return net.eval()


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_deploy_is_the_same_function(arch: str) -> None:
    net = small(arch)
    deployed = net.deploy()
    image = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(deployed.logits(image), net.logits(image), atol=2e-5)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in deployed.modules())
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in net.modules())


def test_a_fold_that_is_left_out_would_show() -> None:
    net = small()
    deployed = net.deploy()
    deployed.downs[0].bias.data.zero_()  # type: ignore[union-attr]
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(deployed.logits(image), net.logits(image), atol=1e-2)


def test_normalisation_is_not_folded_into_a_padded_convolution() -> None:
    with pytest.raises(TypeError, match="unpadded convolution"):
        _fold_normalization(torch.nn.Conv2d(3, 4, 3, padding=1), ODD)


def test_alpha_reaches_both_ends_exactly() -> None:
    net = small()
    with torch.no_grad():
        net.head.weight.mul_(50)
        alpha = net(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert alpha.shape == (1, 1, 32, 32)
    assert float(alpha.min()) == 0.0
    assert float(alpha.max()) == 1.0


def test_forward_is_the_clamped_logits() -> None:
    net = small()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(image), net.logits(image).clamp(0, 1))


def test_the_default_student_keeps_its_promises() -> None:
    net = Student(StudentConfig())
    assert sum(p.numel() for p in net.parameters()) <= 1_200_000
    assert count_macs(net.eval(), 256, 256) < 300_000_000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arch": "huge"}, "arch 'huge', expected one of"),
        ({"widths": (8, 8)}, "expected three numbers"),
        ({"depths": (1, -1, 1)}, "expected three numbers of at least 0"),
    ],
)
def test_impossible_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentConfig(**values)  # type: ignore[arg-type]


def test_normalisation_refuses_a_division_by_zero() -> None:
    with pytest.raises(ValueError, match="std must be positive"):
        Normalization(std=(1.0, 0.0, 1.0))
