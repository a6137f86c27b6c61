"""Value noise and simple textures: smoke, veils, cloth, backgrounds."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

_POOL = 512
_POOL_SEED = 20260


@functools.lru_cache(maxsize=1)
def _fractal_pool() -> tuple[npt.NDArray[np.float32], ...]:
    """Make the fractal-noise maps that :func:`fractal` cuts from: drawing each anew would cost milliseconds."""
    rng = np.random.default_rng(_POOL_SEED)
    return tuple(_fractal_map(rng, slope) for slope in (0.45, 0.5, 0.55, 0.6, 0.7, 0.8))


def _fractal_map(rng: np.random.Generator, slope: float) -> npt.NDArray[np.float32]:
    """Sum octaves of smooth value noise, each ``slope`` times weaker than the one before; range [0, 1]."""
    total = np.zeros((_POOL, _POOL), np.float32)
    cells, weight = 3, 1.0
    while cells <= _POOL // 2:
        grid = rng.random((cells, cells), dtype=np.float32)
        total += weight * cv2.resize(grid, (_POOL, _POOL), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight * slope
    flat = np.sort(total, axis=None)
    low, high = float(flat[flat.size // 200]), float(flat[-flat.size // 200])
    return np.asarray(np.clip((total - low) / (high - low), 0.0, 1.0), np.float32)


def fractal(rng: np.random.Generator, size: int, zoom: float | None = None) -> npt.NDArray[np.float32]:
    """Draw a map of multi-scale value noise.

    Args:
        rng: Source of randomness.
        size: Height and width, pixels.
        zoom: Pool pixels per output pixel, below about 1.5; drawn if None. Larger means finer structure.

    Returns:
        Float32, (size, size), in [0, 1].

    Example:
        >>> fractal(np.random.default_rng(0), 8).shape
        (8, 8)
    """
    pool = _fractal_pool()
    source = pool[int(rng.integers(len(pool)))]
    wanted = rng.uniform(0.35, 1.5) if zoom is None else zoom
    side = int(np.clip(size * wanted, 4, _POOL))
    top, left = rng.integers(0, _POOL - side + 1, 2)
    cut = np.rot90(source[top : top + side, left : left + side], int(rng.integers(4)))
    return np.asarray(cv2.resize(np.ascontiguousarray(cut), (size, size)), np.float32)


def random_colour(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw an RGB colour, 0 to 255, of any hue; muted ones are more likely than shrill ones.

    Args:
        rng: Source of randomness.
    """
    value = rng.uniform(20.0, 250.0)
    hue = rng.random(3)
    return np.asarray(value * (1 - rng.beta(1.2, 1.8) * hue), np.float32)


def texture(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """Draw an opaque texture: a noise-blended colour ramp, at times with stripes or checks.

    Args:
        rng: Source of randomness.
        size: Height and width, pixels.

    Returns:
        RGB, float32, (size, size, 3), 0 to 255.

    Example:
        >>> texture(np.random.default_rng(0), 16).shape
        (16, 16, 3)
    """
    blend = fractal(rng, size)
    if rng.random() < 0.35:
        blend = 0.4 * blend + 0.6 * _pattern(rng, size)
    stops = np.stack([random_colour(rng) for _ in range(int(rng.integers(2, 5)))])
    at = np.linspace(0, 1, len(stops))
    ramp = np.stack([np.interp(np.linspace(0, 1, 256), at, stops[:, c]) for c in range(3)], axis=1)
    levels = np.clip(blend * 255, 0, 255).astype(np.uint8)
    return ramp.astype(np.float32)[levels]


def _pattern(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """Draw stripes or checks, soft or hard, in [0, 1]."""
    angle = rng.uniform(0, np.pi)
    pitch = rng.uniform(0.02, 0.2) * size
    sharp = rng.uniform(0.7, 6.0)
    x = np.arange(size, dtype=np.float32)
    along = (math.cos(angle) * x[None, :] + math.sin(angle) * x[:, None]) * np.float32(2 * np.pi / pitch)
    wave = np.sin(along)
    if rng.random() < 0.4:
        across = (-math.sin(angle) * x[None, :] + math.cos(angle) * x[:, None]) * np.float32(2 * np.pi / pitch)
        wave = wave * np.sin(across)
    return np.asarray(np.clip(0.5 + 0.5 * np.float32(sharp) * wave, 0.0, 1.0), np.float32)
