"""What a network is scored on: the fixed hold-out, the same for everyone, or a team's own folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.data.clips import FRAMES, holdout_clips
from edgemat.data.compositor import holdout
from edgemat.data.faces import load_faces
from edgemat.data.fitting import fit
from edgemat.data.occluders import load_occluders
from edgemat.data.shards import Shards, as_example, open_examples
from edgemat.data.splits import Split
from edgemat.data.types import Example, Sample
from edgemat.errors import InputError
from edgemat.verify.clips import Flicker
from edgemat.verify.converted import Converted
from edgemat.verify.evaluate import Evaluation, Predict, evaluate
from edgemat.verify.residual import Share
from edgemat.verify.strata import strata


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
    """Read a set of one's own (`edgemat.data.shards.open_examples`) at the student's size.

    An image of another shape is scaled, keeping its proportions, until it covers the size, and cut in the middle, its
    matte likewise. Occluders and skin tones of such a set are not known, and it has no mesh hull.

    Args:
        path: A folder that holds ``image/`` and ``alpha/``, paired by name, or WebDataset shards.
        size: Height and width of the samples, pixels.

    Raises:
        InputError: The set or one of its files cannot be used; all faults are listed.
    """
    items = open_examples(path)
    names = [items.key(i) for i in range(len(items))] if isinstance(items, Shards) else items.names
    return [_sample(name, fit(as_example(items[i]), size)) for i, name in enumerate(names)]


def _sample(name: str, example: Example) -> Sample:
    unknown = np.zeros_like(example.alpha)
    return Sample(example.image, example.alpha, unknown, unknown, face_id=name, kinds=("unknown",), ita=math.nan)


def clips(
    split: Split = "test", frames: int = FRAMES, cache_dir: Path | None = None
) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """Make the fixed clips of a split, one scene a face, in motion and standing still.

    Args:
        split: ``test`` or ``val``.
        frames: Frames a clip, >= 2.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.

    Raises:
        InputError: The data is not fetched.
    """
    return holdout_clips(load_faces(split, cache_dir), load_occluders(split, cache_dir), frames)


def predictor(path: Path | None = None) -> Predict:
    """Return what runs a network, of a student, a quantized student or a teacher, as the file itself says.

    Args:
        path: The file; the shipped student if None. A quantized student runs as its integer file, in ONNX Runtime.

    Raises:
        InputError: The file cannot be read, or holds none of these.
    """
    from edgemat.model import weights
    from edgemat.model.predict import predict, predict_teacher

    path = weights.shipped() if path is None else path
    kind = weights.file_format(path)
    if kind == weights.QUANTIZED_FORMAT:
        return Converted(path)
    if kind == weights.TEACHER_FORMAT:
        teacher = weights.load_teacher(path).net
        return lambda images: predict_teacher(teacher, images)[0]
    student = weights.load(path).net
    return lambda images: predict(student, images)


def predictors(paths: Sequence[Path]) -> dict[str, Predict]:
    """Return what runs several networks, by names that tell them apart; the shipped student before a single one.

    Args:
        paths: Files as `predictor` takes them, at least one.

    Raises:
        InputError: A file cannot be read, or is given twice.
    """
    from edgemat.model import weights

    given = [weights.shipped(), *paths] if len(paths) == 1 else list(paths)
    twice = [str(path) for path in given if given.count(path) > 1]
    if twice:
        raise InputError(f"{twice[0]}: given twice; expected different networks")
    stems = [path.stem for path in given]
    names = [str(path) if stems.count(path.stem) > 1 else path.stem for path in given]
    return {name: predictor(path) for name, path in zip(names, given, strict=True)}


def score(run: Predict, on: Iterable[Sample], baseline: bool = True) -> tuple[Evaluation, npt.NDArray[np.float32]]:
    """Run a network on samples, measure it beside the mesh hull, and keep what it said.

    Args:
        run: Such as `predictor` returns.
        on: What to measure on, all of one size.
        baseline: Measure the samples' mesh hulls as well.

    Returns:
        The evaluation, and the alphas, float32, (N, H, W).

    Raises:
        InputError: As `edgemat.verify.evaluate.evaluate`.
    """
    alphas: list[npt.NDArray[np.float32]] = []

    def keep(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        alphas.append(run(images))
        return alphas[-1]

    return evaluate(keep, on, baseline), np.concatenate(alphas)


def document(evaluation: Evaluation, shares: Sequence[Share], flicker: Flicker | None) -> dict[str, object]:
    """Put all findings into one JSON-ready document.

    Args:
        evaluation: The figures of every image; its document carries ``schema_version``.
        shares: Where the error lies; empty when that is not known.
        flicker: The figures of clips; None when none were run.
    """
    return evaluation.to_json() | {
        "strata": strata(evaluation).to_json(),
        "residual": [share.to_json() for share in shares],
        "clips": None if flicker is None else flicker.to_json(),
    }
