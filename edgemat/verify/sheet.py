"""Draw a sheet of the best, the median and the worst predictions: figures alone hide what went wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.images import write_png
from edgemat.metrics import mad

Rgb = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.floating[Any]]

GAIN = 4
"""How much brighter than alpha a difference is drawn: 1/4 is white."""

_TITLES = ("image", "truth", "prediction", f"|difference| x{GAIN}", "filter through prediction")
_GREEN = np.array([0.0, 0.8, 0.3])
_LABEL_HEIGHT = 16


def sheet(
    samples: Sequence[Sample],
    predictions: npt.NDArray[np.float32],
    path: str | os.PathLike[str],
    n: int = 8,
) -> None:
    """Write one row a sample: image, truth, prediction, difference, and a green filter worn through it.

    Rows go from the lowest MAD to the highest: a quarter of them the best, a quarter around the median, the
    rest the worst; all samples when there are no more than ``n``.

    Args:
        samples: What was predicted on, all of one size, at least one.
        predictions: Alpha, float32, (N, H, W), in [0, 1], in the samples' order.
        path: The PNG to write.
        n: Rows at most, >= 1.

    Raises:
        InputError: Counts or sizes do not fit each other, or a prediction is out of range.
        OutputError: The file cannot be written.
    """
    if not samples or n < 1:
        raise InputError(f"sheet: {len(samples)} samples, {n} rows; expected at least one of each")
    expected = (len(samples), *samples[0].alpha.shape)
    if predictions.shape != expected or any(s.alpha.shape != expected[1:] for s in samples):
        sizes = sorted({s.alpha.shape for s in samples})
        raise InputError(f"sheet: predictions {predictions.shape} for {len(samples)} samples of {sizes}")
    errors = mad(predictions, np.stack([sample.alpha for sample in samples]))
    rows = []
    for place, kind in choose(errors, n):
        sample = samples[place]
        texts = f"#{place} {kind}: MAD {errors[place]:.1f}", ", ".join(sample.kinds) or "free"
        rows.append((texts, _panels(sample, predictions[place])))
    write_png(path, table(_TITLES, rows))


def table(titles: Sequence[str], rows: Iterable[tuple[Sequence[str], Sequence[Picture]]]) -> Rgb:
    """Lay pictures out in rows under titles, each row under its own captions.

    Args:
        titles: One a column.
        rows: Captions (over the first columns; at most as many as columns) and pictures of each row, at least one row;
            the pictures floating, (H, W) or (H, W, 3), cut to [0, 1], all of one size.

    Returns:
        RGB, uint8, (16 + rows (16 + H), columns W, 3).

    Example:
        >>> table(["a", "b"], [(["first row"], [np.zeros((32, 32)), np.ones((32, 32, 3))])]).shape
        (64, 64, 3)
    """
    strips: list[Rgb] = []
    for captions, pictures in rows:
        colour = [np.broadcast_to(p if p.ndim == 3 else p[..., None], (*p.shape[:2], 3)) for p in pictures]
        strip = np.asarray(np.round(np.clip(np.concatenate(colour, axis=1), 0, 1) * 255), np.uint8)
        strips += [_label(captions, pictures[0].shape[1], len(titles)), strip]
    return np.concatenate([_label(titles, strips[-1].shape[1] // len(titles), len(titles)), *strips])


def choose(errors: npt.NDArray[np.float64], n: int) -> list[tuple[int, str]]:
    """Pick what to show: places in ``errors`` from the lowest to the highest, each with its caption.

    Args:
        errors: One value a sample, (N,), lower is better.
        n: How many to pick at most, >= 1.

    Example:
        >>> choose(np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0]), 4)
        [(1, 'best'), (4, 'median'), (0, 'worst'), (5, 'worst')]
    """
    order = [int(place) for place in np.argsort(errors, kind="stable")]
    total, quarter = len(order), n // 4
    if total <= n:
        return [(place, f"rank {rank}") for rank, place in enumerate(order, 1)]
    worst = n - 2 * quarter
    # The middle must not reach into the two ends when there is hardly more than n to choose from.
    middle = min(max((total - quarter) // 2, quarter), total - worst - quarter)
    picked = [(place, "best") for place in order[:quarter]]
    picked += [(place, "median") for place in order[middle : middle + quarter]]
    return picked + [(place, "worst") for place in order[total - worst :]]


def _panels(sample: Sample, prediction: npt.NDArray[np.float32]) -> list[Picture]:
    """Return one sample's five pictures, floating, (H, W) or (H, W, 3)."""
    alpha = prediction[..., None].astype(np.float64)
    picture = sample.image / 255
    filtered = alpha * _GREEN + (1 - alpha) * picture
    return [picture, sample.alpha, prediction, np.abs(prediction - sample.alpha) * GAIN, filtered]


def _label(texts: Sequence[str], width: int, columns: int) -> Rgb:
    """Print a text over each of the first columns, white on black, uint8, (16, columns * width, 3)."""
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (width * columns, _LABEL_HEIGHT))
    draw = ImageDraw.Draw(strip)
    for column, text in enumerate(texts):
        draw.text((column * width + 4, 2), text, fill="white")
    return np.asarray(strip)
