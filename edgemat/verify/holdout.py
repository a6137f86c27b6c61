"""The fixed hold-out: the same composites for everyone who scores a student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.data.compositor import holdout
from edgemat.data.faces import load_faces
from edgemat.data.occluders import load_occluders
from edgemat.data.splits import Split
from edgemat.data.types import Sample
from edgemat.verify.evaluate import Evaluation, evaluate


def samples(split: Split = "test", per_face: int = 8, cache_dir: Path | None = None) -> list[Sample]:
    """Make the hold-out composites of a split; the same call gives the same bytes.

    Args:
        split: ``test`` or ``val``: faces and occluders that training never sees.
        per_face: Composites a face.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.

    Raises:
        InputError: The data is not fetched.
    """
    return holdout(load_faces(split, cache_dir), load_occluders(split, cache_dir), per_face)


def score(weights: Path | None, on: Sequence[Sample]) -> tuple[Evaluation, npt.NDArray[np.float32]]:
    """Run a student on samples and measure it beside the mesh hull.

    Args:
        weights: A student's file; the shipped one if None.
        on: What to measure on, all of one size.

    Returns:
        The evaluation, and the alphas, float32, (N, H, W).

    Raises:
        InputError: The weights cannot be read.
    """
    from edgemat.model.predict import predict
    from edgemat.model.weights import load, shipped

    net = load(weights or shipped()).net
    alphas: list[npt.NDArray[np.float32]] = []

    def run(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        alphas.append(predict(net, images))
        return alphas[-1]

    return evaluate(run, on), np.concatenate(alphas)
