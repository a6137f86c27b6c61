"""The same (seed, index) gives the same bytes, and alpha is exactly what the image shows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgemat.data import compositor as module
from edgemat.data.augment import Augmentation
from edgemat.data.compositor import Compositor, holdout
from edgemat.data.noise import fractal
from edgemat.data.placement import warp_rgba
from edgemat.data.scene import Scene
from edgemat.data.types import Face
from edgemat.errors import InputError

# Geometry, blur and motion as usual; nothing that changes the image without the matte.
GEOMETRY_ONLY = Augmentation(
    shadow=0.0, relight=0.0, temperature=0.0, brightness=0.0, contrast=0.0, saturation=0.0, gamma=0.0, hue=0.0,
    grayscale=0.0, noise=(0.0, 0.0), jpeg=0.0, defocus=0.5, camera_motion=0.5, motion_blur=0.5,
)  # fmt: skip


def test_samples_do_not_depend_on_order_or_process(synthetic: ModuleType) -> None:
    first = synthetic.compositor()
    forward = [first.sample(i) for i in range(12)]
    backward = [synthetic.compositor().sample(i) for i in reversed(range(12))][::-1]
    assert synthetic.digest(forward) == synthetic.digest(backward)
    command = [sys.executable, str(Path(__file__).parent / "synthetic.py")]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == synthetic.digest(forward)


def test_seed_and_index_matter(synthetic: ModuleType) -> None:
    one, other = synthetic.compositor(1), synthetic.compositor(2)
    digests = {synthetic.digest([c.sample(i)]) for c in (one, other) for i in range(5)}
    assert len(digests) == 10


def test_alpha_is_within_the_base_alpha(synthetic: ModuleType) -> None:
    compositor = synthetic.compositor()
    samples = [compositor.sample(i) for i in range(60)]
    for s in samples:
        assert s.image.shape == (96, 96, 3)
        assert s.image.dtype == np.uint8
        for matte in (s.alpha, s.base_alpha, s.hull):
            assert matte.shape == (96, 96)
            assert matte.dtype == np.float32
            assert matte.min() >= 0
            assert matte.max() <= 1
        assert (s.alpha <= s.base_alpha + 1e-6).all()
        assert len(s.kinds) == len(s.occluder_ids) <= 3
        if not s.kinds:
            np.testing.assert_array_equal(s.alpha, s.base_alpha)
    counts = [len(s.kinds) for s in samples]
    assert set(counts) == {0, 1, 2, 3}


def _grey(level: np.ndarray, landmarks: np.ndarray) -> Face:
    """Return a face whose brightness is its matte: 255 where alpha is 1."""
    alpha = (level / 255).astype(np.float32)
    return Face("0" * 16, np.repeat(level[..., None], 3, axis=2), alpha, landmarks, 0.0)


def test_image_and_matte_move_together(synthetic: ModuleType) -> None:
    level = np.rint(synthetic.face(size=256).alpha * 255).astype(np.uint8)
    compositor = Compositor(
        [_grey(level, synthetic.mesh(256))], [], 128, 3, replace(GEOMETRY_ONLY, free=1.0, new_background=0.0)
    )
    for index in range(12):  # faces of a third to all of the frame: with and without reduced levels
        sample = compositor.sample(index)
        inside = sample.base_alpha > 0.02  # beyond it the backdrop shows a blurred copy of the face
        np.testing.assert_allclose(sample.image[inside, 0], 255 * sample.alpha[inside], atol=2.5)


def test_matte_that_lags_behind_would_be_seen(synthetic: ModuleType) -> None:
    level = np.rint(synthetic.face(size=256).alpha * 255).astype(np.uint8)
    face = _grey(level, synthetic.mesh(256))
    shifted = Face(face.id, face.image, np.roll(face.alpha, 3, axis=1), face.landmarks, 0.0)
    sample = Compositor([shifted], [], 128, 3, replace(GEOMETRY_ONLY, free=1.0)).sample(0)
    inside = sample.base_alpha > 0.02
    assert np.abs(sample.image[inside, 0] - 255 * sample.alpha[inside]).max() > 25


@pytest.mark.parametrize("kinds", [("object",), ("object", "cup", "food")])
def test_black_occluders_dim_a_white_face_by_their_alpha(
    synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    monkeypatch.setattr(module, "_WEIGHTS", dict.fromkeys(kinds, 1.0))
    white = _grey(np.full((256, 256), 255, np.uint8), synthetic.mesh(256))
    black = [synthetic.occluder(kind, (0, 0, 0)) for kind in kinds]
    n = len(kinds)
    level = replace(GEOMETRY_ONLY, free=0.0, occluders=(n, n), face_height=(1.0, 1.2), shift=0.0)
    compositor = Compositor([white], black, 128, 0, level)
    for index in range(12):
        sample = compositor.sample(index)
        assert sample.alpha.min() < 0.05
        np.testing.assert_allclose(sample.base_alpha, 1, atol=1e-6)
        # Photograph: grey in, grey out; the only rounding is to 8 bits.
        np.testing.assert_allclose(sample.image[..., 0], 255 * sample.alpha, atol=0.51)


@pytest.mark.parametrize("kind", sorted(module._DRAWN))
def test_drawn_layers_are_premultiplied(synthetic: ModuleType, kind: str) -> None:
    seen = 0.0
    for seed in range(6):
        skin = np.array([200, 150, 120], np.float32)
        scene = Scene(synthetic.mesh(128), 128, skin, skin / 4)
        layer = module._DRAWN[kind](np.random.default_rng(seed), scene)
        assert layer.shape == (128, 128, 4)
        assert layer.dtype == np.float32
        assert np.isfinite(layer).all()
        assert layer.min() >= 0
        assert layer.max() <= 1 + 1e-6
        assert (layer[..., :3] <= layer[..., 3:] + 1e-6).all()
        seen = max(seen, float(layer[..., 3].max()))
        if kind in ("smoke", "veil"):
            assert layer[..., 3].max() <= 0.801
    assert seen > 0.1


def _darkest_rim(layer: np.ndarray) -> float:
    """Return the darkest straight colour, 1 being white, of what is half transparent."""
    rim = (layer[..., 3] > 0.05) & (layer[..., 3] < 0.95)
    assert rim.sum() > 20
    return float((layer[rim, :3] / layer[rim, 3:]).min())


def test_no_dark_fringe(synthetic: ModuleType) -> None:
    white = synthetic.occluder("object", (255, 255, 255)).rgba
    for scale in (0.2, 0.45, 0.9, 1.7):
        matrix = np.array([[scale * 0.9, -scale * 0.3, 40.0], [scale * 0.3, scale * 0.9, 30.0]])
        patch = warp_rgba(white, matrix, 200, margin=2)
        assert _darkest_rim(patch.layer) > 0.999
        x, y = np.array([47.5, 47.5, 1]) @ matrix.T  # the disc's middle
        assert patch.layer[round(y) - patch.top, round(x) - patch.left, 3] == pytest.approx(1)


def test_the_fringe_test_sees_a_warp_of_straight_colour(synthetic: ModuleType) -> None:
    import cv2

    straight = synthetic.occluder("object", (255, 255, 255)).rgba.astype(np.float32) / 255
    warped = cv2.warpAffine(straight, np.array([[0.9, -0.3, 40.0], [0.3, 0.9, 30.0]]), (200, 200))
    warped[..., :3] *= warped[..., 3:]
    assert _darkest_rim(warped) < 0.9


def test_holdout_is_fixed_and_mostly_occluded(synthetic: ModuleType) -> None:
    faces, occluders = [synthetic.face(i) for i in range(2)], [synthetic.occluder("object")]
    samples = holdout(faces, occluders, per_face=8, size=64)
    assert [s.face_id for s in samples] == [faces[0].id] * 8 + [faces[1].id] * 8
    assert [bool(s.kinds) for s in samples] == ([True] * 7 + [False]) * 2
    assert synthetic.digest(samples) == synthetic.digest(holdout(faces, occluders, per_face=8, size=64))
    longer = holdout(faces, occluders, per_face=9, size=64)
    assert synthetic.digest(longer[:8]) == synthetic.digest(samples[:8])


def test_emoji_come_from_the_given_list_only(synthetic: ModuleType) -> None:
    given = [synthetic.occluder(kind, name=f"given-{kind}") for kind in ("cup", "hand", "microphone")]
    compositor = Compositor([synthetic.face()], given, 48, 0, Augmentation(free=0.0))
    names = {name for i in range(60) for name in compositor.sample(i).occluder_ids}
    assert {n for n in names if not n.startswith("drawn-")} == {o.id for o in given}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": 1.5}, "flip: 1.5"),
        ({"face_height": (0.9, 0.4)}, r"face_height: \(0.9, 0.4\)"),
        ({"occluders": (0, 2)}, "occluders"),
        ({"jpeg_quality": (40, 101)}, "jpeg_quality"),
        ({"noise": (0.0, float("nan"))}, "noise"),
    ],
)
def test_augmentation_refuses_what_makes_no_sense(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**change)  # type: ignore[arg-type]


def test_bad_input_is_refused(synthetic: ModuleType) -> None:
    with pytest.raises(InputError, match="no face was given"):
        Compositor([], [])
    with pytest.raises(InputError, match="size 16"):
        Compositor([synthetic.face()], [], size=16)
    with pytest.raises(InputError, match="'sofa' is not known"):
        Compositor([synthetic.face()], [synthetic.occluder("sofa")])


def test_noise_fills_its_range() -> None:
    maps = [fractal(np.random.default_rng(i), 64) for i in range(20)]
    assert all(m.shape == (64, 64) and m.min() >= 0 and m.max() <= 1 for m in maps)
    assert np.mean([m.std() for m in maps]) > 0.08
