"""Occluders drawn from scratch, alpha exact: hair, fingers, blobs, veils and smoke."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.noise import fractal, random_colour, texture
from edgemat.data.scene import Canvas, Layer, Map, Points, Scene, alpha_of, lit, soft, times, tinted

_HAIR_COLOURS = np.array(
    [
        (18, 15, 14), (34, 26, 22), (55, 38, 28), (88, 60, 40), (120, 62, 36), (150, 110, 70), (196, 160, 108),
        (224, 200, 152), (120, 118, 116), (170, 168, 166), (214, 210, 206),
    ],
    np.float32,
)  # fmt: skip
# From light to dark; used for limbs that need not match the face.
SKIN_COLOURS = np.array(
    [
        (250, 222, 205), (240, 200, 175), (224, 178, 148), (205, 152, 120), (180, 126, 94), (150, 100, 72),
        (118, 76, 54), (86, 55, 40), (60, 40, 32),
    ],
    np.float32,
)  # fmt: skip


def limb_colour(rng: np.random.Generator, scene: Scene) -> npt.NDArray[np.float32]:
    """Draw the colour of a hand: half the time nearly the face's own, else any human skin.

    Args:
        rng: Source of randomness.
        scene: The face.

    Returns:
        RGB, 0 to 255, float32, (3,).
    """
    if rng.random() < 0.55:
        own = scene.skin * rng.normal(1.0, 0.05) * rng.normal(1.0, 0.02, 3)
        return np.clip(own, 15, 250).astype(np.float32)
    at = rng.uniform(0, len(SKIN_COLOURS) - 1)
    tone = np.stack([np.interp(at, np.arange(len(SKIN_COLOURS)), SKIN_COLOURS[:, c]) for c in range(3)])
    return np.clip(tone * rng.normal(1.0, 0.04, 3), 15, 252).astype(np.float32)


def hair(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw locks of single strands across the forehead or down the cheeks.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    canvas = Canvas(scene.size)
    base = _hair_colour(rng, scene)
    style = str(rng.choice(["fringe", "sides", "wisps", "sweep"], p=[0.3, 0.3, 0.2, 0.2]))
    fewest, most = {"fringe": (6, 11), "sides": (3, 7), "wisps": (1, 5), "sweep": (3, 6)}[style]
    side = rng.choice([-1.0, 1.0])
    width = scene.height / 256 * rng.uniform(0.35, 1.0)
    for _ in range(int(rng.integers(fewest, most + 1))):
        root, tip = _lock_ends(rng, style, side)
        strands = int(rng.integers(3, 14) if style == "wisps" else rng.integers(18, 55))
        curves = scene.at(_strands(rng, root, tip, strands, style))
        tone = base * rng.uniform(0.8, 1.2)
        for group in np.array_split(curves, 4):  # four shades a lock
            _draw_strands(canvas, group, tone * rng.lognormal(0.0, 0.28), width)
    sheen = 0.65 + 0.7 * fractal(rng, scene.size, 0.6)
    return lit(canvas.layer(), sheen)


def _hair_colour(rng: np.random.Generator, scene: Scene) -> npt.NDArray[np.float32]:
    """Draw the person's own colour in two of five cases, else any natural one, rarely a dyed one."""
    chance = rng.random()
    if chance < 0.4:
        return scene.hair
    if chance < 0.95:
        return np.asarray(_HAIR_COLOURS[rng.integers(len(_HAIR_COLOURS))] * rng.uniform(0.85, 1.15), np.float32)
    return random_colour(rng)


def _lock_ends(rng: np.random.Generator, style: str, side: float) -> tuple[Points, Points]:
    """Draw where a lock starts and ends, in face coordinates."""
    if style == "fringe":
        u = rng.uniform(-1.0, 1.0)
        ends = (u * 0.8, rng.uniform(-1.35, -1.05)), (u + rng.normal(0, 0.2), rng.uniform(-0.75, -0.1))
    elif style == "sweep":
        ends = (-side * rng.uniform(0.1, 0.6), rng.uniform(-1.3, -1.0)), (side * 1.1, rng.uniform(-0.5, 0.3))
    elif style == "sides":
        flank = side if rng.random() < 0.6 else -side
        ends = (flank * rng.uniform(0.35, 1.0), -1.2), (flank * rng.uniform(0.55, 1.15), rng.uniform(0.1, 1.5))
    else:
        ends = (rng.uniform(-1, 1), -1.2), (rng.uniform(-1.1, 1.1), rng.uniform(-0.4, 1.0))
    return np.array(ends[0], np.float32), np.array(ends[1], np.float32)


