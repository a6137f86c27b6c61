"""Train a network on the fetched data or on a set of one's own: joins recipe, source, validation and model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgemat import __version__
from edgemat.data.compositor import holdout
from edgemat.data.faces import load_faces
from edgemat.data.occluders import load_occluders
from edgemat.data.records import ANNOTATED, RENDERED, read_record
from edgemat.data.render import Composites
from edgemat.data.shards import open_examples, shuffled
from edgemat.data.types import Example, Sample
from edgemat.errors import InputError
from edgemat.files import sha256
from edgemat.model import weights
from edgemat.quantize import graph as graphs
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme
from edgemat.train.annotate import expect_teacher
from edgemat.train.batches import Source
from edgemat.train.loop import train
from edgemat.train.monitor import Progress
from edgemat.train.qatstage import QatStage
from edgemat.train.recipe import QatRecipe, Recipe, StudentRecipe, TeacherRecipe
from edgemat.train.stages import StudentStage, TeacherStage, no_teacher
from edgemat.verify.holdout import folder_samples

if TYPE_CHECKING:
    from onnx import ModelProto

_COMPOSITES = (
    "fake-avatars 1.1.0 faces (train split) with occluders of @lobehub/fluent-emoji-3d 1.1.0 (train split) "
    "and drawn hair, glasses, masks, microphones, fingers, objects, veils and smoke"
)


def card(recipe: Recipe, command: str, data: Path | None = None) -> dict[str, str]:
    """Return the model-card entries of a network.

    Args:
        recipe: How it was trained.
        command: The command line that made it.
        data: The set it was trained on; composites of the fetched data if None.
    """
    what = "RGB in, alpha out; skin is 1, occluders and background are 0."
    if isinstance(recipe, TeacherRecipe):
        what = "RGB in, alpha and the log scale of its error out; skin is 1, occluders and background are 0."
    return {
        "version": __version__,
        "author": "The edgemat developers",
        "license": "CC-BY-NC-4.0",
        "license_note": "Research and evaluation only: the training faces come from a generator whose images are "
        "non-commercial.",
        "description": f"Face matting: {what}",
        "data": _COMPOSITES if data is None else _set_of(data),
        "seed": str(recipe.seed),
        "command": command,
    }


def _set_of(data: Path) -> str:
    """Say in one line what a set on disk holds, as far as the set itself says it."""
    annotated = read_record(data, ANNOTATED) or {}
    rendered = annotated.get("rendered") or read_record(data, RENDERED)
    if rendered is None:
        return f"own set {annotated.get('set', data.resolve().name)}"
    how, sources = rendered.get("arguments", {}), rendered.get("sources", {})
    told = [f"{name} = {how.get(name)}" for name in ("count", "split", "seed", "mild")]
    return f"{_COMPOSITES}; rendered with {', '.join(told)}, sources sha256 {sources.get('sha256')}"


def _made_by(init: Path, info: Mapping[str, str]) -> str:
    """Say which weights a run began with."""
    return f"sha256 {sha256(init)}, made by: {info.get('command', 'unknown')}"


class _Examples:
    """Composites as what training reads."""

    def __init__(self, sample: Composites) -> None:
        self.sample = sample

    def __call__(self, index: int) -> Example:
        sample = self.sample(index)
        return Example(sample.image, sample.alpha)


def source_of(recipe: Recipe, data: Path | None, cache_dir: Path | None = None) -> Source:
    """Return where a recipe's examples come from.

    Args:
        recipe: Its size, seed and share of mild composites count.
        data: A folder with image/ and alpha/, or WebDataset shards; composites made on the way if None.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.

    Raises:
        InputError: The set cannot be read, or the data is not fetched.
    """
    if data is not None:
        return shuffled(open_examples(data), recipe.seed, size=recipe.size)
    faces, occluders = load_faces("train", cache_dir), load_occluders("train", cache_dir)
    return _Examples(Composites(faces, occluders, recipe.size, recipe.seed, recipe.mild))


def validation_of(recipe: Recipe, own: Path | None = None, cache_dir: Path | None = None) -> list[Sample]:
    """Make or read what a run is validated on; the same call gives the same bytes.

    Args:
        recipe: Its size and, for composites, their number a face count.
        own: A folder with image/ and alpha/, or WebDataset shards; composites of the validation split if None.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.

    Raises:
        InputError: The set cannot be read, or the data is not fetched.
    """
    if own is not None:
        return folder_samples(own, recipe.size)
    try:
        faces, occluders = load_faces("val", cache_dir), load_occluders("val", cache_dir)
    except InputError as error:
        raise InputError(f"{error}. Or validate on a set of your own: --validation PATH") from error
    return holdout(faces, occluders, recipe.validation_per_face, size=recipe.size)


def train_teacher(
    recipe: TeacherRecipe,
    out: Path,
    *,
    command: str,
    init: Path | None = None,
    data: Path | None = None,
    validation: Path | None = None,
    cache_dir: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train a teacher.

    Args:
        recipe: What to train and how.
        out: Folder of the run; a checkpoint in it is resumed.
        command: The command line, for the model card.
        init: Weights to begin with; fresh ones if None.
        data: As `source_of`.
        validation: As ``own`` of `validation_of`.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.
        on_progress: Called about every ten seconds.

    Returns:
        Whether the run is complete; False when a signal ended it early.

    Raises:
        InputError: The data cannot be read, or ``out`` holds another recipe's checkpoint.
    """
    facts = card(recipe, command, data)
    if init is not None:
        facts["begun_from"] = _made_by(init, weights.load_teacher(init).info)
    return train(
        TeacherStage(recipe),
        source_of(recipe, data, cache_dir),
        validation_of(recipe, validation, cache_dir),
        out,
        card=facts,
        init=init,
        on_progress=on_progress,
    )


