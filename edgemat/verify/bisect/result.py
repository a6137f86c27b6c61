"""What a bisection found: values that print well, serialise with a schema version, and are true or false."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA_VERSION = 1
CODES = "codes"
"""`Part.unit` of integers; of floats it is the type, such as ``float32``."""


class Evidence(NamedTuple):
    """What a picture shows: one tensor of one image, NCHW.

    Attributes:
        image: RGB, uint8, (H, W, 3), that was run.
        expected: What the reference makes, reals or codes.
        found: What the artefact has; of the same shape.
    """

    image: npt.NDArray[np.uint8]
    expected: npt.NDArray[np.generic]
    found: npt.NDArray[np.generic]


@dataclass(frozen=True)
class Part:
    """One tensor beyond what its precision explains.

    Attributes:
        tensor: Name in the trunk.
        op: The trunk's operator that makes it; ``Input`` for the image.
        node: That node's name; with what is fused before it, ``first + second``.
        unit: What differences are counted in: ``codes``, or the float type that the artefact rounds to.
        largest: Largest difference where it is most beyond its limit, in codes or reals; infinite for NaN, infinity or
            another shape.
        relative: The same over the largest magnitude of the reference's tensor; of codes, over 255.
        steps: The same in codes (LSB), or in units in the last place of the larger of both values (ulps).
        times: The same over the limit of that value.
        share: Share of the tensor's values beyond their limit, in [0, 1]; of codes, that differ at all.
        place: Channel, row and column of that value; empty where the shape is wrong.
        expected: What the reference makes there.
        found: What the artefact has there.
        hint: What the difference looks like; empty where no pattern stands out.
    """

    tensor: str
    op: str
    node: str
    unit: str
    largest: float
    relative: float
    steps: float
    times: float
    share: float
    place: tuple[int, ...] = ()
    expected: float = 0.0
    found: float = 0.0
    hint: str = ""

    @property
    def distance(self) -> str:
        """How far it is, in words."""
        if not math.isfinite(self.largest):
            return "no number to compare"
        if self.unit == CODES:
            return f"{self.steps:.0f} LSB at most, {self.share:.2%} of the values differ"
        return (
            f"{self.largest:.3g} at most, {self.relative:.2g} of its largest value, {self.steps:.3g} ulps of "
            f"{self.unit}, {self.times:.3g} times what rounding explains; {self.share:.2%} of the values are"
        )

    def __str__(self) -> str:
        """One or two lines."""
        head = f"{self.tensor} ({self.op} {self.node}): {self.distance}"
        return f"{head}\n  looks like: {self.hint}" if self.hint else head

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values; what is not finite becomes null."""
        values = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in asdict(self).items()}
        return values | {"place": list(self.place)}


@dataclass(frozen=True)
class Bisection:
    """Where an artefact and its reference part; true where they nowhere do.

    Attributes:
        name: Target and precision.
        path: The artefact.
        method: How tensors were compared, in a sentence.
        parts: Every tensor beyond its limit, in the trunk's order; the first is where the fault arises.
        end: The first tensor that departs end to end, with all that came before it; None where none does.
        compared: Number of tensors compared; 1 where alpha alone is shown.
        missing: Tensors of the trunk that the backend does not show: fused into the next, or hidden.
        images: Number of images that were run.
        closest: Largest difference found, over its limit; below 1 where nothing parts.
        notes: What a reader has to know beside.
        evidence: Of the first part; None where nothing parts.
    """

    name: str
    path: str
    method: str
    parts: tuple[Part, ...]
    end: Part | None
    compared: int
    missing: tuple[str, ...]
    images: int
    closest: float = 0.0
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> Part | None:
        """The tensor where the fault arises; None where nothing parts."""
        return self.parts[0] if self.parts else None

    def __bool__(self) -> bool:
        """Whether something was compared and nothing parts."""
        return self.compared > 0 and not self.parts

    def __str__(self) -> str:
        """A few lines: the verdict first."""
        if self.first is None:
            lines = [f"{self.name}: nothing parts in {self.compared} tensors of {self.images} images"]
            lines[0] += f"; the closest is at {self.closest:.2g} of its limit" if self.closest else ""
        else:
            lines = [f"{self.name}: parts at {self.first}"]
            if others := self.parts[1:]:
                names = ", ".join(part.tensor for part in others[:5]) + (" ..." if len(others) > 5 else "")
                lines.append(f"  {len(others)} further tensors are beyond their limits by themselves: {names}")
            if self.end is not None and self.end.tensor != self.first.tensor:
                lines.append(f"  end to end the difference first shows at {self.end.tensor}: {self.end.distance}")
            elif self.end is not None:
                lines.append("  end to end the difference first shows there, too")
        lines += [f"  {note}" for note in (*self.notes, self.method)]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": bool(self),
            "name": self.name,
            "path": self.path,
            "method": self.method,
            "first": None if self.first is None else self.first.to_json(),
            "end_to_end": None if self.end is None else self.end.to_json(),
            "parts": [part.to_json() for part in self.parts],
            "compared": self.compared,
            "missing": list(self.missing),
            "images": self.images,
            "closest": self.closest if math.isfinite(self.closest) else None,
            "notes": list(self.notes),
        }


def in_order(parts: Mapping[str, Part], order: Mapping[str, int]) -> tuple[Part, ...]:
    """Return parts in the trunk's order."""
    return tuple(sorted(parts.values(), key=lambda part: order.get(part.tensor, -1)))
