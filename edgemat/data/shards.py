"""Training sets as WebDataset tar shards: written whole or not at all, read at random access without unpacking.

A sample is a run of files with one key, which is their path up to the first dot of its last part:
``000042.image.png``, ``000042.alpha.png``, at will ``000042.json`` (metadata), ``000042.teacher.png`` (a teacher's
alpha, 8-bit) and ``000042.uncertainty.png`` (its expected error, 16-bit, 65535 is 1). Shards of other makers are read
where the image is ``png``, ``jpg``, ``jpeg`` or ``webp``, with or without ``image.`` before it, and the matte
``alpha.`` or ``mask.`` of these. What has another extension is passed over.
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from edgemat.data.codec import decode_image, decode_plane, encode
from edgemat.data.fitting import fit
from edgemat.data.folder import MatteFolder, refuse
from edgemat.data.records import expect_complete
from edgemat.data.sampleindex import ROLES, find_shards, index_samples, split_name
from edgemat.data.types import Example
from edgemat.errors import InputError, OutputError
from edgemat.files import atomic_path


def write_shards(examples: Iterable[tuple[str, Example]], out: Path, per_shard: int = 1000) -> int:
    """Write examples into ``out/000000.tar`` and so on; the same examples give the same bytes.

    Args:
        examples: Keys, all different and without a dot in their last part, and what stands under them.
        out: Folder; made if missing. It may hold no shard yet.
        per_shard: Samples in each shard but the last.

    Returns:
        How many examples were written.

    Raises:
        OutputError: The folder holds shards already or cannot be written.
        ValueError: A key is empty, has a dot in its last part, or comes again in its shard; or ``per_shard`` is not
            positive.

    Example:
        >>> import tempfile
        >>> plain = Example(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32))
        >>> write_shards([("anna", plain), ("ben", plain)], Path(tempfile.mkdtemp()), per_shard=1)
        2
    """
    if per_shard < 1:
        raise ValueError(f"per_shard = {per_shard}, expected at least 1")
    if any(out.glob("*.tar")):
        raise OutputError(f"{out}: holds shards already; remove them or choose another folder")
    rest, written = iter(examples), 0
    for number in itertools.count():
        first = next(rest, None)  # look before a shard is begun: none may be empty
        if first is None:
            return written
        batch = itertools.chain([first], itertools.islice(rest, per_shard - 1))
        written += write_shard(((key, example, {}) for key, example in batch), out / shard_name(number))
    raise AssertionError("counting ended")


def shard_name(number: int) -> str:
    """Return the file name of a shard.

    Example:
        >>> shard_name(3)
        '000003.tar'
    """
    return f"{number:06d}.tar"


def write_shard(samples: Iterable[tuple[str, Example, Mapping[str, object]]], path: Path) -> int:
    """Write one shard; it appears when it is whole.

    Args:
        samples: Keys, examples, and metadata that JSON can hold (none is stored where it is empty).
        path: The tar to write.

    Returns:
        How many samples it holds.

    Raises:
        OutputError: It cannot be written.
        ValueError: A key cannot be one, or comes twice.
    """
    keys: set[str] = set()
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for key, example, metadata in samples:
            if key in keys or key.endswith("/") or split_name(f"{key}.png") != (key, "png"):
                raise ValueError(f"key {key!r}: expected another one for each sample, no dot in its last part")
            keys.add(key)
            files = encode(example)
            if metadata:
                files["json"] = json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()
            for extension, content in files.items():
                info = tarfile.TarInfo(f"{key}.{extension}")  # its time is 0 and its owner root: nothing varies
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return len(keys)


class Shards:
    """The samples of tar shards by number, in the order of the shards and of the samples in them.

    Only headers are read when it is made, and places are kept in arrays, so that a set of any size opens soon and
    stays small. A file is open only while it is read: the value may be pickled, forked and shared between threads.

    Attributes:
        files: The shards.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp())
        >>> _ = write_shards([("anna", Example(np.zeros((2, 4, 3), np.uint8), np.ones((2, 4), np.float32)))], out)
        >>> shards = Shards(out)
        >>> len(shards), shards.key(0), shards[0].alpha.shape
        (1, 'anna', (2, 4))
    """

    def __init__(self, path: str | Path) -> None:
        """Find the samples.

        Args:
            path: A folder with ``*.tar``, one tar, or a pattern such as ``train-{000000..000099}.tar`` or
                ``{a,b}.tar``.

        Raises:
            InputError: There is no shard, a shard is truncated or not a plain tar, a sample lacks its image or its
                matte or has two, a key comes twice, or there is a pickle. All faults of samples are counted and at
                most ten shown.
        """
        self.files = find_shards(path)
        found = index_samples(self.files)
        refuse(Path(path), found.faults, "Mend or remove these samples")
        if not found.keys:
            raise InputError(f"{path}: holds no sample, expected files named <key>.image.png and <key>.alpha.png")
        self._shard = found.shards
        self._places = found.places
        keys = [key.encode() for key in found.keys]
        self._keys = b"".join(keys)
        self._ends = np.cumsum([len(key) for key in keys])

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._shard)

    def __getitem__(self, index: int) -> Example:
        """Read and decode a sample.

        Args:
            index: From 0 on; negative ones count from the end.

        Raises:
            IndexError: There is no such sample.
            InputError: A file cannot be read, is no image or of the wrong kind, or the sizes differ.
        """
        with self.files[self._shard[index]].open("rb") as stream:
            contents = [_read(stream, *place) for place in self._places[index, : len(ROLES) - 1]]
        decoders = (decode_image, *[decode_plane] * 3)
        parts: list[Any] = []
        for role, content, decoder in zip(ROLES, contents, decoders, strict=False):
            try:
                parts.append(None if content is None else decoder(content))
            except InputError as error:
                raise InputError(f"{self._where(index)}: {role}: {error}") from error
        sizes = {role: part.shape[:2] for role, part in zip(ROLES, parts, strict=False) if part is not None}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{role} {width}x{height}" for role, (height, width) in sizes.items())
            raise InputError(f"{self._where(index)}: {found}; expected equal sizes")
        return Example(*parts)

    def __iter__(self) -> Iterator[Example]:
        """Yield the samples in order."""
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """Return a sample's key."""
        begin = int(self._ends[index - 1]) if index % len(self) else 0
        return self._keys[begin : int(self._ends[index])].decode()

    def metadata(self, index: int) -> dict[str, Any]:
        """Return a sample's metadata, as its maker wrote it; empty where there is none.

        Raises:
            InputError: It is not a JSON object.
        """
        with self.files[self._shard[index]].open("rb") as stream:
            content = _read(stream, *self._places[index, ROLES.index("metadata")])
        try:
            value = {} if content is None else json.loads(content)
        except ValueError as error:
            raise InputError(f"{self._where(index)}: json: {error}") from error
        if not isinstance(value, dict):
            raise InputError(f"{self._where(index)}: json: found {type(value).__name__}, expected an object")
        return value

    def _where(self, index: int) -> str:
        return f"{self.files[self._shard[index]]}: {self.key(index)}"


