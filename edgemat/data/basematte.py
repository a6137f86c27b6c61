"""The skin matte of an un-occluded face photo, built from its mesh points and its own colours.

No fetched package holds a skin matte, so this makes one. What counts as skin is decided once, because a network
learns these labels and consistency beats detail:

- Inside the mesh's face oval, and above it the forehead up to the hairline (a bald head stops at a set height).
- Eyes, brows, nostrils, mouth, teeth, beard and shadows are skin. Ears and neck are not.
- Hair across the face, hats and sunglasses are not skin. The frames of ordinary glasses are too thin for colour to
  find: they are closed over here and cut out by :mod:`edgemat.data.mends`.

:attr:`Matte.flaw` states by fixed measures which mattes should not teach: clearly visible glasses, a lower face that
the gate took for something else by more than an eighth, or a ragged one, as deep side shadow makes it.

The colour gate is GrabCut (Rother, Kolmogorov and Blake, ACM TOG 23(3), 2004, as in OpenCV) in LAB, with skin colours
taken from this image's cheeks and the features painted over first, so that brows do not teach it that hair is skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.data.masks import Bool, Float, convex, grow, morph, pieces, polygon

Image = npt.NDArray[np.uint8]

VERSION = 3
"""Raised whenever the same image would get another matte, so that prepared faces are made anew."""

# Rings of mesh points (the mesh's own fixed numbering).
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_EYES = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_NOSE_TIP = (2, 97, 98, 64, 48, 115, 220, 45, 4, 275, 440, 344, 278, 294, 327, 326)
_NOSE = (168, 193, 236, 198, 48, 64, 98, 97, 2, 326, 327, 294, 278, 420, 456, 417)
_CHEEKS = (
    (50, 205, 206, 203, 129, 47, 100, 101, 118, 117),
    (280, 425, 426, 423, 358, 277, 329, 330, 347, 346),
)
_LOW_CHEEKS = ((205, 36, 203, 206, 207, 187), (425, 266, 423, 426, 427, 411))
_CHIN = (57, 43, 106, 182, 83, 18, 313, 406, 335, 273, 287, 432, 394, 369, 396, 175, 171, 140, 169, 212)
_BRIDGE = (9, 193, 122, 6, 351, 417)
_CHEEKBONES = (234, 454)  # the oval's widest points
_TOP, _CHIN_POINT, _NOSE_BASE = 10, 152, 2

_FACE = 150.0  # face height in pixels that the radii below were chosen at
_FOREHEAD = 0.28  # how far above the oval skin may reach, in face heights
_LEAST_HOLE = 0.02  # of the oval; a smaller hole is a shadow or a spot of shine
_LEAST_PIECE = 0.08  # of the oval
_BEARD = 0.3  # share of the chin that is not skin-coloured
_SUNGLASSES = 0.55  # lightness under the eyes over that of the cheeks
_GLASSES = 0.05  # share of the skin under the eyes that is hidden
_MOST_LOSS = 0.12  # share of the oval below the eyes
_MOST_HOLLOW = 0.03  # share of its convex outline


class Matte(NamedTuple):
    """A base matte and what is wrong with it.

    Attributes:
        alpha: Skin, float32, (H, W), in [0, 1].
        flaw: Why the face should not be trained on, or empty.
    """

    alpha: Float
    flaw: str


@dataclass(frozen=True, eq=False)
class _Geometry:
    """The regions that the mesh points alone decide, each (H, W).

    Attributes:
        oval: The mesh's face oval.
        reach: The oval and the forehead above it: skin is nowhere else.
        features: Eyes, brows, lips and nose tip with a margin; painted over before colours are looked at.
        under_eyes: About the lower lids and the bridge of the nose, where only glasses hide skin.
        cheeks: Where skin colour is taken from.
        low_cheeks: The part of them beside the nose and mouth, which sunglasses leave free.
        core: The middle of the face between eyes and nose base, which no hair reaches.
        middle: Nose and mouth.
        lower: Below the nose.
        chin: Between lower lip and chin, where a beard shows.
        below_eyes: The half plane below the eyes' middle.
        below_cheekbones: The half plane of ears, neck and clothes.
        scale: Face height over the height that radii are stated at.
    """

    oval: Bool
    reach: Bool
    features: Bool
    under_eyes: Bool
    cheeks: Bool
    low_cheeks: Bool
    core: Bool
    middle: Bool
    lower: Bool
    chin: Bool
    below_eyes: Bool
    below_cheekbones: Bool
    scale: float


def base_matte(image: Image, landmarks: Float) -> Matte:
    """Make the skin matte of an un-occluded face.

    Args:
        image: RGB, uint8, (H, W, 3); the face about 100 to 400 pixels high.
        landmarks: Mesh points, float32, (468, 2), x and y in pixels.

    Returns:
        A matte of one piece without specks, its edge 1 to 3 pixels wide at a face height of 150; and its flaw.
    """
    face = _geometry(landmarks, image.shape[:2])
    sunglasses = _wears_sunglasses(image, face)
    gated = _gate(image, face, sunglasses) & face.reach
    skin = gated | (face.middle & face.lower)
    if np.mean(~gated[face.chin]) > _BEARD:
        skin |= face.oval & face.lower
    if not sunglasses:
        skin |= face.features & face.oval
    skin = _clean(skin, face)
    return Matte(_soften(skin, face.scale), _flaw(skin, gated, face))


def _geometry(points: Float, shape: tuple[int, ...]) -> _Geometry:
    """Lay out the regions."""
    up = points[_TOP] - points[_CHIN_POINT]
    height = float(np.hypot(*up))
    up = up / height
    scale = height / _FACE
    middle = points[list(_CHEEKBONES)].mean(axis=0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    above = (x - middle[0]) * up[0] + (y - middle[1]) * up[1]  # pixels above the cheekbones
    nose = float((points[_NOSE_BASE] - middle) @ up)
    eyes = float((points[[corner for ring in _EYES for corner in ring]].mean(axis=0) - middle) @ up)

    ring = points[list(OVAL)]
    rise = np.clip((ring - middle) @ up, 0, None)
    raised = ring + (rise / rise.max() * _FOREHEAD * height)[:, None] * up

    def area(rings: tuple[tuple[int, ...], ...], margin: float) -> Bool:
        filled = np.zeros(shape[:2], np.bool_)
        for ring in rings:
            filled |= polygon(points[list(ring)], shape)
        return grow(filled, margin * scale) if margin else filled

    inner = polygon((ring - middle) * 0.75 + middle, shape)
    features = area(_EYES, 4) | area(_BROWS, 3) | area((_LIPS,), 3) | area((_NOSE_TIP,), 2)
    return _Geometry(
        oval=polygon(ring, shape),
        reach=polygon(convex(raised), shape),
        features=features,
        under_eyes=((area(_EYES, 14) & ~area(_EYES, 4) & (above < eyes)) | area((_BRIDGE,), 0)) & inner,
        cheeks=area(_CHEEKS + _LOW_CHEEKS, 0) & ~features,
        low_cheeks=area(_LOW_CHEEKS, 0),
        core=inner & (above > nose) & (above < eyes) & ~features,
        middle=area((_LIPS,), 4) | area((_NOSE_TIP,), 3) | area((_NOSE,), 0),
        lower=above < nose + 4 * scale,
        chin=area((_CHIN,), 0) & ~area((_LIPS,), 3),
        below_eyes=above < eyes,
        below_cheekbones=above < 0,
        scale=scale,
    )


def _wears_sunglasses(image: Image, face: _Geometry) -> bool:
    lightness = _lab(image)[..., 0]
    return bool(np.median(lightness[face.under_eyes]) < _SUNGLASSES * np.median(lightness[face.low_cheeks]))


def _gate(image: Image, face: _Geometry, sunglasses: bool) -> Bool:
    """Tell skin from the rest by colour and edges: GrabCut, seeded with the cheeks' colours."""
    import cv2

    plain = cv2.inpaint(image, face.features.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    lab = _lab(np.asarray(cv2.bilateralFilter(plain, 5, 25, 3), np.uint8))
    dark = np.zeros(face.oval.shape, np.bool_)
    if sunglasses:
        dark = lab[..., 0] < _SUNGLASSES * np.median(lab[face.low_cheeks][:, 0])
        dark &= grow(face.under_eyes, 12 * face.scale)
    cheeks = face.cheeks & ~dark
    centre, spread = _cheek_colour(lab[cheeks])
    distance = np.linalg.norm((lab - centre) / spread, axis=-1)
    likely = distance < 3

    # Outside the reach all is background, but below the cheekbones ears and neck share the skin's colour: there
    # they may be labelled as they look, lest they teach the background that colour.
    mask = np.full(face.oval.shape, cv2.GC_BGD, np.uint8)
    free = face.reach | face.below_cheekbones
    mask[free] = np.where(likely[free], cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    mask[cheeks & (distance < 2.5)] = cv2.GC_FGD
    # The shaded side of nose and cheek: darker, but of the skin's hue.
    hue = np.linalg.norm(((lab - centre) / spread)[..., 1:], axis=-1)
    mask[face.core & (hue < 4) & (lab[..., 0] > 0.4 * centre[0])] = cv2.GC_FGD
    mask[dark] = cv2.GC_BGD
    stretched = np.clip(lab * (1.4, 2.2, 2.2) + (0, 128, 128), 0, 255).astype(np.uint8)
    cv2.setRNGSeed(1)  # GrabCut clusters colours from random seeds
    back, front = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(stretched, mask, (0, 0, 0, 0), back, front, 4, cv2.GC_INIT_WITH_MASK)
    return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def _cheek_colour(lab: Float) -> tuple[Float, Float]:
    """Return the cheeks' median LAB and a robust spread, wide in lightness because shadow is skin too."""
    centre = np.median(lab, axis=0)
    spread = 1.4826 * np.median(np.abs(lab - centre), axis=0)
    return centre, np.maximum(spread, (5, 2, 2)) * (2.0, 1.6, 1.6)


def _clean(skin: Bool, face: _Geometry) -> Bool:
    """Close glasses' frames and other gaps, cut off peninsulas, smooth the outline, drop specks, fill holes."""
    import cv2

    skin = morph(skin, cv2.MORPH_CLOSE, 4 * face.scale) & face.reach
    skin = morph(skin, cv2.MORPH_OPEN, 5 * face.scale)
    skin = cv2.GaussianBlur(skin.astype(np.float32), (0, 0), 2.0 * face.scale) > 0.5
    whole = float(face.oval.sum())
    skin = pieces(skin, _LEAST_PIECE * whole)  # sunglasses part the forehead from the cheeks
    return ~pieces(~skin, _LEAST_HOLE * whole)


def _flaw(skin: Bool, gated: Bool, face: _Geometry) -> str:
    """Say why the matte should not teach: glasses, or a face below the eyes that is covered or breaks up in shadow."""
    hidden = float(np.mean(~gated[face.under_eyes]))
    if hidden > _GLASSES:
        return f"glasses or shade: {hidden:.0%} of the skin under the eyes is hidden"
    mid = skin & face.oval & face.below_eyes
    loss = 1 - float(mid.sum() / (face.oval & face.below_eyes).sum())
    if loss > _MOST_LOSS:
        return f"covered: {loss:.0%} of the face below the eyes is not skin-coloured"
    outline = np.argwhere(mid)[:, ::-1].astype(np.float32)
    hollow = 1 - float(mid.sum() / polygon(convex(outline), mid.shape).sum())
    if hollow > _MOST_HOLLOW:
        return f"ragged: {hollow:.0%} of the convex outline of the face below the eyes is missing"
    return ""


def _soften(skin: Bool, scale: float) -> Float:
    import cv2

    soft = cv2.GaussianBlur(skin.astype(np.float32), (0, 0), max(1.0 * scale, 0.6))
    # The tails of the blur carry nothing: alpha is exactly 0 and 1 beyond 1.5 sigma or so.
    return np.asarray(np.clip((soft - 0.05) / 0.9, 0, 1), np.float32)


def ita(image: Image, alpha: Float) -> float:
    """Return the individual typology angle of the skin, in degrees: above 55 very light, below -30 dark.

    ITA = arctan((L* - 50) / b*) * 180 / pi over CIE L*a*b* (Chardon, Cretois and Hourseau, International Journal
    of Cosmetic Science 13, 1991), here of the median skin pixel under D65. A photo's white balance and light
    enter it, so it sorts faces and measures nobody.

    Args:
        image: RGB, uint8, (H, W, 3).
        alpha: Skin matte, float32, (H, W), in [0, 1].

    Raises:
        ValueError: No pixel is skin.
    """
    skin = alpha > 0.9
    if not skin.any():
        raise ValueError("no pixel has alpha above 0.9, so there is no skin to take a tone from")
    lightness, _, yellow = np.median(_lab(image)[skin], axis=0)
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def _lab(image: Image) -> Float:
    """Return CIE L*a*b* (D65; L* in [0, 100]) of 8-bit sRGB."""
    import cv2

    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