def _strands(rng: np.random.Generator, root: Points, tip: Points, count: int, style: str) -> Points:
    """Draw the strands of a lock as cubic Beziers, (count, 14, 2): together at one end, loose at the other."""
    spread = np.array([rng.uniform(0.06, 0.22), rng.uniform(0.04, 0.14), rng.uniform(0.03, 0.12)])
    loose = rng.uniform(0.01, 0.16 if style != "wisps" else 0.3)
    along = tip - root
    across = np.array([-along[1], along[0]], np.float32)
    bend = rng.normal(0, 0.22, 2)
    lane = rng.normal(0, 1, (count, 1)).astype(np.float32)
    own = rng.normal(0, 1, (4, count, 2)).astype(np.float32)
    control = np.stack(
        [
            root + lane * spread[0] * across / np.linalg.norm(across) + 0.07 * own[0],
            root + 0.35 * along + bend[0] * across + lane * spread[1] * 0.9 * across + 0.3 * loose * own[1],
            root + 0.7 * along + bend[1] * across + lane * spread[2] * 0.9 * across + 0.5 * loose * own[2],
            tip + lane * spread[2] * 0.4 * across + loose * own[3],
        ]
    )
    t = np.linspace(0, 1, 14, dtype=np.float32)
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    curves = np.einsum("kt,kcd->ctd", weights, control)
    curl = rng.uniform(0, 0.05) if rng.random() < 0.5 else 0.0
    phase = rng.uniform(0, 6.3) + 0.5 * rng.normal(0, 1, (count, 1, 1))
    wave = curl * t[:, None] * np.sin(t[:, None] * rng.uniform(8, 26) + phase)
    return np.asarray(curves + wave * across / np.linalg.norm(across), np.float32)


def _draw_strands(canvas: Canvas, curves: Points, colour: npt.NDArray[np.float32], width: float) -> None:
    """Draw strands that taper to half a pixel."""
    cut = 9
    canvas.lines(curves[:, :cut], colour, width)
    canvas.lines(curves[:, cut - 1 :], colour, 0.5 * width)


def fingers(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw one to four fingers, at times with the back of the hand, reaching into the face from its rim.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    canvas = Canvas(scene.size)
    skin = limb_colour(rng, scene)
    angle = rng.uniform(-0.35, np.pi + 0.35)  # where the hand comes from: a side or below
    start = np.array([math.cos(angle), math.sin(angle)], np.float32)
    reach = rng.uniform(0.45, 1.0) * scene.height * 0.5
    thick = scene.height * rng.uniform(0.09, 0.13)
    palm = scene.at(start * rng.uniform(0.8, 1.25))
    target = scene.at(rng.uniform(-0.35, 0.35, 2))
    ahead = (target - palm) / max(float(np.linalg.norm(target - palm)), 1e-3)
    across = np.array([-ahead[1], ahead[0]], np.float32)
    count = int(rng.integers(1, 5))
    arm = np.stack([palm - ahead * 3 * scene.height, palm - ahead * thick])
    fan = rng.uniform(0.0, 0.16)
    chains = []
    for i in range(count):
        lane = i - (count - 1) / 2
        base = palm + across * lane * thick * 1.04 - ahead * thick * 1.2
        way = ahead + across * (lane * fan + rng.normal(0, 0.05))
        length = reach * (1.0 - 0.12 * abs(lane - 0.3)) * rng.uniform(0.85, 1.1)
        bend = across * length * rng.normal(0, 0.12)
        chains.append(np.stack([base, base + way * length * 0.55 + bend, base + way * length + 0.6 * bend]))
    _limbs(canvas, arm, chains, skin, thick, thick * count * 0.95 + thick)
    if rng.random() < 0.7:
        for chain in chains:
            _nail(canvas, chain[1], chain[2], thick, skin)
    layer = canvas.layer()
    texture_gain = 0.94 + 0.12 * fractal(rng, scene.size, 1.5)
    return lit(_smooth_inside(layer, 0.12 * thick), texture_gain)


def _limbs(
    canvas: Canvas, arm: Points, chains: list[Points], colour: npt.NDArray[np.float32], thick: float, broad: float
) -> None:
    """Draw an arm and fingers as capsules, dark at the rim and light along the axis.

    All shapes are drawn shade by shade, not one after the other: so the fingers grow out of the hand, with dark
    creases only where they lie side by side.
    """
    for share, gain in ((1.0, 0.6), (0.93, 0.76), (0.82, 0.88), (0.65, 0.97), (0.4, 1.04)):
        shade = colour * gain * np.array([1.0, gain**0.15, gain**0.25])  # shadows of skin are warm
        canvas.lines([arm], shade, broad - (1 - share) * 1.2 * thick)
        canvas.lines(chains, shade, thick * share)


def _nail(canvas: Canvas, before: Points, tip: Points, thick: float, skin: npt.NDArray[np.float32]) -> None:
    way = (tip - before) / max(float(np.linalg.norm(tip - before)), 1e-3)
    degrees = float(np.degrees(np.arctan2(way[1], way[0])))
    pink = np.clip(skin * 1.08 + np.array([8.0, 2.0, 6.0]), 0, 255)
    canvas.disc(tip + way * thick * 0.15, (thick * 0.3, thick * 0.24), degrees, pink)


def _smooth_inside(layer: Layer, sigma: float) -> Layer:
    """Blur a layer's colour, but not its alpha: straight colour is blurred by normalised convolution."""
    if sigma < 0.3:
        return layer
    soft = np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma), np.float32)
    alpha = alpha_of(layer)
    share = np.asarray(alpha / np.maximum(alpha_of(soft), 1e-4), np.float32)
    return lit(times(soft, share), np.ones_like(alpha))