def train_student(
    recipe: StudentRecipe,
    out: Path,
    *,
    command: str,
    init: Path | None = None,
    teacher: Path | None = None,
    data: Path | None = None,
    validation: Path | None = None,
    cache_dir: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train a student, distilled from a teacher where the recipe says so.

    Args:
        recipe: What to train and how.
        out: Folder of the run; a checkpoint in it is resumed.
        command: The command line, for the model card.
        init: Weights to begin with; fresh ones if None.
        teacher: A teacher's weights; asked for by a recipe that needs one.
        data: As `source_of`; a set that `edgemat.train.annotate` annotated must bear the same teacher's word.
        validation: As ``own`` of `validation_of`.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.
        on_progress: Called about every ten seconds.

    Returns:
        Whether the run is complete; False when a signal ended it early.

    Raises:
        InputError: The data or the teacher cannot be read or do not belong together, or ``out`` holds another recipe's
            checkpoint.
    """
    if teacher is not None and not recipe.needs_teacher:
        raise InputError("--teacher: the recipe asks no teacher; set teacher_share or weighting in it, or leave it out")
    if teacher is None and recipe.needs_teacher:
        raise no_teacher(recipe)  # before the validation set, which takes its time
    facts = card(recipe, command, data)
    if init is not None:
        facts["begun_from"] = _made_by(init, weights.load(init).info)
    net = None
    if teacher is not None:
        net = weights.load_teacher(teacher).net
        facts["teacher"] = f"sha256 {sha256(teacher)}"
        if data is not None:
            expect_teacher(data, teacher)
    judged = validation_of(recipe, validation, cache_dir)
    return train(
        StudentStage(recipe, net, np.stack([s.image for s in judged])),
        source_of(recipe, data, cache_dir),
        judged,
        out,
        card=facts,
        init=init,
        on_progress=on_progress,
    )


def train_qat(
    recipe: QatRecipe,
    out: Path,
    model: ModelProto,
    *,
    command: str,
    init: Path,
    teacher: Path | None = None,
    data: Path | None = None,
    validation: Path | None = None,
    cache_dir: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train a student on its integer grid, whose scales begin as calibrated on training images.

    Args:
        recipe: What to train and how.
        out: Folder of the run; a checkpoint in it is resumed.
        model: The student's float trunk at the recipe's size.
        command: The command line, for the model card.
        init: The float student's weights.
        teacher: A teacher's weights; asked for by a recipe that needs one.
        data: As `source_of`; a set that `edgemat.train.annotate` annotated must bear the same teacher's word.
        validation: As ``own`` of `validation_of`.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.
        on_progress: Called about every ten seconds.

    Returns:
        Whether the run is complete; False when a signal ended it early.

    Raises:
        InputError: The data or the teacher cannot be read or do not belong together, or ``out`` holds another recipe's
            checkpoint.
    """
    if teacher is None and recipe.needs_teacher:
        raise no_teacher(recipe)
    student = weights.load(init)
    facts = card(recipe, command, data) | {"begun_from": _made_by(init, student.info)}
    net = None
    if teacher is not None and recipe.needs_teacher:
        net = weights.load_teacher(teacher).net
        facts["teacher"] = f"sha256 {sha256(teacher)}"
        if data is not None:
            expect_teacher(data, teacher)
    source, judged = source_of(recipe, data, cache_dir), validation_of(recipe, validation, cache_dir)
    images = np.stack([source(i).image for i in range(recipe.calibration)])
    grid = calibrate(model, images, Scheme.parse(recipe.scheme), recipe.method)
    representative = np.stack([s.image for s in judged])
    return train(
        QatStage(recipe, student.net.deploy(), graphs.of(model), grid, net, representative),
        source,
        judged,
        out,
        card=facts,
        init=init,
        on_progress=on_progress,
    )
