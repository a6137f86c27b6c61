"""``edgemat bisect``: name the first tensor where an artefact and its reference part, or the backend that is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.export._target import Images
    from edgemat.verify.bisect import Bisection
    from edgemat.verify.exported import Entry

_SHIPPED = 2
"""Shipped images that are run where none is given."""


@click.command()
@click.argument("artefact", type=click.Path(path_type=Path))
@click.option("--image", "files", type=click.Path(path_type=Path), multiple=True, help="What to run; repeatable.")
@click.option("--backends", metavar="A,B,...", help="Further targets that run the same trunk and vote on who is wrong.")
@click.option("--out", type=click.Path(path_type=Path), help="The picture; by default DIR/proof/bisect-NAME.png.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def bisect(artefact: Path, files: tuple[Path, ...], backends: str | None, out: Path | None, as_json: bool) -> int:
    """Name the first tensor where an artefact and its trunk part.

    Each tensor is compared with what the reference makes of the artefact's own tensors before it: a fault is named
    where it arises. An integer tensor may be off by what its target's gate lets it; a float one by what its precision
    does to the sums that make it. A picture shows the worst channel. Artefacts kept aside as rejected are read, too.

    With --backends several runtimes and the reference vote: whoever disagrees with the majority is named.

    Exit code 1 where something parts.
    """
    from edgemat.verify.bisect import bisect as run
    from edgemat.verify.bisect import picture, voters

    entry = voters.find(artefact)
    images = _images(entry, files)
    if backends is not None:
        return _vote(entry, images, backends, as_json)
    found = run(entry, images)
    if entry.changed:
        console.note(f"{artefact}: its bytes are not those that the export wrote")
    _say(found, as_json)
    if not found:
        place = out or artefact.parent / "proof" / f"bisect-{entry.name.replace(' ', '-')}.png"
        drawn = picture.write(found, place)
        console.note(f"picture: {place}" if drawn else "no picture: there is nothing to draw side by side")
    return 0 if found else 1


def _say(found: Bisection, as_json: bool) -> None:
    if as_json:
        console.print_json(found.to_json())
    else:
        click.echo(str(found))


def _vote(entry: Entry, images: Images, backends: str, as_json: bool) -> int:
    from edgemat.verify.bisect import vote, voters

    names = [name.strip() for name in backends.split(",") if name.strip()]
    with tempfile.TemporaryDirectory() as folder:
        found = vote(voters.others(entry, names, Path(folder)), images)
    if as_json:
        console.print_json(found.to_json())
    else:
        click.echo(str(found))
    return 0 if found else 1


def _images(entry: Entry, files: tuple[Path, ...]) -> Images:
    """Return what to run at the trunk's size: the files, or some of the shipped images."""
    import numpy as np

    from edgemat import calib_data
    from edgemat.images import read_rgb

    size = (entry.trunk.height, entry.trunk.width)
    if files:
        return np.stack([calib_data.resize(read_rgb(file), *size) for file in files])
    return calib_data.load().resized(*size)[:_SHIPPED]
