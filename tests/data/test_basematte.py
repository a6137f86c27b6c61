"""The base matte on a drawn face, whose truth is known, and on a photo."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.basematte import OVAL, base_matte, ita
from edgemat.data.compositor import _hull

_SKIN, _HAIR, _WALL, _SHIRT = (214, 168, 140), (60, 42, 30), (120, 140, 150), (40, 60, 110)

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def points() -> Float:
    """Mesh points of the astronaut, in the crop named in the file."""
    text = (Path(__file__).parent / "astronaut_landmarks.json").read_text(encoding="utf-8")
    return np.array(json.loads(text)["points"], np.float32)


def _fill(image: Image, points: Float, ring: tuple[int, ...], colour: tuple[int, int, int]) -> None:
    cv2.fillPoly(image, [np.round(points[list(ring)]).astype(np.int32)], colour)


def _drawn(points: Float, skin: tuple[int, int, int] = _SKIN) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Draw a face with neck, hair, eyes and mouth before a wall; return it and where its skin is."""
    image = np.full((256, 256, 3), _WALL, np.uint8)
    middle, top = points[list(OVAL)].mean(axis=0), points[10]
    cv2.ellipse(image, (int(middle[0]), int(top[1]) + 30), (68, 66), 0, 0, 360, _HAIR, -1)
    cv2.rectangle(image, (int(middle[0]) - 25, int(middle[1])), (int(middle[0]) + 25, 220), skin, -1)
    cv2.rectangle(image, (0, 215), (256, 256), _SHIRT, -1)
    face = np.zeros((256, 256), np.uint8)
    _fill(face, points, OVAL, (1, 1, 1))
    cv2.ellipse(face, (int(top[0]), int(top[1]) + 22), (36, 36), 0, 180, 360, (1, 1, 1), -1)  # forehead
    image[face > 0] = skin
    for ring in ((33, 159, 133, 145), (263, 386, 362, 374), (70, 105, 107, 65, 52), (300, 334, 336, 295, 282)):
        _fill(image, points, ring, (30, 25, 20))
    _fill(image, points, (61, 37, 267, 291, 314, 84), (150, 40, 50))
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), face > 0


def _iou(alpha: Float, truth: npt.NDArray[np.bool_]) -> float:
    found = alpha > 0.5
    return float((found & truth).sum() / (found | truth).sum())


def _pieces(area: npt.NDArray[np.bool_]) -> int:
    return int(cv2.connectedComponents(area.astype(np.uint8), connectivity=4)[0]) - 1


@pytest.mark.parametrize("skin", [_SKIN, (120, 80, 60), (245, 215, 200)], ids=["mid", "dark", "light"])
def test_drawn_face_is_found_whole_to_the_hairline_and_no_further(points: Float, skin: tuple[int, int, int]) -> None:
    image, truth = _drawn(points, skin)
    alpha, flaw = base_matte(image, points)
    assert flaw == ""
    assert (alpha.dtype, alpha.shape) == (np.float32, (256, 256))
    assert (alpha.min(), alpha.max()) == (0.0, 1.0)
    assert _iou(alpha, truth) > 0.93
    assert _pieces(alpha > 0.5) == 1  # no speck
    assert _pieces(alpha < 0.5) == 1  # no hole at eyes, brows or mouth
    assert alpha[200, 128] == 0  # neck
    edge = (alpha > 0) & (alpha < 1)
    assert edge.sum() < 4 * cv2.arcLength(_outline(alpha), True)


