"""The picture shows the worst channel of the first tensor that parts, and nothing where nothing does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgemat.images import read_rgb
from edgemat.verify.bisect import Bisection, Evidence, Part, picture


def bisection(found: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Bisection:
    expected = np.zeros((1, 3, 8, 4), np.float32)
    expected[:, :, ::2] = 1.0
    part = Part("tensor", "Conv", "node", "float32", 0.5, 0.5, 9.0, 9.0, 0.1, (2, 1, 1), 0.0, 0.5)
    evidence = Evidence(np.full((16, 8, 3), 200, np.uint8), expected, expected + found)
    return Bisection("onnx fp32", "a.onnx", "as it is", (part,), None, 3, (), 1, evidence=evidence)


def test_the_difference_is_red_above_and_blue_below(tmp_path: Path) -> None:
    off = np.zeros((1, 3, 8, 4), np.float32)
    off[0, 2, 1, 1], off[0, 2, 5, 2] = 0.5, -0.5
    off[0, 0] = 9.0  # of another channel, which is not drawn
    assert picture.write(bisection(off), tmp_path / "a" / "p.png")
    pixels = read_rgb(tmp_path / "a" / "p.png")
    assert pixels.shape == (32 + 256, 4 * 128, 3)
    panel = pixels[32:, 3 * 128 :].astype(int)
    above, below = panel[48, 48], panel[176, 80]
    assert above[0] > above[2] + 50
    assert below[2] > below[0] + 50
    assert (panel[10, 10] == 255).all()


def test_nothing_is_drawn_where_there_is_nothing_to_compare(tmp_path: Path) -> None:
    found = bisection(np.zeros((1, 3, 8, 4), np.float32))
    for without in (
        replace(found, parts=()),
        replace(found, evidence=None),
        replace(found, evidence=found.evidence._replace(found=np.zeros((1, 3, 4, 4)))),  # type: ignore[union-attr]
    ):
        assert not picture.write(without, tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


def test_what_is_not_finite_is_drawn_all_the_same(tmp_path: Path) -> None:
    off = np.zeros((1, 3, 8, 4), np.float32)
    off[0, 2, 0, 0], off[0, 2, 1, 0] = np.nan, np.inf
    assert picture.write(bisection(off), tmp_path / "p.png")
