"""Mends of base mattes: drawn where stated and nowhere else, and refused when malformed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemat.data.basematte import Matte
from edgemat.data.faces import load_faces
from edgemat.data.mends import Mend, Stroke, mended, read_mends
from edgemat.data.splits import SPLITS
from edgemat.errors import InputError

_FACE = "00f3ab12cd45ef67"
_SQUARE = ((10.0, 10.0), (20.0, 10.0), (20.0, 20.0), (10.0, 20.0))


def _skin(value: float = 1.0) -> Matte:
    return Matte(np.full((32, 32), value, np.float32), "found before")


def test_a_stroke_covers_its_width_and_half_a_pixel_where_it_ends_half_way() -> None:
    line = Mend("a line", strokes=(Stroke(((-9.0, 8.0), (41.0, 8.0)), width=3.0),))
    alpha = mended(_skin(), line).alpha
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha[5:11, 16], [1, 0.5, 0, 0, 0.5, 1], atol=0.15)
    assert alpha[:6].min() == 1
    assert alpha[10:].min() == 1


def test_a_closed_stroke_is_a_ring_about_untouched_skin() -> None:
    before = _skin(0.75)
    ring = mended(before, Mend("a lens", strokes=(Stroke(_SQUARE, 2.0, closed=True),))).alpha
    assert ring[15, 10] == ring[15, 19] == ring[10, 15] == ring[19, 15] == 0
    assert (ring[12:18, 12:18] == 0.75).all()
    assert (ring[:8] == 0.75).all()
    assert (before.alpha == 0.75).all()
    opened = mended(before, Mend("three sides", strokes=(Stroke(_SQUARE, 2.0),))).alpha
    assert opened[15, 9] == 0.75


def test_outlines_cut_and_add_with_a_soft_edge() -> None:
    hole = mended(_skin(), Mend("a hand", cut=(_SQUARE,))).alpha
    assert hole[15, 15] == 0
    assert 0 < hole[15, 10] < 0.5 < hole[15, 9] < 1
    assert hole[:6].min() == 1
    patch = mended(_skin(0.0), Mend("no forehead", add=(_SQUARE,))).alpha
    np.testing.assert_allclose(patch, 1 - hole, atol=1e-6)


def test_a_mend_states_the_flaw_or_keeps_it() -> None:
    assert mended(_skin(), Mend("a hand", cut=(_SQUARE,))).flaw == "found before"
    assert mended(_skin(), Mend("glasses", cut=(_SQUARE,), flaw="")).flaw == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON .* restore the file"),
        ("[]", "expected an object of mends by face id, found list"),
        ('{"astronaut": {"why": "glasses"}}', "'astronaut' is not the id of a face"),
        (json.dumps({_FACE: []}), f"mend of face {_FACE} is malformed"),
        (json.dumps({_FACE: {}}), "malformed: KeyError.'why'"),
        (json.dumps({_FACE: {"why": ""}}), "must say why"),
        (json.dumps({_FACE: {"why": "hat", "cuts": []}}), "unknown key 'cuts'"),
        (json.dumps({_FACE: {"why": "hat", "cut": [[[1, 2], [3, 4]]]}}), "an outline needs 3 points"),
        (
            json.dumps({_FACE: {"why": "hat", "strokes": [{"points": [[1, 2], [3]], "width": 1, "closed": False}]}}),
            "malf",
        ),
        (
            json.dumps({_FACE: {"why": "hat", "strokes": [{"points": [[1, 2], [3, 4]], "width": 0, "closed": False}]}}),
            "width must be above 0, found 0",
        ),
        (
            json.dumps({_FACE: {"why": "hat", "strokes": [{"points": [[1, 2]], "width": 1, "closed": False}]}}),
            "needs 2 points or more, found 1",
        ),
    ],
)
def test_malformed_mends_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mends.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_mends(file)


def test_the_package_holds_mends_inside_the_picture() -> None:
    mends = read_mends()
    assert len(mends) >= 40
    for name, mend in mends.items():
        skin = Matte(np.ones((256, 256), np.float32), "")
        changed = mended(skin, mend).alpha < 1
        assert changed.any() or mend.add or mend.flaw, name
        assert changed.mean() < 0.5, name


@pytest.mark.data
def test_every_mend_is_of_a_face_and_frames_are_cut_out() -> None:
    faces = {face.id: face for split in SPLITS for face in load_faces(split, flawed=True)}
    assert not set(read_mends()) - set(faces)
    for name, mend in read_mends().items():
        frame = mended(Matte(np.ones((256, 256), np.float32), ""), mend).alpha
        assert (faces[name].alpha <= frame + 1 / 255).all(), name
