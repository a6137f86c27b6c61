"""``edgemat bench`` and ``edgemat candidates``: latency side by side, and what the choice of the student rests on."""

from __future__ import annotations

from pathlib import Path

import click

from edgemat import console

_ROUNDS = click.option(
    "--rounds", type=click.IntRange(min=1), default=50, show_default=True, help="Rounds; each form runs once in each."
)
_THREADS = click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each runtime."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
_NUMBER = console.Column
_SIZE = (256, 256)


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), help="A student's file; the shipped one by default.")
@_ROUNDS
@_THREADS
@_JSON
def bench(weights: Path | None, rounds: int, threads: int, as_json: bool) -> None:
    """Time a student, float and int8, beside a peer.

    It runs in ONNX Runtime and LiteRT; the peer is MediaPipe's selfie segmentation in the same LiteRT.

    All forms run in turn, round by round, so that what disturbs one disturbs all; compare ratios, not milliseconds.
    The int8 files are those of edgemat export, with 8-bit pixels in and 8-bit alpha out.
    """
    from edgemat import calib_data
    from edgemat.verify.bench import bench as run

    result = run(weights, calib_data.load().resized(*_SIZE), rounds, threads)
    if as_json:
        console.print_json(result.to_json())
        return
    rows = [[t.name, f"{t.median:.2f}", f"{t.minimum:.2f}", f"{t.iqr:.2f}"] for t, _ in result.latency.rows()]
    console.table(rows, ["form", *(_NUMBER(head, right=True) for head in ("median ms", "min ms", "IQR ms"))])
    print()
    console.table(
        [list(r) for r in result.ratios()], ["time of", "over time of", _NUMBER("median ratio [95 %]", right=True)]
    )
    for name, reason in result.left_out.items():
        console.note(f"{name}: not timed ({reason})")


@click.command()
@click.option(
    "--trained",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with a run of each candidate (NAME/student.safetensors), to add its error on the validation split.",
)
@_ROUNDS
@_THREADS
@_JSON
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
