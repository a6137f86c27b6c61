"""The page as a whole: one file that needs no network, no script and no other file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edgemat.files import atomic_path
from edgemat.verify import proof
from edgemat.verify.page import budget, findings, gather, latency, overview, pictures, quality
from edgemat.verify.page.gather import Proof
from edgemat.verify.page.markup import Html, el, join

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is fetched and nothing runs, whatever a document held."""


def page(found: Proof) -> str:
    """Return the page; the same documents give the same bytes.

    Args:
        found: `edgemat.verify.page.gather.gather`.
    """
    import edgemat

    title = f"edgemat proof: {found.name}"
    sections = [(anchor, head, body) for anchor, head, body in _sections(found) if body]
    links = [el("li", el("a", head, href=f"#{anchor}")) for anchor, head, _ in sections]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(style())),
    )
    body = el(
        "body",
        el("a", "To the artefacts", href="#artefacts", class_="skip"),
        el("header", el("h1", title), overview.banner(found)),
        el("nav", el("ul", *links), aria_label="Sections"),
        el("main", *(_section(*parts) for parts in sections)),
        el("footer", el("p", f"edgemat {edgemat.__version__}. This file needs no network and runs no script.")),
    )
    return "<!DOCTYPE html>\n" + el("html", head, body, lang="en") + "\n"


def write(folder: Path, path: Path | None = None) -> Path:
    """Make the page of an export folder.

    Args:
        folder: With ``proof/`` in it.
        path: The page; ``folder/proof/report.html`` if None.

    Returns:
        Where it was written.

    Raises:
        InputError: There is nothing to show.
        OutputError: It cannot be written.
    """
    goal = folder / proof.FOLDER / proof.PAGE if path is None else path
    text = page(gather.gather(folder))
    with atomic_path(goal) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return goal


def style() -> str:
    """Return the style sheet."""
    return resources.files("edgemat.verify.page").joinpath("style.css").read_text(encoding="utf-8")


def _sections(found: Proof) -> list[tuple[str, str, Html | None]]:
    strips = overview.absent(found, proof.STRIPS) if found.strips is None else pictures.section(found.strips)
    return [
        ("artefacts", "Artefacts", overview.artefacts(found)),
        ("failures", "What failed", overview.failures(found)),
        ("mattes", "Mattes", strips),
        ("quality", "What precision costs", quality.section(found)),
        ("budget", "Error budget", budget.section(found)),
        ("latency", "Latency", latency.section(found)),
        ("figures", "Conversion and composite, every figure", overview.figures(found)),
        ("lint", "Lint", findings.section(found)),
        ("unproven", "What is not proven", overview.unproven(found)),
        ("again", "How to get this again", overview.again(found)),
    ]


def _section(anchor: str, head: str, body: Html | None) -> Html:
    return el("section", el("h2", head, id=f"{anchor}-head"), join([body]), id=anchor, aria_labelledby=f"{anchor}-head")