Item = Example | tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
"""What a set gives: an example, or image and alpha as a `edgemat.data.folder.MatteFolder` does."""


class Items(Protocol):
    """A set of known length: `Shards`, or a `edgemat.data.folder.MatteFolder`."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: int, /) -> Item:
        """Return one."""


def as_example(item: Item) -> Example:
    """Return what any set gives as an example."""
    return item if isinstance(item, Example) else Example(*item)


class Shuffled:
    """An endless sequence of a set's examples: epoch after epoch, each a permutation of its own.

    Any index gives the same example in any process and order, so that a resumed run needs no state.
    """

    def __init__(self, items: Items, seed: int, flip: bool = True, size: int | None = None) -> None:
        """Take a set; see `shuffled`."""
        if len(items) == 0:
            raise ValueError("shuffled: the set is empty, expected at least one example")
        self.items, self.seed, self.flip, self.size = items, seed, flip, size
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __call__(self, index: int) -> Example:
        """Return example number ``index``, from 0 on without an end."""
        epoch, place = divmod(index, len(self.items))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.items))
            self._epoch = epoch
        example = as_example(self.items[int(self._order[place])])
        if self.size is not None:
            example = fit(example, self.size)
        # The last number keeps the stream apart from that of an epoch's order.
        if self.flip and np.random.default_rng((self.seed, index, 1)).random() < 0.5:
            example = mirrored(example)
        return example


def shuffled(items: Items, seed: int, flip: bool = True, size: int | None = None) -> Callable[[int], Example]:
    """Return an endless sequence of a set's examples, as a training run reads it.

    Args:
        items: The set: `Shards` or `edgemat.data.folder.MatteFolder`.
        seed: Of the permutations and the flips.
        flip: Mirror every other example, by chance, its mattes with it.
        size: Height and width to which examples of another size are brought (`edgemat.data.fitting.fit`), pixels;
            they stay as they are if None.

    Returns:
        Index (from 0 on) to example; it can be pickled where the set can.

    Raises:
        ValueError: The set is empty.

    Example:
        >>> shades = [Example(np.full((1, 1, 3), i, np.uint8), np.ones((1, 1), np.float32)) for i in range(4)]
        >>> source = shuffled(shades, seed=0)
        >>> sorted(int(source(i).image[0, 0, 0]) for i in range(4, 8))
        [0, 1, 2, 3]
    """
    return Shuffled(items, seed, flip, size)


def mirrored(example: Example) -> Example:
    """Return an example with left and right exchanged in all that it holds."""
    planes = (example.image, example.alpha, example.teacher, example.uncertainty)
    return Example(*(None if plane is None else np.ascontiguousarray(plane[:, ::-1]) for plane in planes))  # type: ignore[arg-type]


def open_examples(path: str | Path) -> Shards | MatteFolder:
    """Open a training set, whichever way it is stored.

    Args:
        path: A folder with ``image/`` and ``alpha/`` (`edgemat.data.folder.MatteFolder`), a folder with ``*.tar``, a
            tar, or a pattern such as ``train-{000000..000099}.tar``.

    Raises:
        InputError: It is none of these, is not complete, or has faults.
    """
    where = Path(path)
    expect_complete(where)
    if any((where / name).is_dir() for name in ("image", "alpha")):
        return MatteFolder(where)
    if any(where.glob("*.tar")) if where.is_dir() else where.suffix == ".tar":
        return Shards(path)
    found = "a folder without these" if where.is_dir() else "a file of another kind" if where.exists() else "nothing"
    raise InputError(
        f"{path}: found {found}; expected a folder with image/ and alpha/, a folder with .tar shards, a .tar, or a "
        "pattern such as train-{000000..000099}.tar"
    )


def _read(stream: BinaryIO, offset: int, size: int) -> bytes | None:
    if offset < 0:
        return None
    stream.seek(offset)
    content = stream.read(size)
    if len(content) < size:
        raise InputError(f"{stream.name}: ends at byte {offset + len(content)}; it was changed after it was opened")
    return content
