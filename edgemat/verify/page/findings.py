"""What lint found: rule by rule, the worst first, with where, why and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from edgemat.verify import proof
from edgemat.verify.lint.finding import Finding
from edgemat.verify.page.gather import Proof
from edgemat.verify.page.markup import Column, Html, bullets, el, join, mark, table
from edgemat.verify.page.overview import absent
from edgemat.verify.parity.words import plural

_TONES = {"error": "bad", "warning": "warn", "note": "idle"}


def section(found: Proof) -> Html:
    """Return an article a rule that found something."""
    lint = found.lint
    if lint is None:
        return absent(found, proof.LINT)
    rules = dict.fromkeys((f.rule, f.level, f.why, f.fix) for f in lint.findings)
    parts = [_rule([f for f in lint.findings if (f.rule, f.level, f.why, f.fix) == rule]) for rule in rules]
    looked = plural(len(lint.artefacts), "artefact")
    if not parts:
        parts = [el("p", mark("good", f"Nothing found in {looked}."))]
    hidden = [f"{rule} was left out: {plural(count, 'finding')} not shown" for rule, count in lint.ignored.items()]
    return join([*parts, bullets(hidden)])


def _rule(findings: Sequence[Finding]) -> Html:
    first = findings[0]
    source = None
    if first.source.startswith("https://"):
        source = el("p", el("a", first.source, href=first.source, rel="noreferrer"), class_="source")
    rows = [(f.file, f.artefact, f.place or "-", f.found) for f in findings]
    columns = ("file", "artefact", "where", Column("found", kind="prose"))
    return el(
        "article",
        el("h3", mark(_TONES[first.level], first.level), f" {first.rule} {first.name}"),
        el("p", first.why),
        el("p", el("b", "What to do: "), first.fix),
        source,
        table(f"{first.rule}: {plural(len(findings), 'place')}", columns, rows),
    )
