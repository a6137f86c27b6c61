"""Is it this class of images that lost, or would any few images look so? A permutation of what images are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgemat.verify.bootstrap import SEED, Values

SHUFFLES = 10_000
ALARM = 0.05
"""The chance that any class at all raises an alarm where no class differs, at most; shared out among all of them."""
_AT_ONCE = 1_000_000  # entries of a shuffled table: keeps memory low on large sets
_EQUAL = 1e-5  # float32 sums of the same numbers in another order are equal


class Exchange:
    """Shuffles which faces belong to which classes, always in the same way.

    An interval of a class of four faces is as wide as the loss itself where the four lost unequally. Yet when the worst
    four of 32 faces are just those of one class, that is no luck: one choice of 36,000 is as bad. So a class's loss is
    held against that of as many faces drawn without regard to their class (a permutation test: Fisher, "The Design of
    Experiments", 1935; Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 2005). It knows no spread and
    no distribution, and is exact where classes do not matter. All images of a face change their classes together.

    It cannot see a loss that all images share; that is what the mean is for.
    """

    def __init__(self, members: npt.NDArray[np.bool_], faces: Sequence[str]) -> None:
        """Draw the shuffles.

        Args:
            members: Which images (rows) are in which classes (columns), (N, S).
            faces: One label an image.
        """
        self._members = members.astype(np.float32)
        self._orders = _orders(faces)

    def chances(self, loss: Values) -> Values:
        """Return how likely as many faces, drawn without regard to their class, lose as much as a class did.

        Absolute losses are averaged: per cents of the drawn faces' own figure would say most of those on which the
        float network errs least.

        Args:
            loss: By how much the artefact's figures are worse, in their own units, float64, (N, M).

        Returns:
            In (0, 1], (S, M): never 0, since the classes as they are count as one draw.

        Example:
            >>> member = np.arange(12)[:, None] < 4
            >>> found = Exchange(member, [str(i) for i in range(12)]).chances(member * 1.0)
            >>> bool(found[0, 0] < 0.004)
            True
        """
        table = (loss / np.maximum(np.abs(loss).max(axis=0), np.finfo(np.float64).tiny)).astype(np.float32).T
        seen = table @ self._members
        as_bad = np.zeros(seen.shape, np.int64)
        for orders in self._parts():  # to shuffle losses is to shuffle classes, and they are fewer
            as_bad += (table[:, orders] @ self._members >= seen[:, None] - _EQUAL).sum(axis=1)
        return np.asarray((1 + as_bad.T) / (1 + len(self._orders)))

    def _parts(self) -> Iterator[npt.NDArray[np.intp]]:
        step = max(1, _AT_ONCE // self._orders.shape[1])
        return (self._orders[i : i + step] for i in range(0, len(self._orders), step))


def _orders(faces: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return permutations of images, (shuffles, N), that move whole faces onto faces of as many images."""
    labels = np.unique(np.array(faces), return_inverse=True)[1]
    rows = [np.flatnonzero(labels == face) for face in range(int(labels.max()) + 1)]
    rng = np.random.default_rng(SEED)
    orders = np.tile(np.arange(len(faces)), (SHUFFLES, 1))
    for count in sorted({len(own) for own in rows}):
        alike = np.stack([own for own in rows if len(own) == count])
        drawn = rng.permuted(np.tile(np.arange(len(alike)), (SHUFFLES, 1)), axis=1)
        orders[:, alike.ravel()] = alike[drawn].reshape(SHUFFLES, -1)
    return orders
