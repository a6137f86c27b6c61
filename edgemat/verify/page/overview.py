"""The top of the page and its end: the verdict, the artefacts, what failed, what is not proven, how to do it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgemat.verify import proof
from edgemat.verify.page import charts
from edgemat.verify.page.gather import Proof
from edgemat.verify.page.markup import Child, Column, Html, bullets, details, el, join, mark, table
from edgemat.verify.parity import words
from edgemat.verify.parity.report import Figure, Outcome

OPEN = 4
"""Failed artefacts that are told of in full; the rest is folded."""
_TITLES = {
    proof.PARITY: "Parity",
    proof.STRIPS: "Pictures",
    proof.WATERFALL: "Error budget",
    proof.BENCH: "Latency",
    proof.LINT: "Lint",
}


def verdict(found: Proof) -> tuple[str, str]:
    """Return the whole page's tone and sentence: ``good`` only where nothing failed and parity passed."""
    if found.parity is None:
        return "bad", f"Nothing is proven: parity was {_reason(found, proof.PARITY)}."
    tone, sentence = ("good" if found.parity else "bad"), words.verdict(found.parity)
    others = [name for name, kind, _ in others_of(found) if kind == "bad"]
    if tone == "good" and found.stale:
        return "bad", f"Out of date: {', '.join(found.stale)} changed since parity judged it. Run it again."
    if tone == "good" and others:
        return "bad", f"Failed: every artefact kept its limits, but not all else did: {', '.join(others).lower()}."
    return tone, sentence


def others_of(found: Proof) -> Iterator[tuple[str, str, str]]:
    """Yield what the other documents say: title, tone, sentence."""
    if found.lint is not None:
        counts = {level: count for level, count in found.lint.counts().items() if count}
        said = ", ".join(words.plural(count, level) for level, count in counts.items()) or "nothing found"
        tone = "good" if found.lint else "bad"
        yield "Lint", "warn" if found.lint and counts.get("warning") else tone, said
    if found.waterfall is not None:
        steps = len(found.waterfall.steps)
        said = "; ".join(found.waterfall.broken) or f"{words.plural(steps, 'step')}, no limit broken"
        yield "Error budget", "good" if found.waterfall else "bad", said
    if found.bench is not None:
        yield "Latency", {"passed": "good", "failed": "bad"}.get(found.bench.verdict, "warn"), found.bench.verdict
    for name in (proof.LINT, proof.WATERFALL, proof.BENCH):
        if name in found.absent:
            yield _TITLES[name], "idle", _reason(found, name)


def _reason(found: Proof, name: str) -> str:
    return found.absent.get(name, "not measured")


def banner(found: Proof) -> Html:
    """Return the verdict, and what the other documents say."""
    tone, sentence = verdict(found)
    rows = [el("li", el("b", name), " ", mark(kind, said)) for name, kind, said in others_of(found)]
    return join(
        [
            el("p", mark(tone, sentence), class_=f"verdict {tone}"),
            el("p", _facts(found), class_="facts"),
            el("ul", *rows, class_="others") if rows else None,
        ]
    )


def _facts(found: Proof) -> str:
    if found.parity is None:
        return f"Folder {found.name}"
    network, images = found.parity.network, found.parity.images
    name = " ".join(str(network[key]) for key in ("name", "version") if network.get(key))
    size = "x".join(map(str, network["size"])) if isinstance(network.get("size"), (list, tuple)) else ""
    source = images.get("name") or images.get("source") or ""
    faces = f" of {words.plural(images['faces'], 'face')}" if isinstance(images.get("faces"), int) else ""
    count = f"{words.plural(images['count'], 'image')}{faces}" if isinstance(images.get("count"), int) else ""
    parts = (f"Network {name}" if name else "", size, f"{count} ({source})" if count and source else count)
    return ", ".join(filter(None, parts)) + f"; folder {found.name}"


def artefacts(found: Proof) -> Html:
    """Return the table of artefacts."""
    if found.parity is None:
        return absent(found, proof.PARITY)
    rows = [_row(found, outcome) for outcome in found.parity.outcomes]
    columns = (
        Column("artefact", kind="name"),
        Column("result", kind="state"),
        Column("size", right=True, kind="size"),
        Column("nearest to its limit, or beyond it", kind="worst"),
        Column("first tensor that differs", kind="tensor"),
        Column("what running it here proves", kind="prose"),
    )
    return table("Artefacts, and the figure of each that is nearest to its limit", columns, rows)


def _row(found: Proof, outcome: Outcome) -> Sequence[Child]:
    name = join([el("b", outcome.target), " ", outcome.precision, el("br"), el("small", outcome.file)])
    tone = "good" if outcome else "bad" if outcome.failed else "idle"
    notes = [el("small", "its bytes are not the export's")] if outcome.changed else []
    if outcome.name in found.stale:
        notes.append(el("small", "exported again since"))
    state = join([mark(tone, words.state(outcome)), *(join([el("br"), note]) for note in notes)])
    return (name, state, _size(found, outcome), _worst(outcome), outcome.tensor or "-", outcome.proves or "-")