def _outline(alpha: Float) -> npt.NDArray[np.int32]:
    contours, _ = cv2.findContours((alpha > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(contours[0], np.int32)


def test_hair_over_the_forehead_is_cut_out_but_brows_are_not(points: Float) -> None:
    image, _ = _drawn(points)
    brow = int(points[[105, 334], 1].min())
    fringe = np.zeros((256, 256), np.bool_)
    fringe[: brow - 6] = True
    fringe &= (image != _WALL).any(axis=-1)
    image[fringe] = _HAIR
    alpha = base_matte(image, points).alpha
    assert alpha[: brow - 9].max() < 0.5
    assert alpha[brow + 4 : brow + 10, int(points[1, 0])].min() == 1


def test_sunglasses_are_cut_out_and_stated(points: Float) -> None:
    image, _ = _drawn(points)
    for corner in (points[[33, 133]], points[[263, 362]]):
        x, y = corner.mean(axis=0)
        cv2.ellipse(image, (int(x), int(y) + 3), (15, 12), 0, 0, 360, (15, 15, 18), -1)
    alpha, flaw = base_matte(image, points)
    for corner in (points[[33, 133]], points[[263, 362]]):
        x, y = corner.mean(axis=0)
        assert alpha[int(y) + 3, int(x)] == 0
    assert flaw.startswith("glasses or shade: ")


def test_beard_is_skin(points: Float) -> None:
    image, truth = _drawn(points)
    beard = truth.copy()
    beard[: int(points[17, 1]) + 3] = False
    image[beard] = _HAIR
    assert base_matte(image, points).alpha[beard].mean() > 0.9


def test_covered_and_ragged_faces_are_stated(points: Float) -> None:
    image, truth = _drawn(points)
    x = np.arange(256)[None]
    curtains = (x < points[50, 0]) | (x > points[280, 0])
    covered = image.copy()
    covered[truth & curtains] = _HAIR
    assert base_matte(covered, points).flaw.startswith("covered: ")
    notch = np.zeros((256, 256), np.uint8)
    cheek = np.round(points[[132, 205]].mean(axis=0)).astype(int)
    cv2.rectangle(notch, (0, int(cheek[1]) - 8), (int(cheek[0]) + 8, int(cheek[1]) + 8), 1, -1)
    ragged = image.copy()
    ragged[notch > 0] = _HAIR
    assert base_matte(ragged, points).flaw.startswith("ragged: ")


def test_same_face_gives_the_same_matte(points: Float) -> None:
    image, _ = _drawn(points)
    first = base_matte(image, points).alpha
    cv2.setRNGSeed(77)
    np.testing.assert_array_equal(base_matte(image, points).alpha, first)


def test_photo(points: Float) -> None:
    data = pytest.importorskip("skimage.data")
    image = data.astronaut()[:256, 96:352]
    alpha, flaw = base_matte(image, points)
    assert flaw == ""
    assert _iou(alpha, _hull(points, 256) > 0.5) > 0.8
    assert alpha[60, 130] == 0  # hair over the forehead
    assert alpha[200, 130] == 0  # collar
    assert alpha[int(points[159, 1]), int(points[159, 0])] == 1  # an eye
    assert 40 < ita(image, alpha) < 60


def test_the_baseline_is_the_filled_oval_with_a_soft_edge(points: Float) -> None:
    matte = _hull(points, 256)
    assert (matte.dtype, matte.shape, matte.min(), matte.max()) == (np.float32, (256, 256), 0.0, 1.0)
    outline = points[list(OVAL)]
    area, length = cv2.contourArea(outline), cv2.arcLength(outline, closed=True)
    assert area <= matte.sum() <= area + 0.75 * length  # every pixel that the outline touches counts
    assert 0.2 < np.unique(matte[(matte > 0) & (matte < 1)]).mean() < 0.8


@pytest.mark.parametrize("rgb", [(214, 168, 140), (90, 60, 45), (240, 220, 205)], ids=["mid", "dark", "light"])
def test_ita_agrees_with_an_independent_colour_conversion(rgb: tuple[int, int, int]) -> None:
    colour = pytest.importorskip("skimage.color")
    image = np.full((4, 4, 3), rgb, np.uint8)
    alpha = np.ones((4, 4), np.float32)
    lightness, _, yellow = colour.rgb2lab(image)[0, 0]
    expected = pytest.approx(np.degrees(np.arctan2(lightness - 50, yellow)), abs=0.3)
    assert ita(image, alpha) == expected
    image[0] = 0
    alpha[0] = 0  # what is not skin does not count
    assert ita(image, alpha) == expected
    with pytest.raises(ValueError, match="no pixel has alpha above"):
        ita(image, np.zeros((4, 4), np.float32))
