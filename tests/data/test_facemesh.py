"""The landmarker: its geometry without networks, its points with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemat.data import facemesh, registry
from edgemat.data.facemesh import Landmarker
from edgemat.errors import InputError
from edgemat.images import read_rgb


def test_crop_maps_its_corners_and_centre_onto_the_image() -> None:
    crop = facemesh._Crop(10.0, 20.0, 8.0, np.pi / 2)
    matrix = crop.matrix(9)
    assert matrix @ (4, 4, 1) == pytest.approx((10, 20))  # the middle pixel
    assert matrix @ (8, 4, 1) == pytest.approx((10, 20 + 4 * 8 / 9))  # a quarter turn: right becomes down


def test_crop_of_points_is_upright_and_half_as_large_again() -> None:
    points = np.zeros((468, 2), np.float32)
    points[33], points[263] = (-10, 0), (10, 0)
    angle = 0.3
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    crop = facemesh._crop_of_points(points @ turn + 50)
    assert (crop.x, crop.y, crop.side, crop.angle) == pytest.approx((50, 50, 30, angle), abs=1e-4)


def test_anchors_cover_the_detector() -> None:
    anchors = facemesh._anchors()
    assert anchors.shape == (896, 2)
    assert anchors[0].tolist() == anchors[1].tolist() == [1 / 32, 1 / 32]
    assert anchors[512].tolist() == [1 / 16, 1 / 16]


def test_networks_that_were_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEMAT_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="edgemat data fetch"):
        Landmarker()


@pytest.mark.data
def test_points_follow_the_face() -> None:
    image = read_rgb(registry.folder("scikit-image") / "astronaut.png")
    stored = json.loads((Path(__file__).parent / "astronaut_landmarks.json").read_text(encoding="utf-8"))
    landmarker = Landmarker()
    found = landmarker.find(image)
    assert found is not None
    assert found.presence > 0.9
    assert np.abs(found.landmarks - (96, 0) - stored["points"]).max() < 0.5
    mirrored = landmarker.find(np.ascontiguousarray(image[:, ::-1]))
    assert mirrored is not None
    expected = image.shape[1] - 1 - found.landmarks[[33, 263, 4, 152], 0]  # eyes change sides, nose and chin do not
    assert mirrored.landmarks[[263, 33, 4, 152], 0] == pytest.approx(expected, abs=2.5)
    tall = np.pad(image, ((0, 300), (0, 0), (0, 0)))
    padded = landmarker.find(tall)
    assert padded is not None
    assert np.abs(padded.landmarks - found.landmarks).mean() < 1.0
    assert landmarker.find(np.full((200, 300, 3), 128, np.uint8)) is None
