"""Things people wear or hold to their face, drawn in line with its landmarks: glasses, masks, scarves, microphones."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgemat.data.noise import fractal, random_colour, texture
from edgemat.data.scene import JAW, Canvas, Layer, Points, Scene, alpha_of, lit, over, tinted

_WHITE = (255.0, 255.0, 255.0)
_FRAMES = np.array(
    [(15, 15, 17), (40, 28, 22), (95, 60, 35), (120, 120, 125), (190, 160, 95), (150, 30, 40), (30, 50, 110)],
    np.float32,
)
_CLOTHS = np.array(
    [(120, 170, 205), (160, 200, 215), (235, 238, 240), (25, 26, 30), (70, 80, 95), (205, 165, 170), (60, 90, 70)],
    np.float32,
)


def glasses(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw glasses: an opaque frame, and lenses of alpha 0.02 (clear) to 0.95 (sunglasses).

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    right, left = scene.eyes
    across = (left - right) / 2
    half = float(np.linalg.norm(across))  # half the distance between the eyes
    if half < 2:
        return np.zeros((scene.size, scene.size, 4), np.float32)
    unit = across / half
    down = np.array([-unit[1], unit[0]], np.float32)
    down *= np.float32(np.sign(down @ scene.axes[1]) or 1.0)  # a mirrored face has its eyes in the other order
    middle = (left + right) / 2 + down * half * rng.uniform(-0.05, 0.25)
    width, height = half * rng.uniform(0.66, 0.86), half * rng.uniform(0.45, 0.8)
    rims = [_rim(rng, middle + s * unit * half * 1.02, s * unit * width, down * height) for s in (-1, 1)]
    rims[0] = _mirrored(rims[1], middle, unit)
    colour = _FRAMES[rng.integers(len(_FRAMES))] if rng.random() < 0.75 else random_colour(rng)
    frame = _frame(rng, scene, rims, middle, unit, down, colour)
    return over(frame, _lenses(rng, scene, rims, down, height))


def _rim(rng: np.random.Generator, centre: Points, x: Points, y: Points) -> Points:
    """Return the outline of a lens, a superellipse that may widen upward, (48, 2)."""
    around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = 2 / rng.uniform(2.0, 5.0)
    u = np.sign(np.cos(around)) * np.abs(np.cos(around)) ** power
    v = np.sign(np.sin(around)) * np.abs(np.sin(around)) ** power
    u *= 1 - rng.uniform(-0.02, 0.22) * (v + 1) / 2
    return np.asarray(centre + u[:, None] * x + v[:, None] * y, np.float32)


def _mirrored(rim: Points, middle: Points, unit: Points) -> Points:
    offset = rim - middle
    return np.asarray(rim - 2 * (offset @ unit)[:, None] * unit, np.float32)


def _frame(
    rng: np.random.Generator,
    scene: Scene,
    rims: list[Points],
    middle: Points,
    unit: Points,
    down: Points,
    colour: npt.NDArray[np.float32],
) -> Layer:
    """Draw rims, bridge and temples."""
    canvas = Canvas(scene.size)
    thick = scene.height * rng.uniform(0.006, 0.032)
    inner = [rim[np.argmin(np.abs((rim - middle) @ unit))] for rim in rims]
    lift = -down * scene.height * rng.uniform(0.01, 0.06)
    for side, rim in zip((-1.0, 1.0), rims, strict=True):
        outer = rim[np.argmax(side * ((rim - middle) @ unit))] + lift * 0.5
        ear = scene.landmarks[234 if side < 0 else 454]
        beyond = ear + side * unit * scene.height * 0.06
        canvas.lines([np.stack([outer, beyond])], colour * 0.85, max(thick * 1.1, 0.012 * scene.height))
    bridge = np.stack([inner[0], middle + lift, inner[1]])
    canvas.lines([bridge], colour * 1.1, thick)
    rimless = rng.random() < 0.12
    canvas.lines(rims, colour, 0.004 * scene.height if rimless else thick, closed=True)
    if thick > 0.014 * scene.height and rng.random() < 0.6:  # a plastic frame has a light edge
        canvas.lines([rim[26:46] for rim in rims], colour * 1.3 + 35, 0.3 * thick)
    return lit(canvas.layer(), 0.75 + 0.6 * fractal(rng, scene.size, 0.5))


def _lenses(rng: np.random.Generator, scene: Scene, rims: list[Points], down: Points, height: float) -> Layer:
    """Fill the rims: clear, tinted or dark, darker toward the top, with a reflection at times."""
    canvas = Canvas(scene.size)
    for rim in rims:
        canvas.polygon(rim, _WHITE)
    inside = alpha_of(canvas.layer())
    kind = rng.choice(["clear", "tinted", "dark"], p=[0.45, 0.25, 0.3])
    low, high = {"clear": (0.02, 0.15), "tinted": (0.2, 0.6), "dark": (0.65, 0.95)}[kind]
    x = np.arange(scene.size, dtype=np.float32)
    centre = np.concatenate(rims).mean(axis=0)
    depth = (down[0] * (x[None, :] - centre[0]) + down[1] * (x[:, None] - centre[1])) / np.float32(height)
    fade = np.clip(1 - rng.uniform(0, 0.35) * (depth + 1) / 2, 0.3, 1.0)
    alpha = (inside * np.float32(rng.uniform(low, high)) * fade).astype(np.float32)
    colour = random_colour(rng) * (0.25 if kind == "dark" else 0.8)
    lens = tinted(alpha, colour.astype(np.float32))
    if rng.random() < 0.55:
        slant = depth + (x[None, :] - centre[0]) / np.float32(height) * rng.uniform(-1.5, 1.5)
        glare = np.clip(1 - np.abs(slant - rng.uniform(-0.7, 0.7)) / rng.uniform(0.15, 0.6), 0, 1)
        bright = (inside * glare * np.float32(rng.uniform(0.1, 0.7))).astype(np.float32)
        lens = over(tinted(bright, np.float32(rng.uniform(170, 255)) * np.ones(3, np.float32)), lens)
    return lens


def mask(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw a medical or cloth mask over nose, mouth and chin, with pleats and ear loops.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    jaw = scene.landmarks[list(JAW)]
    grown = scene.centre + (jaw - scene.centre) * rng.uniform(1.03, 1.1)
    trim = int(rng.integers(1, 4))
    rim = grown[trim:-trim]
    nose = scene.landmarks[[168, 197, 195, 4]][rng.choice(4, p=[0.1, 0.4, 0.4, 0.1])]
    cheeks = scene.landmarks[[425, 205]]
    height = rng.uniform(0.45, 0.9)
    side_left, side_right = (c + (nose - c) * np.array([0.45, height]) for c in cheeks)
    top = _curve(rim[-1], side_right, nose, side_left, rim[0])
    outline = np.concatenate([rim, top])
    canvas = Canvas(scene.size)
    colour = _CLOTHS[rng.integers(len(_CLOTHS))] if rng.random() < 0.8 else random_colour(rng)
    for corner, ear in ((rim[0], scene.landmarks[454]), (rim[-1], scene.landmarks[234])):
        canvas.lines([np.stack([corner, ear + 0.02 * (ear - scene.centre)])], colour * 0.9, scene.height * 0.014)
    strings = canvas.layer()
    canvas = Canvas(scene.size)
    canvas.polygon(outline, _WHITE)
    cloth = tinted(alpha_of(canvas.layer()), _cloth_image(rng, scene, colour))
    return over(lit(cloth, _pleats(rng, scene, nose)), strings)


def _curve(*points: Points) -> Points:
    """Round the corners of a polyline by two of Chaikin's corner cuttings (1974), ends kept."""
    line = np.stack(points)
    for _ in range(2):
        ahead, behind = 0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]
        cut = np.stack([ahead, behind], axis=1).reshape(-1, 2)
        line = np.concatenate([line[:1], cut, line[-1:]])
    return np.asarray(line, np.float32)


