"""Weights from uncertainty: the documented table, mean 1, monotone the right way, and no use of what tells nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgemat.train.weighting import WEIGHTINGS, Weighting

U = torch.tensor([0.0, 0.25, 0.5, 1.0])


def test_the_table() -> None:
    uncertainty = torch.cat([U, torch.tensor([3.0])]) * 0.2  # the last one is cut at u = 1
    u = torch.cat([U, torch.tensor([1.0])])
    for kind, truth, target in (
        ("up", (1 + 4 * u) / (1 + 4 * 0.4), (1 - u) / 0.6),
        ("down", (1 - u) / 0.6, (1 - u) / 0.6),
        ("both", (1 + 4 * u) / (1 + 4 * 0.4), (1 + 4 * u) / (1 + 4 * 0.4)),
    ):
        weighting = Weighting(kind, strength=4.0, reference=0.2, mean_u=0.4)
        for found, expected in ((weighting.truth(uncertainty), truth), (weighting.target(uncertainty), target)):
            assert found is not None
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("trust", [-1.0, 0.0, 2.0])
def test_trust_says_how_much_the_teacher_counts_where_it_doubts(trust: float) -> None:
    weighting = Weighting("up", strength=4.0, reference=1.0, mean_u=0.25, trust=trust)
    torch.testing.assert_close(weighting.target(U), (1 + trust * U) / (1 + trust * 0.25))
    torch.testing.assert_close(weighting.truth(U), (1 + 4 * U) / 2)


def test_none_weighs_nothing() -> None:
    weighting = Weighting.measure("none", 4.0, np.array([0.0, 0.1, 0.2], np.float32))
    assert weighting.truth(U) is None
    assert weighting.target(U) is None


def test_the_constants_by_hand() -> None:
    uncertainty = np.array([0.0, 0.1, 0.2, 0.3, 0.4], np.float32)
    weighting = Weighting.measure("up", 3.0, uncertainty, percentile=50)
    assert (weighting.kind, weighting.strength) == ("up", 3.0)
    assert weighting.reference == pytest.approx(0.2)
    assert weighting.mean_u == pytest.approx((0 + 0.5 + 1 + 1 + 1) / 5)


@pytest.mark.parametrize("kind", [k for k in WEIGHTINGS if k != "none"])
@pytest.mark.parametrize("strength", [0.0, 1.0, 10.0])
def test_the_mean_weight_is_1_over_what_was_measured(kind: str, strength: float) -> None:
    uncertainty = np.random.default_rng(0).gamma(0.3, 0.05, (4, 32, 32)).astype(np.float32)  # a long tail
    weighting = Weighting.measure(kind, strength, uncertainty)
    assert weighting.reference < uncertainty.max()  # so that the cut is part of what is tested
    for weight in (weighting.truth(torch.from_numpy(uncertainty)), weighting.target(torch.from_numpy(uncertainty))):
        assert weight is not None
        assert float(weight.min()) >= 0
        assert float(weight.double().mean()) == pytest.approx(1.0, abs=1e-5)


def test_the_truth_is_raised_or_lowered_and_the_teacher_is_believed_where_it_is_sure() -> None:
    up, down = (Weighting(kind, 4.0, reference=1.0, mean_u=0.25) for kind in ("up", "down"))
    for weight, sign in ((up.truth(U), 1), (up.target(U), -1), (down.truth(U), -1), (down.target(U), -1)):
        assert weight is not None
        assert bool((sign * weight.diff() > 0).all())
    raised = up.truth(U)
    assert raised is not None
    assert float(raised[-1] / raised[0]) == pytest.approx(5.0)  # strength times more than a sure pixel, plus itself


@pytest.mark.parametrize(
    ("uncertainty", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), "uncertainty is 0.0 at its 99th percentile"),
        (np.full((2, 4, 4), np.nan, np.float32), "uncertainty is nan"),
        (np.full((2, 4, 4), 0.1, np.float32), "nearly the same everywhere"),
    ],
    ids=["zero", "nan", "constant"],
)
def test_an_uncertainty_that_tells_nothing_is_refused(uncertainty: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Weighting.measure("up", 4.0, uncertainty)


def test_weights_are_finite_for_the_most_even_uncertainty_that_is_taken() -> None:
    uncertainty = np.linspace(0.97, 1.0, 1000, dtype=np.float32)
    weighting = Weighting.measure("down", 4.0, uncertainty)
    weight = weighting.target(torch.tensor([0.0, 0.97, 1.0]))
    assert weight is not None
    assert bool(torch.isfinite(weight).all())
