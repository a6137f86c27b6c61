"""Write a teacher's word into shards once, so that many students can read it instead of asking again."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgemat.data.fitting import fit
from edgemat.data.folder import MatteFolder
from edgemat.data.records import ANNOTATED, RENDERED, read_record
from edgemat.data.shards import Shards, as_example, open_examples, shard_name, write_shard
from edgemat.data.types import Example
from edgemat.errors import InputError
from edgemat.files import remove_leftovers, sha256, write_json
from edgemat.model import weights
from edgemat.model.predict import predict_teacher
from edgemat.model.teacher import Teacher

_BATCH = 16


def annotate(
    data: Path,
    teacher: Path,
    out: Path,
    size: int = 256,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    per_shard: int = 1000,
    workers: int = 1,
) -> int:
    """Copy a set into shards with a teacher's alpha (8 bits) and expected absolute error (16 bits) of every image.

    Both are means over the image and its mirror image (`edgemat.model.teacher.Teacher.word`): a teacher asked once
    for many runs can be asked twice.

    A shard appears when it is whole. An interrupted annotation goes on with the shards that are missing when it is
    called again with the same values.

    Args:
        data: A folder with image/ and alpha/, or WebDataset shards, whose keys and metadata are kept.
        teacher: The teacher's weights.
        out: Folder of the new shards, and of ``annotation.json``, which names the teacher.
        size: Height and width to which examples of another size are brought, pixels.
        on_progress: Called with the number done and the number in all.
        per_shard: Examples in each shard but the last.
        workers: Processes, each of which makes whole shards.

    Returns:
        The number of examples.

    Raises:
        InputError: The set or the teacher cannot be read, the teacher cannot be run at this size, or the folder holds
            another teacher's word, another set's, or shards that are no annotation.
        OutputError: ``out`` cannot be written; the shards that are whole stay.
    """
    items, net = open_examples(data), weights.load_teacher(teacher).net
    if size % net.config.stride:
        raise InputError(f"--size {size}: expected a multiple of {net.config.stride}, the teacher's stride")
    total = len(items)
    record: dict[str, object] = {
        "schema_version": 1,
        "teacher": sha256(teacher),
        "flip": True,
        "set": data.resolve().name,
        "rendered": read_record(data, RENDERED),
        "examples": total,
        "size": size,
        "per_shard": per_shard,
    }
    _begin(out, record, teacher)
    shards = [
        _Shard(data, teacher, out / shard_name(number), range(first, min(first + per_shard, total)), size)
        for number, first in enumerate(range(0, total, per_shard))
    ]
    for shard in shards:
        remove_leftovers(shard.path)
    todo = [shard for shard in shards if not shard.path.is_file()]
    done = total - sum(len(shard.numbers) for shard in todo)
    for count in _written(todo, workers):
        done += count
        on_progress(done, total)
    write_json(out / ANNOTATED, {**record, "complete": True})
    return total


@dataclass(frozen=True)
class _Shard:
    """What one process needs to write one shard."""

    data: Path
    teacher: Path
    path: Path
    numbers: range
    size: int

    def write(self) -> int:
        items, net = _opened(self.data, self.teacher)
        return write_shard(_word(items, net, self.numbers, self.size), self.path)


@functools.lru_cache(maxsize=1)
def _opened(data: Path, teacher: Path) -> tuple[Shards | MatteFolder, Teacher]:
    return open_examples(data), weights.load_teacher(teacher).net


def _written(todo: Sequence[_Shard], workers: int) -> Iterator[int]:
    """Write shards and yield how many examples each holds."""
    if workers == 1 or len(todo) < 2:
        yield from (shard.write() for shard in todo)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch may hang
    with ProcessPoolExecutor(min(workers, len(todo)), context, torch.set_num_threads, (1,)) as pool:
        try:
            yield from (made.result() for made in as_completed([pool.submit(shard.write) for shard in todo]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(out: Path, record: Mapping[str, object], teacher: Path) -> None:
    """Check that the folder is new or holds this annotation."""
    earlier = read_record(out / shard_name(0), ANNOTATED)
    if earlier is not None:
        expect_teacher(out, teacher)
        differing = [f"{k} is {earlier.get(k)} there, {v} here" for k, v in record.items() if earlier.get(k) != v]
        if differing:
            raise InputError(f"{out}: holds another annotation ({'; '.join(differing)}). Choose another --out")
    elif any(out.glob("*.tar")):
        raise InputError(f"{out}: holds shards but no {ANNOTATED}, so they are no annotation. Choose another --out")
    else:
        write_json(out / ANNOTATED, {**record, "complete": False})


def _word(
    items: Shards | MatteFolder, net: Teacher, numbers: range, size: int
) -> Iterator[tuple[str, Example, Mapping[str, object]]]:
    """Yield one shard's keys, examples with the teacher's word, and metadata."""
    for first in range(numbers.start, numbers.stop, _BATCH):
        part = range(first, min(first + _BATCH, numbers.stop))
        examples = [fit(as_example(items[i]), size) for i in part]
        alphas, doubts = predict_teacher(net, np.stack([e.image for e in examples]), flip=True)
        for i, example, alpha, doubt in zip(part, examples, alphas, doubts, strict=True):
            yield _key(items, i), Example(example.image, example.alpha, alpha, doubt), _metadata(items, i)


def _key(items: Shards | MatteFolder, index: int) -> str:
    # A file's name may hold dots, a key may not: such a name goes into the metadata.
    return items.key(index) if isinstance(items, Shards) else f"{index:08d}"


def _metadata(items: Shards | MatteFolder, index: int) -> Mapping[str, object]:
    return items.metadata(index) if isinstance(items, Shards) else {"name": items.names[index]}


def expect_teacher(data: Path, teacher: Path) -> None:
    """Check that a set which bears a teacher's word bears this one's.

    Raises:
        InputError: It is another teacher's, or does not say whose.
    """
    record = read_record(data, ANNOTATED)
    if record is None:
        return
    found, expected = record.get("teacher"), sha256(teacher)
    if found != expected:
        raise InputError(
            f"{data}: bears the word of the teacher with sha256 {found}, but --teacher {teacher} has {expected}; "
            f"annotate anew with: edgemat data annotate --data SET --teacher {teacher} --out FOLDER"
        )
