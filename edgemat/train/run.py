"""Train a student on the fetched data: joins the recipe, the splits and the model card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgemat import __version__
from edgemat.data.augment import Augmentation
from edgemat.data.compositor import Compositor, holdout
from edgemat.data.faces import load_faces
from edgemat.data.occluders import load_occluders
from edgemat.data.types import Face, Occluder, Sample
from edgemat.files import sha256
from edgemat.model import weights
from edgemat.train.recipe import PlainRecipe
from edgemat.train.stages import Progress, train_plain


def card(recipe: PlainRecipe, command: str) -> dict[str, str]:
    """Return the model-card entries of a student trained on the fetched data.

    Args:
        recipe: How it was trained.
        command: The command line that made it.
    """
    return {
        "version": __version__,
        "author": "The edgemat developers",
        "license": "CC-BY-NC-4.0",
        "license_note": "Research and evaluation only: the training faces come from a generator whose images are "
        "non-commercial.",
        "description": "Face matting: RGB in, alpha out; skin is 1, occluders and background are 0.",
        "data": "fake-avatars 1.1.0 faces (train split) with occluders of @lobehub/fluent-emoji-3d 1.1.0 (train split) "
        "and drawn hair, glasses, masks, microphones, fingers, objects, veils and smoke",
        "seed": str(recipe.seed),
        "command": command,
    }


def sampler(recipe: PlainRecipe, faces: Sequence[Face], occluders: Sequence[Occluder]) -> Callable[[int], Sample]:
    """Return the function that makes composite number ``index`` of a recipe, mild ones evenly among the others.

    Args:
        recipe: Its size, seed and share of mild composites count.
        faces: Of the train split.
        occluders: Of the train split.
    """
    wild, mild = (
        Compositor(faces, occluders, recipe.size, recipe.seed, level) for level in (Augmentation(), Augmentation.mild())
    )

    def sample(index: int) -> Sample:
        # The mild ones are where the running share steps up: 0.7 gives 7 of every 10, whatever the index begins with.
        is_mild = int((index + 1) * recipe.mild) > int(index * recipe.mild)
        return (mild if is_mild else wild).sample(index)

    return sample


def train_student(
    recipe: PlainRecipe,
    out: Path,
    *,
    command: str,
    init: Path | None = None,
    cache_dir: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train a student by the plain recipe on composites of the train split.

    Args:
        recipe: What to train and how.
        out: Folder of the run; a checkpoint in it is resumed.
        command: The command line, for the model card.
        init: Weights to begin with; fresh ones if None.
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.
        on_progress: Called about every ten seconds.

    Returns:
        Whether the run is complete; False when a signal ended it early.

    Raises:
        InputError: The data is not fetched, or ``out`` holds another recipe's checkpoint.
    """
    sample = sampler(recipe, load_faces("train", cache_dir), load_occluders("train", cache_dir))
    validation = holdout(
        load_faces("val", cache_dir), load_occluders("val", cache_dir), recipe.validation_per_face, size=recipe.size
    )
    facts = card(recipe, command)
    if init is not None:
        earlier = weights.load(init).info.get("command", "unknown")
        facts["begun_from"] = f"sha256 {sha256(init)}, made by: {earlier}"
    return train_plain(recipe, sample, validation, out, card=facts, init=init, on_progress=on_progress)
