"""Ranges on images: sums beside plain numpy, codes that are used, what lies beyond."""

from __future__ import annotations

import numpy as np
import pytest

from edgemat.verify.lint import measure
from edgemat.verify.lint.facts import Facts, Weighted

RNG = np.random.default_rng(3)


def test_running_sums_are_those_of_any_order_of_adding() -> None:
    """The sum of the positive and of the negative products bounds every prefix of every order."""
    weight = RNG.normal(0, 1, (2, 3, 1, 1)).astype(np.float32)
    bias = np.array([0.5, -4.0], np.float32)
    value = RNG.normal(0, 1, (1, 3, 4, 4)).astype(np.float32)
    facts = Facts(
        "f", "f", "ONNX", inputs=("image",), weighted=(Weighted("a", "x", "a", "w", "Conv", weight, bias, {}),)
    )
    images = np.zeros((1, 4, 4, 3), np.uint8)
    (sums,) = measure.measure(facts, lambda image: {"x": value}, images)[""].sums
    products = weight[:, :, 0, 0][None, :, :, None, None] * value[:, None]  # (1, O, I, H, W)
    positive, negative = np.maximum(products, 0).sum(2), np.maximum(-products, 0).sum(2)
    assert sums.running == pytest.approx(float(np.maximum(positive, negative).max()), rel=1e-5)
    assert sums.absolute == pytest.approx(float(np.abs(products).sum(2).max()), rel=1e-5)
    assert sums.result == pytest.approx(float(np.abs(products.sum(2) + bias[:, None, None]).max()), rel=1e-5)
    assert sums.bound == pytest.approx(float(np.abs(weight).sum((1, 2, 3)).max() * np.abs(value).max()), rel=1e-5)
    for _ in range(50):
        steps = np.cumsum(products[:, :, RNG.permutation(3)], 2)
        assert float(np.abs(steps).max()) <= sums.running * (1 + 1e-5)
    assert sums.running <= sums.absolute * (1 + 1e-6) <= sums.bound * (1 + 1e-5)


def test_a_convolution_whose_input_is_not_shown_has_no_sums() -> None:
    made = Weighted("a", "hidden", "a", "w", "Conv", np.ones((1, 3, 1, 1), np.float32), None, {})
    found = measure.measure(
        Facts("f", "f", "ONNX", weighted=(made,)), lambda image: {}, np.zeros((1, 4, 4, 3), np.uint8)
    )
    assert found[""].sums == ()


def test_codes_that_occur_and_values_beyond_are_counted() -> None:
    value = np.array([0.0, 1.0, 2.0, 300.0], np.float32).reshape(1, 1, 2, 2)
    grids = {"g": ({"a": (1.0, 0), "unseen": (1.0, 0)}, (0, 255))}
    facts = Facts("f", "f", "ONNX", inputs=("image",))
    found = measure.measure(facts, lambda image: {"a": value}, np.zeros((2, 2, 2, 3), np.uint8), grids)
    (use,) = found["g"].uses
    assert (use.tensor, use.codes, use.of, use.beyond) == ("a", 4, 256, 0.25)
    assert found[""].uses == ()
    assert found["g"].images == 2


def test_peaks_are_of_all_images() -> None:
    images = np.stack([np.full((2, 2, 3), level, np.uint8) for level in (10, 200)])
    found = measure.measure(
        Facts("f", "f", "ONNX", inputs=("image",)), lambda image: {"a": image[None, :, :, 0] * -1.0}, images
    )
    assert {p.tensor: p.value for p in found[""].peaks} == {"a": 200.0, "image": pytest.approx(200 / 255)}


def test_the_codes_of_a_runner_are_counted_as_they_are() -> None:
    runs = [{"a": np.array([[1, 2]], np.int32)}, {"a": np.array([[2, 9]], np.int32)}]
    (use,) = measure.occurring(runs, {"a": (0.5, 0)})
    assert (use.codes, use.of, use.scale) == (3, 256, 0.5)
