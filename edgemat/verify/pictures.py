"""Draw what a network does worst on: single images, overall and by class of occluder, and the worst clip."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.images import write_png
from edgemat.verify.clips import Flicker
from edgemat.verify.evaluate import FRAME, MODEL, Evaluation, ImageScores
from edgemat.verify.groups import ordered
from edgemat.verify.sheet import GAIN, Picture, table

Alphas = npt.NDArray[np.float32]

_TITLES = ("image", "truth", "prediction", f"|error| x{GAIN}")


def worst_sheet(
    evaluation: Evaluation,
    samples: Sequence[Sample],
    predictions: Alphas,
    path: str | os.PathLike[str],
    n: int = 8,
) -> None:
    """Write one row an image: the image, truth, prediction and error, the worst first, then one a class of occluder.

    Args:
        evaluation: The figures of the samples.
        samples: What was evaluated.
        predictions: Alpha, float32, (N, H, W), in [0, 1], in the samples' order.
        path: The PNG to write.
        n: Images of highest MAD, >= 1; the classes' own come on top.

    Raises:
        InputError: Counts do not fit each other.
        OutputError: The file cannot be written.
    """
    if not len(samples) == len(predictions) == len(evaluation.images):
        raise InputError(
            f"worst: {len(samples)} samples, {len(predictions)} predictions, figures of {len(evaluation.images)} images"
        )
    rows = []
    for why, image in pick(evaluation, n):
        sample, alpha = samples[image.index], predictions[image.index]
        scores = image.scores[MODEL][FRAME]
        captions = (
            f"#{image.index} {image.face_id}",
            ", ".join(image.kinds) or "free",
            f"MAD {scores['mad']:.1f}  IoU {scores['iou']:.3f}",
            why,
        )
        pictures: list[Picture] = [sample.image / 255, sample.alpha, alpha, np.abs(alpha - sample.alpha) * GAIN]
        rows.append((captions, pictures))
    write_png(path, table(_TITLES, rows))


def pick(evaluation: Evaluation, n: int) -> list[tuple[str, ImageScores]]:
    """Choose the images to show, each once, with the reason why.

    Args:
        evaluation: The figures of every image.
        n: Images of highest MAD, >= 1.

    Returns:
        The ``n`` worst, the worst first; then the worst of each class of occluder that is not among them, by name.
    """
    ranked = evaluation.worst(len(evaluation.images))
    picked = [(f"worst {rank}", image) for rank, image in enumerate(ranked[:n], 1)]
    shown = {image.index for _, image in picked}
    classes = ordered({g for image in ranked for g in image.groups if g.startswith("occluder: ")})
    for group in classes:
        image = next(image for image in ranked if group in image.groups)
        if image.index not in shown:
            picked.append((f"worst of {group}", image))
            shown.add(image.index)
    return picked


def clip_strip(flicker: Flicker, path: str | os.PathLike[str], columns: int = 6) -> None:
    """Write the clip of highest dtSSD, a column a frame: image, truth, prediction, and the wrong part of its change.

    Args:
        flicker: The figures of clips.
        path: The PNG to write.
        columns: Frames shown, spread evenly over the clip, >= 2.

    Raises:
        OutputError: The file cannot be written.
    """
    truth = np.stack([frame.alpha for frame in flicker.worst])
    wrong = np.abs(np.diff(flicker.worst_alphas - truth, axis=0, prepend=(flicker.worst_alphas - truth)[:1]))
    shown = np.linspace(0, len(truth) - 1, min(columns, len(truth))).round().astype(int)
    first = flicker.worst[0]
    rows: list[tuple[list[str], list[Picture]]] = [
        ([first.face_id, ", ".join(first.kinds)], [flicker.worst[i].image / 255 for i in shown]),
        (["truth"], [truth[i] for i in shown]),
        (["prediction"], [flicker.worst_alphas[i] for i in shown]),
        ([f"change since the frame before, |error| x{GAIN}"], [wrong[i] * GAIN for i in shown]),
    ]
    write_png(path, table([f"frame {i}" for i in shown], rows))