def _size(found: Proof, outcome: Outcome) -> Child:
    made = found.made.get(outcome.name)
    if made is None:
        return "-"
    size = made.device_bytes or made.bytes
    share = f"{size / made.float_bytes:.3f} of float32" if made.float_bytes else ""
    device = "on one device, " if made.device_bytes else ""
    return join([f"{size / 1e6:.2f} MB", el("br"), el("small", device + share)])


def _worst(outcome: Outcome) -> Child:
    figure = words.worst(outcome)
    if figure is None:
        return outcome.message or "-"
    share, tone = words.used(figure), "good" if figure.passed else "bad"
    said = f"{words.measured(figure)}, {words.allowed(figure)}"
    about = join([el("small", f"{figure.question}: "), words.title(figure)])
    return join([about, el("br"), said, charts.meter(share, tone)])


def failures(found: Proof) -> Html | None:
    """Return what failed, with findings; None where nothing did."""
    if found.parity is None:
        return None
    failed = [outcome for outcome in found.parity.outcomes if outcome.failed]
    if not failed:
        return None
    rest = [_failure(outcome) for outcome in failed[OPEN:]]
    folded = details(f"{len(rest)} more", *rest) if rest else None
    return join([*(_failure(outcome) for outcome in failed[:OPEN]), folded])


def _failure(outcome: Outcome) -> Html:
    broken = [figure for figure in outcome.figures if not figure.passed]
    rows = [_figure(figure) for figure in sorted(broken, key=lambda f: -words.used(f))]
    columns = ("figure", Column("measured", right=True), Column("allowed", right=True), Column("detail", kind="prose"))
    tensor = el("p", "First tensor that differs: ", el("code", outcome.tensor)) if outcome.tensor else None
    return el(
        "article",
        el("h3", outcome.name, " ", mark("bad", words.state(outcome))),
        el("p", outcome.message) if outcome.message else None,
        bullets(outcome.findings),
        tensor,
        table(f"{outcome.name}: figures beyond their limits", columns, rows) if rows else None,
        class_="failure",
    )


def _figure(figure: Figure) -> Sequence[Child]:
    name = f"{figure.question}: {words.title(figure)}"
    return (name, words.measured(figure), words.allowed(figure) or "-", figure.detail)


def figures(found: Proof) -> Html | None:
    """Return every artefact's figures of conversion and of the composite, folded."""
    if found.parity is None:
        return None
    columns = (
        "figure",
        Column("measured", right=True),
        Column("allowed", right=True),
        "",
        Column("detail", kind="prose"),
    )
    parts = []
    for outcome in found.parity.outcomes:
        shown = [f for f in outcome.figures if f.question != "quantization"]
        rows = [(*_figure(f)[:3], _judgement(f), f.detail) for f in shown]
        if rows:
            parts.append(details(outcome.name, table(f"{outcome.name}: figures", columns, rows)))
    return join(parts) if parts else None


def _judgement(figure: Figure) -> Child:
    if figure.limit is None:
        return el("span", "shown", class_="muted")
    return mark("good", "kept") if figure.passed else mark("bad", "BROKEN")


def unproven(found: Proof) -> Html:
    """Return what a reader must not conclude."""
    said: list[Child] = []
    if found.parity is not None:
        said += found.parity.not_proven
        told = " ".join(found.parity.not_proven)
        said += [
            f"{o.name} was not run: {o.message}"
            for o in found.parity.outcomes
            if o.state == "unavailable" and o.name not in told
        ]
    said += [f"{_TITLES[name]}: {reason}" for name, reason in found.absent.items()]
    if found.bench is not None:
        said += [f"Latency of {u.name}: not timed: {u.reason}" for u in found.bench.untimed]
    if found.lint is not None:
        said += [f"Lint of {a.file}: not looked at: {why}" for a in found.lint.artefacts for why in a.unknown]
    return bullets(said) or el("p", "Nothing beyond what the table of artefacts says of each.")


def again(found: Proof) -> Html:
    """Return how to get the same figures: command, data, limits, machine."""
    parts: list[Html] = []
    commands = [r.command for r in (found.parity, found.bench) if r is not None and r.command]
    if commands:
        parts.append(el("pre", el("code", "\n".join(commands)), tabindex=0))
    if found.parity is not None:
        report = found.parity
        blocks = {"Images": report.images, "Network": report.network, "Machine and packages": report.machine}
        if report.baseline:
            blocks["Held against"] = report.baseline
        parts += [el("div", el("h3", title), _list(facts)) for title, facts in blocks.items()]
        parts.append(details("Limits, as they were read", _list(report.gates)))
    if found.bench is not None:
        parts.append(details("Latency: machine and settings", _list({**found.bench.machine, **found.bench.settings})))
    return join(parts)


def _list(facts: Mapping[str, Any]) -> Html:
    """Return facts as a list of terms; nested ones by dotted names."""
    pairs = [(el("dt", key), el("dd", value)) for key, value in _flat(facts)]
    return el("dl", *(part for pair in pairs for part in pair))


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name} · ")
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value)) or "none"
        else:
            yield name, "none" if value is None else str(value)


def absent(found: Proof, name: str) -> Html:
    """Return why a section is empty."""
    return el("p", mark("idle", f"{_TITLES[name]}: {_reason(found, name)}"), class_="note")
