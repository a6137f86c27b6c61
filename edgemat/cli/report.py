"""``edgemat report``: one page, and what a CI reads, of everything that was found in an export folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from edgemat import console

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("directory", metavar="[DIR]", default="out", type=_PATH)
@click.option("--out", type=_PATH, help="Where the page goes; DIR/proof/report.html.")
@click.option("--junit", type=_PATH, help="Also parity as JUnit XML.")
@click.option("--sarif", type=_PATH, help="Also lint as SARIF 2.1.0, for code hosts.")
@click.option("--github", is_flag=True, help="Also GitHub's step summary and annotations of parity.")
def report(directory: Path, out: Path | None, junit: Path | None, sarif: Path | None, github: bool) -> int:
    """Make one HTML page of what was found in an export folder.

    DIR is a folder of edgemat export; "out" where left out. The page shows what edgemat parity, waterfall, bench and
    lint left in DIR/proof; what is absent it names. It is one file, needs no network and runs no script.

    Judges nothing: exits 0 when the page is written, whatever it says.
    """
    from edgemat.verify.page import build

    written = [build.write(directory, out), *_others(directory, junit, sarif)]
    if github:
        _github(directory)
    for path in written:
        click.echo(str(path))
    return 0


def _others(directory: Path, junit: Path | None, sarif: Path | None) -> Iterator[Path]:
    from edgemat.errors import InputError
    from edgemat.files import write_json
    from edgemat.verify import proof
    from edgemat.verify.lint.finding import LintReport
    from edgemat.verify.lint.sarif import document as sarif_document
    from edgemat.verify.page.gather import document
    from edgemat.verify.parity.junit import write
    from edgemat.verify.parity.report import ParityReport

    if junit is not None:
        place = directory / proof.FOLDER / proof.PARITY
        write(ParityReport.from_json(document(place), str(place)), junit)
        yield junit
    if sarif is not None:
        place = directory / proof.FOLDER / proof.LINT
        try:
            found = LintReport.from_json(document(place))
        except ValueError as error:
            raise InputError(f"{place}: {error}; make it again with: edgemat lint {directory}") from error
        prefix = "" if directory == Path() else f"{directory.as_posix()}/"
        write_json(sarif, sarif_document(found, prefix))
        yield sarif


def _github(directory: Path) -> None:
    from edgemat.verify import proof
    from edgemat.verify.page.gather import document
    from edgemat.verify.parity import github
    from edgemat.verify.parity.report import ParityReport

    place = directory / proof.FOLDER / proof.PARITY
    found = ParityReport.from_json(document(place), str(place))
    if github.append_summary(found) is None:
        console.note(f"no step summary: {github.SUMMARY} is not set, as it is in GitHub's workflows")
    for line in github.workflow_commands(found, directory):
        click.echo(line)
