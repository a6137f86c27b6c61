"""What an artefact really computes in, read from the file: per operator and per byte, with every float island named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

SCHEMA_VERSION = 1
INTEGERS = ("int4", "int8", "int16")
FLOATS = ("float16", "float32")
MOVES = "moves"
"""Arithmetic of an operator that only moves, converts or selects values."""


@dataclass(frozen=True)
class OpFact:
    """One operator of a file.

    Attributes:
        name: As the file names it, or its output.
        kind: Operator type, as the file's format calls it.
        arithmetic: What it multiplies, adds or interpolates in: one of `INTEGERS`, one of `FLOATS`, or `MOVES`. An
            operator between DequantizeLinear and QuantizeLinear counts as int8 where its runtime fuses the three, as
            float where it does not.
        weights: Bytes of the constants that it reads, by the type that stores them.
    """

    name: str
    kind: str
    arithmetic: str
    weights: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a word that nobody knows."""
        if self.arithmetic not in (*INTEGERS, *FLOATS, MOVES):
            raise ValueError(f"{self.name}: arithmetic {self.arithmetic!r}")


@dataclass(frozen=True)
class Inspection:
    """What one file is made of.

    Attributes:
        path: The file.
        form: Its format, such as ``TFLite``.
        ops: Every operator, in order.
        activations: Number of tensors between operators, by stored type.
        notes: What a reader has to know: who executes, what is an estimate, what the file cannot say.
    """

    path: str
    form: str
    ops: tuple[OpFact, ...]
    activations: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def islands(self) -> tuple[OpFact, ...]:
        """Operators that compute in float although others compute in integers."""
        computed = {op.arithmetic for op in self.ops}
        return tuple(op for op in self.ops if op.arithmetic in FLOATS) if computed & set(INTEGERS) else ()

    @property
    def is_integer(self) -> bool:
        """Whether everything that computes does so in integers."""
        return {op.arithmetic for op in self.ops} - {MOVES} <= set(INTEGERS) and any(
            op.arithmetic in INTEGERS for op in self.ops
        )

    def arithmetic(self) -> dict[str, int]:
        """Return the number of operators by what they compute in."""
        return dict(Counter(op.arithmetic for op in self.ops))

    def weight_bytes(self) -> dict[str, int]:
        """Return the bytes of constants by the type that stores them."""
        total: Counter[str] = Counter()
        for op in self.ops:
            total.update(op.weights)
        return dict(total)

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "path": self.path,
            "format": self.form,
            "integer": self.is_integer,
            "arithmetic": self.arithmetic(),
            "weight_bytes": self.weight_bytes(),
            "activations": dict(self.activations),
            "islands": [op.name for op in self.islands],
            "ops": [
                {"name": op.name, "kind": op.kind, "arithmetic": op.arithmetic, "weights": dict(op.weights)}
                for op in self.ops
            ],
            "notes": list(self.notes),
        }
