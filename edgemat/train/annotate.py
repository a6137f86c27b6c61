"""Write a teacher's word into shards once, so that many students can read it instead of asking again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgemat.data.fitting import fit
from edgemat.data.shards import as_example, open_examples, write_shards
from edgemat.data.types import Example
from edgemat.errors import InputError
from edgemat.files import sha256, write_json
from edgemat.model import weights
from edgemat.model.predict import predict_teacher

MANIFEST = "annotation.json"
_BATCH = 16


def annotate(
    data: Path,
    teacher: Path,
    out: Path,
    size: int = 256,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Copy a set into shards with a teacher's alpha (8 bits) and expected absolute error (16 bits) of every image.

    Args:
        data: A folder with image/ and alpha/, or WebDataset shards.
        teacher: The teacher's weights.
        out: Folder of the new shards, and of `MANIFEST`, which names the teacher; it is written last.
        size: Height and width to which examples of another size are brought, pixels.
        on_progress: Called with the number done and the number in all.

    Returns:
        The number of examples.

    Raises:
        InputError: The set or the teacher cannot be read, or the folder holds another teacher's word.
        OutputError: ``out`` cannot be written.
    """
    if (out / MANIFEST).is_file():
        expect_teacher(out, teacher)
        raise InputError(f"{out}: holds this teacher's word already; use it, or remove it first")
    items = open_examples(data)
    net = weights.load_teacher(teacher).net

    def word() -> Iterator[tuple[str, Example]]:
        for first in range(0, len(items), _BATCH):
            part = [fit(as_example(items[i]), size) for i in range(first, min(first + _BATCH, len(items)))]
            alphas, doubts = predict_teacher(net, np.stack([e.image for e in part]))
            for i, (example, alpha, doubt) in enumerate(zip(part, alphas, doubts, strict=True), first):
                yield f"{i:08d}", Example(example.image, example.alpha, alpha, doubt)
            on_progress(min(first + _BATCH, len(items)), len(items))

    count = write_shards(word(), out)
    write_json(out / MANIFEST, {"schema_version": 1, "teacher": sha256(teacher), "examples": count, "set": data.name})
    return count


def expect_teacher(data: Path, teacher: Path) -> None:
    """Check that a set which bears a teacher's word bears this one's.

    Raises:
        InputError: It is another teacher's.
    """
    if not (data / MANIFEST).is_file():
        return
    found, expected = json.loads((data / MANIFEST).read_text(encoding="utf-8"))["teacher"], sha256(teacher)
    if found != expected:
        raise InputError(
            f"{data}: bears the word of the teacher with sha256 {found}, but --teacher {teacher} has {expected}; "
            f"annotate anew with: edgemat data annotate --data SET --teacher {teacher} --out FOLDER"
        )
