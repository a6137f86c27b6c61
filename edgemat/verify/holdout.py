"""What a student is scored on: the fixed hold-out, the same for everyone, or a team's own folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.data.compositor import holdout
from edgemat.data.faces import load_faces
from edgemat.data.fitting import fit
from edgemat.data.folder import MatteFolder
from edgemat.data.occluders import load_occluders
from edgemat.data.splits import Split
from edgemat.data.types import Example, Sample
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


def folder_samples(path: Path, size: int = 256) -> list[Sample]:
    """Read a folder of images and mattes (`edgemat.data.folder.MatteFolder`) at the student's size.

    An image of another shape is scaled, keeping its proportions, until it covers the size, and cut in the middle, its
    matte likewise. Occluders and skin tones of such a folder are not known, and it has no mesh hull.

    Args:
        path: Holds ``image/`` and ``alpha/``, paired by name.
        size: Height and width of the samples, pixels.

    Raises:
        InputError: The folder or one of its files cannot be used; all faults are listed.
    """
    pairs = MatteFolder(path)
    return [_sample(name, *pair, size) for name, pair in zip(pairs.names, pairs, strict=True)]


def _sample(name: str, image: npt.NDArray[np.uint8], alpha: npt.NDArray[np.float32], size: int) -> Sample:
    fitted = fit(Example(image, alpha), size)
    unknown = np.zeros_like(fitted.alpha)
    return Sample(fitted.image, fitted.alpha, unknown, unknown, face_id=name, kinds=("unknown",), ita=math.nan)


def score(
    weights: Path | None, on: Sequence[Sample], baseline: bool = True
) -> tuple[Evaluation, npt.NDArray[np.float32]]:
    """Run a student on samples and measure it beside the mesh hull.

    Args:
        weights: A student's file; the shipped one if None.
        on: What to measure on, all of one size.
        baseline: Measure the samples' mesh hulls as well.

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

    return evaluate(run, on, baseline), np.concatenate(alphas)
