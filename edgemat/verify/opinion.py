"""What an oracle says of an artefact: a value that prints in a line, serialises, and is true where it agrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from edgemat.errors import InputError
from edgemat.verify.report import Comparison

NAME, LABEL = "coreai", "beta oracle"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Layers:
    """How far the oracle's codes are from what the reference on the same grid makes of the same inputs.

    Attributes:
        lsb: Largest difference, over all tensors.
        differ: Largest share of a tensor's values that differ at all, in [0, 1].
        tensor: The tensor that differs most; empty when nothing differs.
        tensors: How many were compared.
    """

    lsb: int
    differ: float
    tensor: str
    tensors: int


@dataclass(frozen=True)
class Opinion:
    """What the oracle computes beside what it should; true when within every limit.

    Attributes:
        artifact: Target and precision, such as ``coreml fp32``.
        route: How the oracle came by the network.
        own: The oracle beside what the artefact's own runner computes; None where one of them gave no matte.
        reference: The oracle beside what the artefact was made from: ONNX Runtime on the float graph, on the one with
            the stored weights, or the reference on the integer grid.
        layers: Of an integer artefact, every tensor's codes beside what the reference makes of the same inputs; None
            for a float one.
        gate: The artefact's own limits.
        wrong: What is beyond them; empty when nothing is.
        seconds: Wall time of the conversion and of all images.
        versions: Package to version.
    """

    artifact: str
    route: str
    own: Comparison | None
    reference: Comparison | None
    layers: Layers | None
    gate: Mapping[str, float]
    wrong: tuple[str, ...]
    seconds: float
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse an opinion that agrees although nothing was compared."""
        if not self.wrong and (self.own is None or self.reference is None):
            raise ValueError(f"{self.artifact}: agrees, but nothing was compared")

    def __bool__(self) -> bool:
        """Whether the oracle agrees."""
        return not self.wrong

    def __str__(self) -> str:
        """One line."""
        verdict = "agrees" if self else "disagrees: " + "; ".join(self.wrong)
        if self.own is None or self.reference is None:
            return f"{self.artifact}, {LABEL} {NAME}: {verdict}"
        pairs = (("its own runner", self.own), ("the reference", self.reference))
        far = [f"max {c.max_abs:.3g}, mean {c.mean_abs:.3g} from {name}" for name, c in pairs]
        return f"{self.artifact}, {LABEL} {NAME}: {verdict}; {'; '.join(far)}"

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {"schema_version": SCHEMA_VERSION, "oracle": NAME, "label": LABEL, "agrees": bool(self), **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the opinion of a document that `to_json` made.

        Raises:
            InputError: It is no such document, or of another version.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"opinion of schema version {document.get('schema_version')}, expected {SCHEMA_VERSION}")
        try:
            values = {key: document[key] for key in cls.__dataclass_fields__}
            compared = {k: None if values[k] is None else Comparison(**values[k]) for k in ("own", "reference")}
            checked = None if values["layers"] is None else Layers(**values["layers"])
            return cls(**{**values, **compared, "layers": checked, "wrong": tuple(values["wrong"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"not an opinion: {error!r}") from error
