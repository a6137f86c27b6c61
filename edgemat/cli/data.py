"""``edgemat data``: bring the training data into the cache, and look at the composites made of it."""

from __future__ import annotations

import click

from edgemat import console


@click.group()
def data() -> None:
    """Fetch the training data, and look at samples made of it."""


@data.command()
@click.option("--name", "names", multiple=True, help="A source to fetch; repeatable; all by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def fetch(names: tuple[str, ...], as_json: bool) -> None:
    """Bring the data packages into the cache.

    They come from their registries, are checked, and unpacked; a broken download is taken up where it broke.
    Nothing is fetched twice. EDGEMAT_CACHE chooses the cache folder.
    """
    from edgemat.data import registry

    with console.progress() as report:
        folders = registry.fetch(names=names or None, progress=report)
    sources = [registry.source(name) for name in folders]
    if as_json:
        found = [{"name": s.name, "folder": str(folders[s.name]), "licence": s.licence, "use": s.use} for s in sources]
        console.print_json({"schema_version": 1, "sources": found})
    else:
        rows = [[s.name, f"{s.package} {s.version}", s.licence, s.use, str(folders[s.name])] for s in sources]
        console.table(rows, ["source", "package", "licence", "use", "folder"])
