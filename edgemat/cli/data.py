"""``edgemat data``: bring the training data into the cache, look at composites of it, and write sets of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.data.render import RenderProgress
    from edgemat.data.splits import Split


@click.group()
def data() -> None:
    """Fetch the training data, look at it, write training sets."""


@data.command()
@click.option("--name", "names", multiple=True, help="A source to fetch; repeatable; all by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def fetch(names: tuple[str, ...], as_json: bool) -> None:
    """Bring the data packages into the cache.

    They come from their registries, are checked, and unpacked; a broken download is taken up where it broke.
    Nothing is fetched twice. EDGEMAT_CACHE chooses the cache folder.
    """
    from edgemat.data import faces, registry

    with console.progress() as report:
        folders = registry.fetch(names=names or None, progress=report)
        if not names:
            faces.prepare(progress=report)
    sources = [registry.source(name) for name in folders]
    if as_json:
        found = [{"name": s.name, "folder": str(folders[s.name]), "licence": s.licence, "use": s.use} for s in sources]
        console.print_json({"schema_version": 1, "sources": found})
    else:
        rows = [[s.name, f"{s.package} {s.version}", s.licence, s.use, str(folders[s.name])] for s in sources]
        console.table(rows, ["source", "package", "licence", "use", "folder"])


@data.command()
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option("--count", type=click.IntRange(min=1), default=24, show_default=True, help="How many samples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other samples.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="sheet.png", show_default=True, help="The PNG to write."
)
def preview(split: str, count: int, seed: int, out: Path) -> None:
    """Draw a contact sheet of composites: image, matte, skin over green.

    The samples are those of training; their faces and occluders are the split's. Needs: edgemat data fetch.
    """
    from edgemat.data.compositor import Compositor
    from edgemat.data.faces import load_faces
    from edgemat.data.occluders import load_occluders
    from edgemat.data.preview import write_contact_sheet

    compositor = Compositor(load_faces(cast("Split", split)), load_occluders(split), seed=seed)
    write_contact_sheet(out, [compositor.sample(i) for i in range(count)])
    console.note(f"wrote {out}")


@data.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the shards to write."
)
@click.option("--count", type=click.IntRange(min=1), required=True, help="How many composites.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option(
    "--mild",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="Share of composites that vary as little as everyday photos do.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other composites."
)
@click.option("--size", type=click.IntRange(min=32), default=256, show_default=True, help="Height and width, pixels.")
@click.option("--per-shard", type=click.IntRange(min=1), default=1000, show_default=True, help="Composites a shard.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
def render(out: Path, count: int, split: str, mild: float, seed: int, size: int, per_shard: int, workers: int) -> None:
    """Render composites into WebDataset tar shards, for many runs to train on.

    The same options give the same bytes, whatever the number of workers. An interrupted rendering goes on with the
    same command. Needs: edgemat data fetch.
    """
    from edgemat.data.faces import load_faces
    from edgemat.data.occluders import load_occluders
    from edgemat.data.render import Rendering
    from edgemat.data.render import render as write

    what = Rendering(count, cast("Split", split), mild, seed, size, per_shard)
    write(what, load_faces(what.split), load_occluders(split), out, workers, _tell)
    console.note(f"{out}: {count} composites in {what.shards} shards, complete")


@data.command()
@click.option(
    "--data",
    "where",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with image/ and alpha/, or WebDataset shards.",
)
@click.option("--teacher", type=click.Path(path_type=Path), help="A teacher's weights; the shipped one by default.")
@click.option("--size", type=click.IntRange(min=32), default=256, show_default=True, help="Height and width, pixels.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the shards to write."
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
def annotate(where: Path, teacher: Path | None, size: int, out: Path, workers: int) -> None:
    """Copy a training set with a teacher's alpha and doubt of every image, for many students to learn from.

    An interrupted annotation goes on with the same command.
    """
    import time

    from edgemat.model.weights import shipped_teacher
    from edgemat.train.annotate import annotate as write

    told = [time.monotonic()]

    def tell(done: int, total: int) -> None:
        if time.monotonic() - told[0] >= 10 or done == total:
            told[0] = time.monotonic()
            console.note(f"{done}/{total}")

    asked = teacher or shipped_teacher()
    count = write(where, asked, out, size, tell, workers=workers)
    console.note(
        f"{out}: {count} examples, complete; next: edgemat train student --recipe distil --teacher {asked} "
        f"--data {out} --out runs/distil"
    )


def _tell(progress: RenderProgress) -> None:
    """Print one line of progress."""
    rate = f"{progress.samples_per_second:.1f} samples/s  ETA {progress.eta / 60:.0f} min"
    console.note(f"{progress.done}/{progress.count}  {rate}")
