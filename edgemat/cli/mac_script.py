"""``edgemat mac-script``: what times the Core ML packages of a folder on a Mac."""

from __future__ import annotations

from pathlib import Path

import click

from edgemat import console


@click.command("mac-script")
@click.argument("folder", default=Path("out"), type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The script's place.  [default: FOLDER/mac_bench.py]")
@click.option("--images", type=click.IntRange(1, 24), default=4, show_default=True, help="Golden inputs.")
def mac_script(folder: Path, out: Path | None, images: int) -> None:
    """Write the script that times Core ML packages on a Mac.

    FOLDER is what edgemat export wrote, out by default. The script needs coremltools, not edgemat; with it goes an .npz
    with golden inputs and the alpha that they have to give. Copy both and the packages to a Mac, run it, and read its
    mac.json here: edgemat bench FOLDER --merge mac.json
    """
    from edgemat import calib_data
    from edgemat.verify import exported
    from edgemat.verify.bench import mac

    found = exported.read(folder)
    trunk = found.trunks.any()
    pixels = calib_data.load().resized(trunk.height, trunk.width)[:images]
    script, golden = mac.write_script(found, pixels, folder / "mac_bench.py" if out is None else out)
    names = " ".join(str(entry.path) for entry in mac.packages(found))
    click.echo(script)
    console.note(f"copy to a Mac: {script} {golden} {names}")
    console.note(f"there: pip install 'coremltools>=9.0' pillow && python3 {script.name} --folder .")
    console.note(f"here, with what it wrote: edgemat bench {folder} --merge mac.json")
