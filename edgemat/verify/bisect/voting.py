"""Several runtimes run the same trunk, and the majority says which one is wrong; the reference votes with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.export._target import IntegerGate
from edgemat.verify.bisect import ballots
from edgemat.verify.bisect.walk import opened

if TYPE_CHECKING:
    from edgemat.export._target import Images
    from edgemat.verify.exported import Entry

SCHEMA_VERSION = 1
REFERENCE = "reference"
"""How the reference is called among the voters."""
_FEWEST = 3
AGREE, DECIDED, UNDECIDED = "agree", "decided", "undecided"


@dataclass(frozen=True)
class Pair:
    """Two voters at one tensor.

    Attributes:
        first: One.
        second: The other.
        times: Their largest difference over what rounding explains, given each one's own inputs; more than 1: they
            disagree. Infinite where one has no number.
    """

    first: str
    second: str
    times: float

    @property
    def agree(self) -> bool:
        """Whether rounding explains the difference."""
        return self.times <= 1.0


@dataclass(frozen=True)
class Vote:
    """What a vote found; true where all agree everywhere.

    Attributes:
        voters: Every one, the reference first.
        state: ``agree``; ``decided``: a majority agrees and `wrong` does not; ``undecided``: there is no majority.
        tensor: The first where two disagree; None where all agree.
        node: The trunk's operator and node that make it.
        wrong: Those that disagree with the majority.
        pairs: Every pair at that tensor; where all agree, at the tensor where two are farthest apart.
        compared: Number of tensors on which was voted.
        notes: What a reader has to know beside.
    """

    voters: tuple[str, ...]
    state: str
    tensor: str | None
    node: str
    wrong: tuple[str, ...]
    pairs: tuple[Pair, ...]
    compared: int
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether something was compared and all agree."""
        return self.state == AGREE and self.compared > 0

    def __str__(self) -> str:
        """A few lines: the verdict first."""
        names = ", ".join(self.voters)
        if self.state == AGREE:
            lines = [f"{names} agree in {self.compared} tensors"]
        elif self.state == DECIDED:
            are = "disagrees" if len(self.wrong) == 1 else "disagree"
            lines = [f"{', '.join(self.wrong)} {are} with the majority of {names} at {self.tensor} ({self.node})"]
        else:
            lines = [f"undecided: {names} disagree at {self.tensor} ({self.node}), and no majority agrees"]
        lines += [f"  {p.first} - {p.second}: {p.times:.3g} times what rounding explains" for p in self.pairs]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": bool(self),
            **asdict(self),
            "pairs": [asdict(p) | {"times": p.times if math.isfinite(p.times) else None} for p in self.pairs],
        }


def vote(entries: Sequence[Entry], images: Images) -> Vote:
    """Return which of several artefacts of one trunk is wrong, the reference being a voter like the others.

    What is compared at a tensor is not its value but by how much each artefact departs there from what the reference
    makes of that artefact's own tensors before it. So roundings that add up divide nobody, and a reference that is
    wrong stands alone: all others depart from it in the same way.

    Args:
        entries: Of one trunk, all float or all of one grid; at least two.
        images: RGB, uint8, (N, H, W, 3), at the trunk's size; one or two are enough.

    Raises:
        InputError: There are fewer than three voters, or the artefacts are not comparable.
        BackendMissingError: A target's packages are not installed.
    """
    _refuse(entries)
    shown: dict[str, ballots.Shown] = {}
    for entry in entries:
        with opened(entry) as runner:
            shown[entry.name] = ballots.collect(entry, runner, images)
    box = (
        ballots.integers(entries, shown, images) if _is_integer(entries[0]) else ballots.floats(entries, shown, images)
    )
    names = (REFERENCE, *shown)
    farthest: tuple[Pair, ...] = ()
    compared = 0
    for tensor in box.order:
        present = [name for name in names if name == REFERENCE or tensor in box.cast[name]]
        if len(present) < _FEWEST:
            continue
        compared += 1
        pairs = tuple(Pair(a, b, box.apart(tensor, a, b)) for a, b in itertools.combinations(present, 2))
        if not all(pair.agree for pair in pairs):
            majority = _majority(present, pairs)
            wrong = tuple(name for name in present if majority and name not in majority)
            state = DECIDED if majority else UNDECIDED
            return Vote(names, state, tensor, box.node(tensor), wrong, pairs, compared, tuple(box.notes))
        farthest = max(farthest, pairs, key=lambda found: max((pair.times for pair in found), default=-1.0))
    return Vote(names, AGREE, None, "", (), farthest, compared, tuple(box.notes))


def _is_integer(entry: Entry) -> bool:
    return isinstance(entry.gate, IntegerGate)


def _refuse(entries: Sequence[Entry]) -> None:
    names = [entry.name for entry in entries]
    if len({*names}) + 1 < _FEWEST:
        raise InputError(
            f"a vote needs two backends beside the reference, found {', '.join(names)}; name more backends"
        )
    kinds = {(_is_integer(e), e.target.scheme if e.target.needs_grid(e.precision) else "") for e in entries}
    if len(kinds) > 1:
        raise InputError(f"{', '.join(names)}: not of one trunk and grid, so their tensors are not the same numbers")


def _majority(present: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the largest set of voters that all agree, where it is more than half and the only one; else none."""
    agreed = {frozenset((pair.first, pair.second)) for pair in pairs if pair.agree}
    for size in range(len(present) - 1, len(present) // 2, -1):
        found = [
            group
            for group in itertools.combinations(present, size)
            if all(frozenset(two) in agreed for two in itertools.combinations(group, 2))
        ]
        if found:
            return found[0] if len(found) == 1 else ()
    return ()