def _cloth_image(rng: np.random.Generator, scene: Scene, colour: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return plain cloth with a weave, or a patterned one."""
    if rng.random() < 0.25:
        return texture(rng, scene.size)
    weave = 0.96 + 0.08 * fractal(rng, scene.size, 1.5)
    return np.asarray(weave[..., None] * colour, np.float32)


def _pleats(rng: np.random.Generator, scene: Scene, nose: Points) -> npt.NDArray[np.float32]:
    """Shade a mask: round about the face's middle line, with two or three cross folds in some."""
    inverse = np.linalg.inv(scene.axes)
    x = np.arange(scene.size, dtype=np.float32)
    dx, dy = x[None, :] - scene.centre[0], x[:, None] - scene.centre[1]
    u, v = dx * inverse[0, 0] + dy * inverse[1, 0], dx * inverse[0, 1] + dy * inverse[1, 1]
    shade = 1.08 - rng.uniform(0.15, 0.45) * u**2 + rng.uniform(-0.15, 0.15) * u
    if rng.random() < 0.6:
        turns = rng.uniform(8, 16)
        shade = shade + rng.uniform(0.03, 0.1) * np.sin(v * turns - 1.5 * u**2).clip(-0.3, 1)
    crease = fractal(rng, scene.size, 0.4) - 0.5
    return np.asarray(np.clip(shade + 0.25 * crease, 0.3, 1.4), np.float32)


def scarf(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw a scarf or a pulled-up collar over the chin, up to the nose at most, running out of the frame below.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    top = rng.uniform(0.15, 0.8)
    tilt, sag = rng.normal(0, 0.12), rng.uniform(-0.1, 0.25)
    u = np.linspace(-2.2, 2.2, 24)
    rim = np.stack([u, top + tilt * u - sag * np.cos(u * 1.2) * -1 + rng.normal(0, 0.015, u.size)], axis=1)
    outline = np.concatenate([rim, [(2.2, 5.0), (-2.2, 5.0)]])
    canvas = Canvas(scene.size)
    canvas.polygon(scene.at(outline), _WHITE)
    cloth = texture(rng, scene.size) if rng.random() < 0.4 else _cloth_image(rng, scene, random_colour(rng))
    folds = 0.6 + 0.75 * fractal(rng, scene.size, 0.35)
    return lit(tinted(alpha_of(canvas.layer()), cloth), folds.astype(np.float32))


def microphone(rng: np.random.Generator, scene: Scene) -> Layer:
    """Draw a hand microphone before the mouth or chin, its handle leading out below.

    Args:
        rng: Source of randomness.
        scene: The face.
    """
    canvas = Canvas(scene.size)
    head = scene.at(rng.uniform((-0.5, 0.3), (0.5, 1.0)))
    radius = scene.height * rng.uniform(0.09, 0.17)
    tilt = rng.uniform(-0.9, 0.9)
    down = scene.axes[1] / max(float(np.linalg.norm(scene.axes[1])), 1e-3)
    turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    way = down @ turn
    side = np.array([-way[1], way[0]])
    metal = (30 + 190 * rng.beta(1, 1.5)) * np.ones(3) + rng.normal(0, 5, 3)
    grip = random_colour(rng) if rng.random() < 0.3 else metal * rng.uniform(0.4, 0.9)
    for share, gain in ((1.0, 0.6), (0.75, 0.9), (0.45, 1.15), (0.2, 1.35)):
        near, far = 0.55 * radius * share, 0.38 * radius * share
        end = head + way * radius * 9
        start = head + way * radius * 0.7
        body = np.stack([start + side * near, end + side * far, end - side * far, start - side * near])
        canvas.polygon(body, grip * gain)
    canvas.disc(head + way * radius * 0.95, (radius * 0.16, radius * 0.75), _degrees(way), metal * 0.8)
    for share, gain in ((1.0, 0.45), (0.86, 0.6), (0.66, 0.8), (0.4, 1.0), (0.18, 1.2)):
        shifted = head - side * radius * 0.25 * (1 - share)
        canvas.disc(shifted, (radius * 1.12 * share, radius * share), _degrees(way), metal * gain)
    _grille(canvas, head, radius, way, side, metal)
    return lit(canvas.layer(), 0.9 + 0.2 * fractal(rng, scene.size, 1.0))


def _grille(
    canvas: Canvas, head: Points, radius: float, way: Points, side: Points, metal: npt.NDArray[np.float64]
) -> None:
    """Cross the head with fine wires."""
    offsets = np.linspace(-0.85, 0.85, 9)
    reach = np.sqrt(1 - offsets**2) * 0.95
    for first, second in ((way, side), (side, way)):
        ends = zip(offsets, reach, strict=True)
        wires = [np.stack([head + radius * (o * first + s * r * second) for s in (-1, 1)]) for o, r in ends]
        canvas.lines(wires, metal * 0.35, 0.5)


def _degrees(way: Points) -> float:
    return float(np.degrees(np.arctan2(way[1], way[0])))