def blob(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw an object of arbitrary shape, textured and shaded, somewhere on the face.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    around = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(around)
    for order in range(2, 7):
        radius += rng.normal(0, 0.28 / order) * np.cos(order * around + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.25, 2.0) * scene.height * rng.uniform(0.12, 0.4)
    aspect, turn = rng.uniform(0.45, 1.0), rng.uniform(0, np.pi)
    x, y = radius * np.cos(around), aspect * radius * np.sin(around)
    ring = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], axis=1)
    if rng.random() < 0.3:  # an angular thing: few corners
        ring = ring[:: int(rng.integers(8, 20))]
    canvas = Canvas(scene.size)
    canvas.polygon(ring + scene.at(rng.uniform(-1.0, 1.0, 2)), (255.0, 255.0, 255.0))
    alpha = alpha_of(canvas.layer())
    return lit(tinted(alpha, texture(rng, scene.size)), _bulge(rng, alpha, scene.height))


def _bulge(rng: np.random.Generator, alpha: Map, height: float) -> Map:
    """Shade a silhouette as if it were round: darker toward its rim, lit from one side."""
    deep = soft(alpha, max(1.0, 0.06 * height))
    side = rng.uniform(0, 2 * np.pi)
    dx, dy = (np.asarray(cv2.Sobel(deep, cv2.CV_32F, i, 1 - i, ksize=1, scale=0.5)) for i in (1, 0))
    slope = (math.cos(side) * dx + math.sin(side) * dy) * np.float32(0.12 * height)
    return np.asarray(np.clip(0.55 + 0.5 * deep + slope, 0.2, 1.5), np.float32)


def smoke(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw smoke, steam or haze: fractal alpha, at most 0.8.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    density = fractal(rng, scene.size, rng.uniform(0.4, 1.2))
    threshold, gain = rng.uniform(0.2, 0.55), rng.uniform(1.2, 3.5)
    alpha = np.clip((density - threshold) * np.float32(gain), 0.0, rng.uniform(0.35, 0.8)).astype(np.float32)
    if rng.random() < 0.6:  # a plume, not a whole frame of it
        spot = scene.at(rng.uniform(-0.9, 0.9, 2))
        alpha *= _window(scene.size, spot, scene.height * rng.uniform(0.35, 0.9))
    grey = rng.uniform(60, 245) * (1 + rng.normal(0, 0.03, 3))
    return lit(tinted(alpha, grey.astype(np.float32)), 0.8 + 0.35 * fractal(rng, scene.size, 0.5))


def _window(size: int, centre: Points, radius: float) -> Map:
    """Fall smoothly from 1 at ``centre`` to 0 far away."""
    x = np.arange(size, dtype=np.float32)
    dx, dy = (x - centre[0]) / np.float32(radius), (x - centre[1]) / np.float32(radius)
    return np.asarray(np.exp(-(dx[None, :] ** 2)) * np.exp(-(dy[:, None] ** 2)), np.float32)


def veil(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw a thin cloth with folds and an edge: alpha 0.1 to 0.75, denser in the folds.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    angle = rng.uniform(0, 2 * np.pi)
    x = np.arange(scene.size, dtype=np.float32)
    edge = scene.at(rng.uniform(-0.8, 0.5, 2) * np.array([math.cos(angle), math.sin(angle)]))
    along = math.cos(angle) * (x[None, :] - edge[0]) + math.sin(angle) * (x[:, None] - edge[1])
    bow = (fractal(rng, scene.size, 0.3) - 0.5) * np.float32(0.3 * scene.height)
    inside = np.clip(along + bow + 0.5, 0.0, 1.0)
    across = -math.sin(angle) * x[None, :] + math.cos(angle) * x[:, None]
    pitch = scene.height * rng.uniform(0.08, 0.3)
    folds = 0.5 + 0.5 * np.sin((across + 2.5 * bow) * np.float32(2 * np.pi / pitch))
    thin = rng.uniform(0.1, 0.45)
    alpha = np.clip(inside * (thin + rng.uniform(0.1, 0.35) * folds**2), 0.0, 0.75).astype(np.float32)
    alpha = np.maximum(alpha, inside * np.clip(1 - np.abs(along + bow - 2) / 2, 0, 1) * np.float32(min(0.75, 2 * thin)))
    return lit(tinted(alpha, random_colour(rng)), (0.75 + 0.45 * folds).astype(np.float32))
