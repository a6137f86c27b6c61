"""``edgemat lint``: what a conversion, a phone or an app team will stumble over, found in the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.verify.lint.finding import LintReport


@click.command()
@click.argument("artefacts", nargs=-1, metavar="ARTEFACT...", type=click.Path(path_type=Path))
@click.option("--sarif", type=click.Path(path_type=Path), help="Also write SARIF 2.1.0 there, for code hosts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="Exit 1 from there on.",
)
@click.option("--ignore", multiple=True, metavar="EM012", help="A rule to leave out, by id or name; repeatable.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Folder of images; default: the shipped ones.")
@click.option("--no-images", is_flag=True, help="Leave out what has to run the network: the audit of ranges.")
@click.option("--rules", "as_rules", is_flag=True, help="List the rules and do nothing else.")
@click.option("--markdown", is_flag=True, help="With --rules: as docs/lint.md has them.")
def lint(
    artefacts: tuple[Path, ...],
    sarif: Path | None,
    as_json: bool,
    fail_on: str,
    ignore: tuple[str, ...],
    calibration: Path | None,
    no_images: bool,
    as_rules: bool,
    markdown: bool,
) -> int:
    """Find what a phone will stumble over, without a phone.

    ARTEFACT is one of an export folder, a bare .onnx, .tflite, .mlpackage or .xml, or a whole export folder.

    Looks at resize semantics, ranges against float16, shapes, layout, operators that leave an accelerator, integer
    grids and metadata. Ranges are measured on images. Of a folder, the findings are also left in proof/lint.json.
    Exits 1 when something at or above --fail-on is found.
    """
    if as_rules:
        return _list(markdown)
    from edgemat import calib_data
    from edgemat.verify.lint.run import lint as run

    images = None if no_images else calib_data.load(calibration)
    report = run(artefacts, images, ignore, console.note)
    _leave(report, artefacts, sarif)
    if as_json:
        console.print_json(report.to_json())
    else:
        _show(report)
    failed = report.at_least(fail_on)
    if failed:
        console.note(f"FAILED: {len(failed)} findings of level {fail_on} or worse")
    return 1 if failed or not report.artefacts else 0


def _list(markdown: bool) -> int:
    from edgemat.verify.lint import catalogue
    from edgemat.verify.lint.rules import rules

    if markdown:
        click.echo(catalogue.markdown(), nl=False)
    else:
        console.table([[r.id, r.name, r.level, r.title] for r in rules()], ["rule", "name", "level", "finds"])
    return 0


def _leave(report: LintReport, artefacts: tuple[Path, ...], sarif: Path | None) -> None:
    """Write what was asked for, and the report of a single export folder into it."""
    from edgemat.files import write_json
    from edgemat.verify import proof
    from edgemat.verify.lint import sarif as form
    from edgemat.verify.lint.sources import target_of

    folder = artefacts[0] if len(artefacts) == 1 and target_of(artefacts[0]) is None else None
    if folder is not None:
        write_json(folder / proof.FOLDER / proof.LINT, report.to_json())
    if sarif is not None:
        write_json(sarif, form.document(report, _prefix(artefacts, folder)))


def _prefix(artefacts: tuple[Path, ...], folder: Path | None) -> str:
    """Return what makes the report's names relative to where the command was run, as a code host wants them."""
    if len(artefacts) != 1:
        return ""
    place = folder if folder is not None else artefacts[0].parent
    return "" if place == Path() else f"{place.as_posix()}/"


def _show(report: LintReport) -> None:
    rows = [[f.level, f.rule, f.file, f.place, f.found] for f in report.findings]
    if rows:
        console.table(rows, ["level", "rule", "file", "place", "found"])
    for rule in dict.fromkeys(f.rule for f in report.findings):
        first = next(f for f in report.findings if f.rule == rule)
        console.note(f"{rule} {first.name}: {first.why} {first.fix}")
    for about in report.artefacts:
        for reason in about.unknown:
            console.note(f"{about.file}: not looked at: {reason}")
    counts, hidden = report.counts(), sum(report.ignored.values())
    words = ", ".join(f"{count} {level}s" for level, count in counts.items())
    click.echo(f"{len(report.artefacts)} artefacts: {words}" + (f", {hidden} ignored" if hidden else ""))
