"""What ``edgemat parity`` found: figures with their limits, artefact by artefact, as values that serialise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from edgemat.errors import InputError

SCHEMA_VERSION = 1
CONVERSION, QUANTIZATION, COMPOSITE = "conversion", "quantization", "composite"
QUESTIONS = (CONVERSION, QUANTIZATION, COMPOSITE)
"""Against the reference at the same precision; on ground truth, beside the float network; in the frame a user sees."""
STATES = ("passed", "gate", "error", "crashed", "timeout", "unavailable")
"""``gate``: a figure is beyond its limit. ``error``: it raised, or returned NaN, a wrong shape or range. ``crashed``,
``timeout``: its process died, or gave no answer in time. ``unavailable``: its back end cannot run here: no pass."""


@dataclass(frozen=True)
class Figure:
    """One number and, where it is judged, its limit.

    Attributes:
        question: One of `QUESTIONS`.
        name: What is measured, such as ``max_abs``, ``layer_lsb``, ``within_one``, ``mad``, ``off_by_more_than_2``.
        region: Where: empty for all pixels of all images, ``unknown``, or a stratum such as ``uncertainty: 80-100 %``,
            ``occluder: hand``, ``skin: tan``.
        value: As found; None where there is nothing to divide by, or it is infinite (the PSNR of equal images).
        unit: Such as ``%``, ``LSB``, ``dB``, ``1``; of ``value``, the interval and the limit.
        low: Lower end of the 95 % interval; None without one.
        high: Upper end.
        limit: What it must keep; None where it is shown and not judged.
        at_least: Whether the limit is a lower one.
        passed: Whether it keeps its limit; True without one.
        detail: What a reader should know, such as the tensor, or how many images and faces there are.
    """

    question: str
    name: str
    value: float | None
    unit: str = "1"
    region: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    at_least: bool = False
    passed: bool = True
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse what no reader could make sense of."""
        if self.question not in QUESTIONS:
            raise ValueError(f"question {self.question!r}, expected one of {', '.join(QUESTIONS)}")
        numbers = (self.value, self.low, self.high, self.limit)
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise ValueError(f"{self.name}: {numbers}, expected finite numbers")
        if self.limit is None and not self.passed:
            raise ValueError(f"{self.name}: fails without a limit")

    @property
    def key(self) -> str:
        """What tells it from the artefact's other figures, such as ``quantization mad (skin: tan)``."""
        return f"{self.question} {self.name}" + (f" ({self.region})" if self.region else "")

    def __str__(self) -> str:
        """One line: what, where, how much, and the limit."""
        unit = "" if self.unit == "1" else f" {self.unit}"
        value = "none" if self.value is None else f"{self.value:.4g}{unit}"
        ends = "" if self.low is None or self.high is None else f" [{self.low:.4g}, {self.high:.4g}]"
        word = "at least" if self.at_least else "at most"
        limit = "" if self.limit is None else f", {word} {self.limit:.4g}{unit}"
        return f"{self.key}: {value}{ends}{limit}" + (f"; {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class Outcome:
    """One artefact's figures; true when it passed.

    Attributes:
        target: The target's name.
        precision: One of its precisions.
        file: The artefact's name in its folder; empty where the export made none.
        sha256: Of the artefact; empty where there is none.
        state: One of `STATES`.
        message: Why it did not pass, and what to do; empty when it did.
        findings: Where and why it differs: sentences, the most telling first.
        tensor: The first tensor of the trunk where it parts from its reference; empty where none was found.
        figures: What was measured.
        changed: Whether its bytes are not those that the export wrote.
        required: Whether not being able to run it is a failure.
        proves: What running it here proves, and what it does not.
    """

    target: str
    precision: str
    file: str
    sha256: str
    state: str
    message: str = ""
    findings: tuple[str, ...] = ()
    tensor: str = ""
    figures: tuple[Figure, ...] = ()
    changed: bool = False
    required: bool = False
    proves: str = ""

    def __post_init__(self) -> None:
        """Refuse an outcome that says two things."""
        if self.state not in STATES:
            raise ValueError(f"state {self.state!r}, expected one of {', '.join(STATES)}")
        failed = [figure for figure in self.figures if not figure.passed]
        if self.state == "passed" and (failed or not any(f.limit is not None for f in self.figures)):
            raise ValueError(f"{self.name}: passed with {len(failed)} failed figures, and nothing or too little judged")
        if self.state == "gate" and not failed:
            raise ValueError(f"{self.name}: failed at a gate, but every figure keeps its limit")

    @property
    def name(self) -> str:
        """Target and precision, such as ``tflite int8``."""
        return f"{self.target} {self.precision}"

    @property
    def failed(self) -> bool:
        """Whether the run as a whole fails because of it; one that cannot run here does only where it is required."""
        return self.required if self.state == "unavailable" else self.state != "passed"

    def __bool__(self) -> bool:
        """Return whether it passed."""
        return self.state == "passed"


@dataclass(frozen=True)
class ParityReport:
    """Everything one run of parity found; true when nothing failed and something passed.

    Attributes:
        outcomes: One an artefact, in the export's order.
        images: What they were run on: name, count, faces, SHA-256, whether the truth is known.
        network: Facts of the network: name, version, licence, size, SHA-256 of the trunk.
        gates: The limits, as they were read.
        machine: Facts of the machine and the versions of the packages that took part.
        not_proven: What a reader must not conclude, a sentence each.
        baseline: The earlier report that this one was held against: path, SHA-256; empty without one.
        command: What was typed.
        timings: Name to seconds. The only part that differs between two runs on the same machine.
    """

    outcomes: tuple[Outcome, ...]
    images: Mapping[str, Any]
    network: Mapping[str, Any]
    gates: Mapping[str, Any]
    machine: Mapping[str, Any]
    not_proven: tuple[str, ...] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing failed and at least one artefact passed."""
        return any(self.outcomes) and not any(outcome.failed for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 when it passed; 3 when nothing could be run; else 1."""
        if self.passed:
            return 0
        return (
            3 if {o.state for o in self.outcomes} == {"unavailable"} and not any(o.failed for o in self.outcomes) else 1
        )

    def __bool__(self) -> bool:
        """Return `passed`."""
        return self.passed

    def to_json(self) -> dict[str, object]:
        """Return a JSON-ready mapping with its schema version; no NaN, no infinity."""
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], origin: str = "the report") -> Self:
        """Read what `to_json` wrote.

        Args:
            document: The mapping.
            origin: The file, for errors.

        Raises:
            InputError: It is of another version, or a field is missing, unknown or impossible.
        """
        again = "make it again with: edgemat parity"
        try:
            values = dict(document)
            version, passed = values.pop("schema_version"), values.pop("passed")
            if version != SCHEMA_VERSION:
                raise InputError(f"{origin}: schema version {version}, expected {SCHEMA_VERSION}; {again}")
            values["outcomes"] = tuple(_outcome(value) for value in values["outcomes"])
            values["not_proven"] = tuple(values["not_proven"])
            found = cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{origin}: no parity report ({type(error).__name__}: {error}); {again}") from error
        if found.passed != passed:
            raise InputError(f"{origin}: says passed = {passed}, but its outcomes say {found.passed}; {again}")
        return found


def _outcome(value: Mapping[str, Any]) -> Outcome:
    figures = tuple(Figure(**figure) for figure in value["figures"])
    return Outcome(**{**value, "findings": tuple(value["findings"]), "figures": figures})
