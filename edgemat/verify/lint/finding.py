"""What a lint finds: rules, findings and the report of one run; values that print well and serialise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemat.verify.lint.facts import Facts

SCHEMA_VERSION = 1
ERROR, WARNING, NOTE = "error", "warning", "note"
LEVELS = (ERROR, WARNING, NOTE)
"""The worst first. An error: what ships is wrong. A warning: it loses quality or speed somewhere. A note: know this."""


@dataclass(frozen=True)
class Place:
    """Where in an artefact something was found, and what it was.

    Attributes:
        found: What was found, with its figures, in one sentence without a full stop.
        op: Operator, ``name (KIND)``; empty where it concerns none.
        tensor: Tensor, by the trunk's name where there is one; empty where it concerns none.
        fix: What to do, where that differs from the rule's own advice.
        level: Where that differs from the rule's own.
        source: Where the claim can be read up, where that differs from the rule's own.
    """

    found: str
    op: str = ""
    tensor: str = ""
    fix: str = ""
    level: str = ""
    source: str = ""


@dataclass(frozen=True)
class Rule:
    """One thing that a lint looks for.

    Attributes:
        id: ``EM`` and three digits; never given to another rule.
        name: The same for people, in words joined by dashes.
        level: One of `LEVELS`.
        title: What it finds, in one sentence.
        why: What goes wrong where it is found.
        fix: What to do.
        check: Yields the places in one artefact where it is found. A pure function of the facts.
        source: Address of the documentation that the rule rests on; empty where it is this project's own measure.
    """

    id: str
    name: str
    level: str
    title: str
    why: str
    fix: str
    check: Callable[[Facts], Iterable[Place]]
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse a rule that nobody could refer to."""
        if not (self.id.startswith("EM") and self.id[2:].isdigit() and len(self.id) == 5):
            raise ValueError(f"rule {self.id!r}, expected EM and three digits")
        if self.level not in LEVELS:
            raise ValueError(f"rule {self.id}: level {self.level!r}, expected one of {', '.join(LEVELS)}")

    def findings(self, facts: Facts) -> Iterator[Finding]:
        """Yield what this rule finds in an artefact."""
        for place in self.check(facts):
            yield Finding(
                rule=self.id,
                name=self.name,
                level=place.level or self.level,
                file=facts.file,
                artefact=facts.artefact,
                op=place.op,
                tensor=place.tensor,
                found=place.found,
                why=self.why,
                fix=place.fix or self.fix,
                source=place.source or self.source,
            )


@dataclass(frozen=True)
class Finding:
    """One thing found in one place.

    Attributes:
        rule: Id of the rule.
        name: Name of the rule.
        level: One of `LEVELS`.
        file: The artefact's file or folder, relative to where the lint was asked to look.
        artefact: ``target precision``, or the format of a file that no export made.
        op: Operator; empty where it concerns none.
        tensor: Tensor; empty where it concerns none.
        found: What was found.
        why: Why it matters.
        fix: What to do.
        source: Address of the documentation that this rests on; may be empty.
    """

    rule: str
    name: str
    level: str
    file: str
    artefact: str
    op: str
    tensor: str
    found: str
    why: str
    fix: str
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse a finding without a level or without words."""
        if self.level not in LEVELS:
            raise ValueError(f"{self.rule}: level {self.level!r}, expected one of {', '.join(LEVELS)}")
        if not (self.found and self.why and self.fix):
            raise ValueError(f"{self.rule}: a finding says what was found, why it matters and what to do")

    @property
    def place(self) -> str:
        """Operator and tensor in a few words; empty for the artefact as a whole."""
        return ", ".join(filter(None, (self.op, self.tensor if self.tensor != self.op.partition(" (")[0] else "")))

    def to_json(self) -> dict[str, str]:
        """Return JSON-ready values."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


@dataclass(frozen=True)
class Linted:
    """One artefact that was looked at.

    Attributes:
        file: As in `Finding.file`.
        artefact: As in `Finding.artefact`.
        images: On how many images its ranges were measured; 0 where they were not.
        unknown: What could not be looked at, each with the reason.
    """

    file: str
    artefact: str
    images: int = 0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class LintReport:
    """Everything one run found; true when there is no error among it.

    Attributes:
        artefacts: What was looked at, in order.
        findings: The worst first, then by file and rule.
        ignored: Ids that were asked to be left out, with how many findings that hid.
        rules: The rules that were applied.
    """

    artefacts: tuple[Linted, ...]
    findings: tuple[Finding, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        """Whether something was looked at and no error was found."""
        return bool(self.artefacts) and not self.at_least(ERROR)

    def at_least(self, level: str) -> tuple[Finding, ...]:
        """Return the findings of a level or worse."""
        worst = LEVELS[: LEVELS.index(level) + 1]
        return tuple(finding for finding in self.findings if finding.level in worst)

    def counts(self) -> dict[str, int]:
        """Return the number of findings by level, 0 for one that has none."""
        found = Counter(finding.level for finding in self.findings)
        return {level: found[level] for level in LEVELS}

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": bool(self),
            "counts": self.counts(),
            "artefacts": [
                {"file": a.file, "artefact": a.artefact, "images": a.images, "unknown": list(a.unknown)}
                for a in self.artefacts
            ],
            "findings": [finding.to_json() for finding in self.findings],
            "ignored": dict(self.ignored),
            "rules": [rule.id for rule in self.rules],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LintReport:
        """Return the report of a document that `to_json` made; the rules themselves stay in the program.

        Raises:
            ValueError: It is of another version, or not whole.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema version {document.get('schema_version')!r}, expected {SCHEMA_VERSION}")
        try:
            return cls(
                tuple(
                    Linted(a["file"], a["artefact"], a["images"], tuple(a["unknown"])) for a in document["artefacts"]
                ),
                tuple(Finding(**finding) for finding in document["findings"]),
                dict(document["ignored"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a whole lint report ({error!r})") from error
