"""``edgemat candidates``: what the choice of the student's architecture rests on."""

from __future__ import annotations

from pathlib import Path

import click

from edgemat import console

_SIZE = (256, 256)
_NUMBER = console.Column


@click.command()
@click.option(
    "--trained",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with a run of each candidate (NAME/student.safetensors), to add its error on the validation split.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=50, show_default=True, help="Rounds; each form runs once in each."
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each runtime.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def candidates(trained: Path | None, rounds: int, threads: int, as_json: bool) -> None:
    """Compare architectures: size, latency, error.

    Latency in float and int8; the matting error is after equal training.

    Train one with: edgemat train student --recipe candidate-NAME --out TRAINED/NAME
    """
    from edgemat import calib_data
    from edgemat.train import recipes
    from edgemat.verify.candidates import compare

    configs = {name: recipe.student for name, recipe in recipes.candidates().items()}
    result = compare(configs, calib_data.load().resized(*_SIZE), rounds, threads, trained)
    if as_json:
        console.print_json(result.to_json())
        return
    heads = ("parameters", "MMAC", "ORT fp32", "ORT int8", "ratio", "LiteRT fp32", "LiteRT int8", "ratio", "MAD", "IoU")
    console.table(result.rows(), ["candidate", *(_NUMBER(head, right=True) for head in heads)])
