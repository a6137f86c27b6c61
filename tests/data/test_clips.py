"""Clips: alpha is exact in every frame, motion is smooth, and only noise differs while the scene stands still."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from edgemat.data import clips as module
from edgemat.data import compositor as compositing
from edgemat.data.augment import Augmentation
from edgemat.data.clips import clip, holdout_clips, still
from edgemat.data.compositor import Compositor
from edgemat.data.types import Face

PLAIN = Augmentation(
    shadow=0.0, relight=0.0, temperature=0.0, brightness=0.0, contrast=0.0, saturation=0.0, gamma=0.0, hue=0.0,
    grayscale=0.0, noise=(0.0, 0.0), jpeg=0.0, defocus=0.5, camera_motion=0.0, motion_blur=0.5,
)  # fmt: skip


@pytest.fixture
def black_on_white(synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Compositor:
    """Return a compositor of a white photo, skin wherever it reaches, and black discs: the image is the matte."""
    monkeypatch.setattr(compositing, "_WEIGHTS", {"object": 1.0, "cup": 1.0})
    face = Face(
        "0" * 16, np.full((256, 256, 3), 255, np.uint8), np.ones((256, 256), np.float32), synthetic.mesh(256), 0
    )
    black = [synthetic.occluder(kind, (0, 0, 0)) for kind in ("object", "cup")]
    return Compositor([face], black, 128, 0, replace(PLAIN, face_height=(1.1, 1.3), shift=0.0))


def test_alpha_is_what_every_frame_shows(black_on_white: Compositor) -> None:
    for index in range(4):
        frames = clip(black_on_white, 0, index, 2, frames=6)
        assert min(frame.alpha.min() for frame in frames) < 0.05
        for frame in frames:
            inside = frame.base_alpha > 0.999
            assert inside.mean() > 0.5
            np.testing.assert_allclose(frame.image[inside, 0], 255 * frame.alpha[inside], atol=0.8)


def test_a_matte_one_frame_late_would_be_seen(black_on_white: Compositor) -> None:
    now, then = clip(black_on_white, 0, 0, 2, frames=6)[2:4]
    inside = now.base_alpha > 0.999
    assert np.abs(then.image[inside, 0] - 255 * now.alpha[inside]).max() > 100


def test_the_same_clip_every_time_and_another_for_every_key(synthetic: ModuleType) -> None:
    compositor, again = synthetic.compositor(), synthetic.compositor()
    digest = synthetic.digest(clip(compositor, 1, 0, 2, 4))
    clip(again, 0, 0, 1, 4)  # what was made before does not matter
    assert synthetic.digest(clip(again, 1, 0, 2, 4)) == digest
    others = [clip(compositor, 1, 1, 2, 4), clip(compositor, 0, 0, 2, 4), clip(synthetic.compositor(6), 1, 0, 2, 4)]
    assert digest not in {synthetic.digest(other) for other in others}


def test_faces_sway_smoothly_and_occluders_stay_themselves(synthetic: ModuleType) -> None:
    compositor = synthetic.compositor()
    moved = 0.0
    for index in range(6):
        frames = clip(compositor, 0, index, 2)
        assert len({(frame.kinds, frame.occluder_ids, frame.face_id) for frame in frames}) == 1
        middles = np.array([np.argwhere(frame.hull > 0.5).mean(axis=0) for frame in frames])
        steps = np.linalg.norm(np.diff(middles, axis=0), axis=1)
        assert steps.max() < 0.04 * compositor.size
        assert np.linalg.norm(np.diff(middles, n=2, axis=0), axis=1).max() < 0.02 * compositor.size  # no jerk
        moved = max(moved, float(steps.sum()))
    assert moved > 0.03 * compositor.size


def test_what_is_worn_moves_with_the_face_and_what_is_held_crosses_it(
    synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, follows in {"mask": True, "object": False}.items():
        monkeypatch.setattr(compositing, "_WEIGHTS", {kind: 1.0})
        things = [] if follows else [synthetic.occluder(kind)]  # masks are drawn
        compositor = Compositor([synthetic.face()], things, 128, 1, replace(PLAIN, shift=0.0))
        frames = clip(compositor, 0, 1, 1)
        hidden = [frame.base_alpha - frame.alpha > 0.5 for frame in (frames[4], frames[7])]
        assert all(area.any() for area in hidden)
        points = [np.argwhere(area).mean(axis=0) for area in hidden]
        hulls = [np.argwhere(frame.hull > 0.5).mean(axis=0) for frame in (frames[4], frames[7])]
        near, far = (float(np.linalg.norm(point - hull)) for point, hull in zip(points, hulls, strict=True))
        # A head that turns keeps the distance, one that comes nearer changes it by a few per cent.
        assert abs(near / far - 1) < 0.06 if follows else abs(near / far - 1) > 0.3, (
            f"{kind}: {near:.2f}, then {far:.2f}"
        )


def test_a_still_scene_differs_by_noise_alone(synthetic: ModuleType) -> None:
    faces = [synthetic.face(0)]
    level = replace(Augmentation.mild(), noise=(3.0, 3.0), jpeg=0.0)
    frames = still(Compositor(faces, [], 96, 3, level), 0, 0, 1, 5)
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame.alpha, frames[0].alpha)
    values = np.stack([frame.image for frame in frames]).astype(np.float64)
    assert 1.5 < values.std(axis=0).mean() < 6  # 3 steps at mid-grey, less for five frames, changed by the tone curve
    assert np.abs(values.mean(axis=(1, 2, 3)) - values.mean()).max() < 1  # light and colour stand still
    silent = still(Compositor(faces, [], 96, 3, replace(level, noise=(0.0, 0.0))), 0, 0, 1, 3)
    np.testing.assert_array_equal(silent[0].image, silent[2].image)


def test_the_still_scene_is_the_moving_ones_middle(synthetic: ModuleType) -> None:
    compositor = synthetic.compositor()
    middle = clip(compositor, 0, 0, 2, frames=5)[2]
    np.testing.assert_array_equal(still(compositor, 0, 0, 2, frames=2)[0].alpha, middle.alpha)


def test_the_fixed_clips_are_one_a_face(synthetic: ModuleType) -> None:
    faces, things = [synthetic.face(i) for i in range(3)], [synthetic.occluder("object")]
    scenes = list(holdout_clips(faces, things, frames=3, size=64))
    assert [moving[0].face_id for moving, _ in scenes] == [face.id for face in faces]
    assert [len(moving[0].kinds) for moving, _ in scenes] == [1, 2, 1]
    assert all(len(moving) == len(quiet) == 3 for moving, quiet in scenes)
    assert all(moving[0].kinds == quiet[0].kinds for moving, quiet in scenes)


def test_an_occluder_wholly_outside_leaves_the_face_free(synthetic: ModuleType) -> None:
    empty = compositing.Placed("cup", "cup-1", compositing.Patch(np.zeros((0, 0, 4), np.float32)))
    moved = module._moved(empty, np.eye(3), 32, 8)
    assert moved.patch.layer.shape == (32, 32, 4)
    assert not moved.patch.layer.any()
