"""The experiment that tells what a teacher's uncertainty gives: arms that differ in nothing else, several seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.model.predict import predict, predict_teacher
from edgemat.train import run
from edgemat.train.monitor import Progress
from edgemat.train.recipe import StudentRecipe
from edgemat.verify.ablation import compare_arms
from edgemat.verify.ablation_report import MIN_SEEDS, Ablation

TRUTH, UNWEIGHTED, WEIGHTED = "truth", "unweighted", "weighted"
EVEN, DOWN, BOTH = "weighted-even", "weighted-down", "weighted-both"
ARMS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        TRUTH: {"teacher_share": 0.0, "weighting": "none", "trust": -1.0},
        UNWEIGHTED: {"weighting": "none", "trust": -1.0},
        WEIGHTED: {"weighting": "up"},
        EVEN: {"weighting": "up", "trust": 0.0},
        DOWN: {"weighting": "down", "trust": -1.0},
        BOTH: {"weighting": "both", "trust": -1.0},
    }
)
"""What each arm changes in the recipe: ground truth alone, distillation, and distillation weighted either way."""


def arm_recipe(recipe: StudentRecipe, arm: str, seed: int) -> StudentRecipe:
    """Return the recipe of one run.

    Args:
        recipe: What all runs share; its ``teacher_share`` and ``strength`` hold where the arm leaves them.
        arm: One of `ARMS`.
        seed: Of the initial weights and of the order of the examples: the same in every arm.

    Example:
        >>> arm_recipe(StudentRecipe(teacher_share=0.5), "weighted", seed=2).weighting
        'up'
    """
    return dataclasses.replace(recipe, seed=seed, **ARMS[arm])


def ablate(
    recipe: StudentRecipe,
    teacher: Path,
    out: Path,
    samples: Sequence[Sample],
    *,
    arms: Sequence[str] = tuple(ARMS),
    seeds: int = MIN_SEEDS,
    data: Path | None = None,
    init: Path | None = None,
    cache_dir: Path | None = None,
    on_progress: Callable[[str, Progress], None] = lambda run, progress: None,
) -> Ablation | None:
    """Train every arm with every seed at the same budget, and compare what they predict.

    Runs lie in ``out/ARM-SEED`` and are resumed or, when complete, only read.

    Args:
        recipe: What all runs share; it must ask its teacher for a share.
        teacher: The teacher's weights.
        out: Folder of the runs.
        samples: What the arms are compared on; no run sees it.
        arms: Names in `ARMS`; `UNWEIGHTED`, which the others are compared with, among them.
        seeds: Runs an arm.
        data: The training set, best annotated by `edgemat.train.annotate`; composites made on the way if None.
        init: Weights that every run begins with; fresh ones of each seed if None.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.
        on_progress: Called with a run's name and its progress.

    Returns:
        The comparison; None when a signal ended a run early.

    Raises:
        InputError: An arm is unknown or missing, the recipe asks no teacher, or a run cannot be made.
    """
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or UNWEIGHTED not in arms or len(set(arms)) < 2:
        raise InputError(f"--arms {', '.join(arms)}: expected {UNWEIGHTED} and others of {', '.join(ARMS)}")
    if recipe.teacher_share == 0:
        raise InputError("teacher_share = 0: every arm would learn from ground truth alone; take recipe ablation")
    net = weights.load_teacher(teacher).net  # before hours of training, not after
    for seed in range(seeds):  # seed by seed, so that an unfinished experiment is balanced
        for arm in arms:
            if not _trained(
                arm_recipe(recipe, arm, seed), _name(arm, seed), teacher, out, data, init, cache_dir, on_progress
            ):
                return None
    images = np.stack([s.image for s in samples])
    predictions = {
        arm: [predict(weights.load(_weights(out, _name(arm, seed))).net, images) for seed in range(seeds)]
        for arm in arms
    }
    uncertainty = predict_teacher(net, images)[1]
    also = [(arm, TRUTH) for arm in arms if arm != TRUTH] if TRUTH in arms else []
    return compare_arms(
        predictions, samples, uncertainty, UNWEIGHTED, also, min_seeds=min(seeds, MIN_SEEDS), paired=True
    )


def _name(arm: str, seed: int) -> str:
    return f"{arm}-{seed}"


def _weights(out: Path, name: str) -> Path:
    return out / name / "student.safetensors"


def _trained(
    recipe: StudentRecipe,
    name: str,
    teacher: Path,
    out: Path,
    data: Path | None,
    init: Path | None,
    cache_dir: Path | None,
    on_progress: Callable[[str, Progress], None],
) -> bool:
    """Train one run to its end, or go on with it."""
    return run.train_student(
        recipe,
        out / name,
        command=f"edgemat ablate, run {name}",
        init=init,
        teacher=teacher if recipe.needs_teacher else None,
        data=data,
        cache_dir=cache_dir,
        on_progress=lambda progress: on_progress(name, progress),
    )
