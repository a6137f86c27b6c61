"""Which faces and occluders train, validate and test: by source image, never by composite."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, get_args

from edgemat.errors import InputError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_VAL_FACES, _TEST_FACES = 31, 32
_TRAIN_SHARE, _VAL_SHARE = 70, 10  # per cent of the occluders; the rest tests
# Skin tones and the "draw as emoji" selector do not make another drawing.
_NO_OTHER_DRAWING = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff", "fe0f"})
# Chosen among a few thousand so that even kinds of two or four drawings are met in training and in test.
_SALT = "edgemat-1308"


def split_faces(digests: Iterable[str]) -> dict[Split, tuple[str, ...]]:
    """Split faces by the SHA-256 of their files: sorted, the last 32 test, 31 before them validate.

    Args:
        digests: One hexadecimal digest a file, in any order. Equal files count once.

    Returns:
        Split to sorted digests.

    Raises:
        InputError: There are too few to leave one for training.

    Example:
        >>> parts = split_faces(f"{i:064x}" for i in range(263))
        >>> [len(parts[name]) for name in ("train", "val", "test")]
        [200, 31, 32]
    """
    ordered = sorted(set(digests))
    train = len(ordered) - _VAL_FACES - _TEST_FACES
    if train < 1:
        raise InputError(
            f"{len(ordered)} different faces cannot be split; expected more than {_VAL_FACES + _TEST_FACES}. "
            "Fetch the faces with: edgemat data fetch"
        )
    return {
        "train": tuple(ordered[:train]),
        "val": tuple(ordered[train : train + _VAL_FACES]),
        "test": tuple(ordered[train + _VAL_FACES :]),
    }


def split_of_occluder(code_points: str) -> Split:
    """Say which split an occluder belongs to: about 70 % train, 10 % validate, 20 % test, for good.

    Args:
        code_points: The emoji's code points joined by ``-``; skin tones and the variation selector do not
            count, so that all tones of a gesture share one split. Any other stable name works too.

    Example:
        >>> split_of_occluder("1f44b-1f3fd") == split_of_occluder("1f44b")
        True
    """
    name = "-".join(part for part in code_points.lower().split("-") if part not in _NO_OTHER_DRAWING)
    place = int.from_bytes(hashlib.sha256(f"{_SALT}:{name}".encode()).digest()[:8]) % 100
    if place < _TRAIN_SHARE:
        return "train"
    return "val" if place < _TRAIN_SHARE + _VAL_SHARE else "test"
