"""``edgemat parity``: prove that every artefact is what was trained, and measure what its precision costs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.verify.parity.images import ParitySet, Source
    from edgemat.verify.parity.report import ParityReport
    from edgemat.verify.parity.run import Oracle

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("directory", metavar="[DIR]", default="out", type=_PATH)
@click.option("--images", metavar="PATH|holdout|calibration", help="What to run on; the hold-out where it is fetched.")
@click.option("--limit", type=click.IntRange(min=1), default=32, show_default=True, help="Images at most.")
@click.option("--clips/--no-clips", default=True, help="Also flicker in motion (dtSSD), of the hold-out.")
@click.option("--targets", metavar="A,B", help="Only these targets of the folder.")
@click.option("--require", metavar="A,B", help="Not being able to run these is a failure; all for every artefact.")
@click.option("--baseline", type=_PATH, help="An earlier parity.json: nothing may be worse than there.")
@click.option("--config", type=_PATH, help="TOML with limits; the nearest edgemat.toml or pyproject.toml.")
@click.option("--gate", "gates", multiple=True, metavar="SECTION.NAME=N", help="A limit, or off; repeatable.")
@click.option("--junit", type=_PATH, help="Write JUnit XML there, too.")
@click.option(
    "--oracle", type=click.Choice(["coreai"]), help="Also ask Apple's Core AI runtime (beta) what it makes of them."
)
@click.option("--out", type=_PATH, help="Put the proof/ of DIR into this folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def parity(
    directory: Path,
    images: str | None,
    limit: int,
    clips: bool,
    targets: str | None,
    require: str | None,
    baseline: Path | None,
    config: Path | None,
    gates: tuple[str, ...],
    junit: Path | None,
    oracle: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Prove that every artefact of an export is what was trained.

    DIR is a folder of edgemat export; "out" where left out. Every artefact runs in a process of its own and answers two
    questions. Conversion: is it what its trunk says, at the same precision? Quantization: what does that precision cost
    on ground truth, stratum by stratum, and in the frame that a user sees, beside the float network?

    Limits come from [tool.edgemat.parity] of pyproject.toml, or [parity] of edgemat.toml; docs/parity.md has all, with
    the reason of each.

    Leaves parity.json, junit.xml, strips.npz and report.html in DIR/proof. Exits 1 when a limit is broken or an
    artefact fails, 3 when nothing could be run.
    """
    from edgemat.verify import exported
    from edgemat.verify.parity import baseline as ratchet
    from edgemat.verify.parity import documents, run, settings
    from edgemat.verify.parity import images as sets

    asked = (settings.find(Path.cwd()) if config is None else settings.read(config)).override(gates)
    earlier = None if baseline is None else ratchet.read(baseline)
    found = exported.read(directory)
    trunk = found.trunks.any()
    console.note("images: make or read")
    chosen = sets.load(_source(images), trunk.height, trunk.width, limit, clips)
    asker = None if oracle is None else _oracle()
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    report, shown = run.judge(
        found, chosen, asked, require=_words(require), baseline=earlier, only=_words(targets), oracle=asker,
        command=command, on_progress=console.note,
    )  # fmt: skip
    written = documents.write(report, shown, chosen, out or directory)
    if junit is not None:
        from edgemat.verify.parity.junit import write

        write(report, junit)
    _tell(report, chosen, directory, as_json)
    console.note(f"written: {', '.join(map(str, written))}")
    return report.exit_code


def _oracle() -> Oracle:
    from edgemat.verify import oracle

    return oracle.rows


def _source(text: str | None) -> Source | Path | None:
    known: dict[str, Source] = {"holdout": "holdout", "calibration": "calibration"}
    return None if text is None else known.get(text) or Path(text)


def _words(text: str | None) -> tuple[str, ...]:
    """Return names that commas part; a target's may be written with hyphens."""
    return tuple(word.strip().replace("-", "_") for word in (text or "").split(",") if word.strip())


def _tell(report: ParityReport, chosen: ParitySet, directory: Path, as_json: bool) -> None:
    """Print the verdict for people, for programs and, in GitHub, for GitHub."""
    from edgemat.verify.parity import github, words

    if as_json:
        console.print_json(report.to_json())
    else:
        _show(report)
    for outcome in report.outcomes:
        if outcome.message:
            console.note(f"{outcome.name}: {words.state(outcome)}: {outcome.message}")
        for finding in outcome.findings:
            console.note(f"  {finding}")
    if chosen.truth is None:
        console.note("WARNING: these images have no truth: what precision costs on them was not measured")
    for sentence in report.not_proven:
        console.note(f"not proven: {sentence}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        github.append_summary(report)
        for line in github.workflow_commands(report, directory):
            console.note(line)
    console.note(words.verdict(report))


def _show(report: ParityReport) -> None:
    from edgemat.verify.parity import words

    rows = []
    for outcome in report.outcomes:
        worst = words.worst(outcome)
        figure = ("-", "-", "-") if worst is None else (words.title(worst), words.measured(worst), words.allowed(worst))
        rows.append((outcome.target, outcome.precision, words.state(outcome), *figure, outcome.tensor or "-"))
    heads = (
        "target",
        "precision",
        "result",
        "nearest to its limit",
        "measured",
        "allowed",
        "first tensor that differs",
    )
    console.table(rows, heads)
