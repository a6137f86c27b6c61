"""``edgemat quantize``: from a float network to its integer grid, after training."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console
from edgemat.cli.export import _Size

if TYPE_CHECKING:
    from edgemat.quantize.ptq import Outcome

_SHOWN = 10


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), help="A float student's .safetensors; ours by default.")
@click.option("--model", type=click.Path(path_type=Path), help="An ONNX file of your own, in place of a student.")
@click.option("--engine", type=click.Choice(["grid", "nncf", "ort"]), default="grid", show_default=True)
@click.option("--method", metavar="NAME", help="How ranges are chosen; each engine's own default when left out.")
@click.option("--scheme", metavar="NAME", default="static_w8c_a8", show_default=True, help="Bits and symmetry.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Folder of images whose ranges count; default: the shipped ones.",
)
@click.option("--size", type=_Size(), help="Height and width of the input; 256x256, or that of --model.")
@click.option("--budget", metavar="mad=+1%", help="Keep layers in float until mad or grad is no worse than this.")
@click.option("--keep", multiple=True, metavar="NODE", help="Keep this node in float; repeatable.")
@click.option("--complete", is_flag=True, help="Calibrate what a Q/DQ --model lacks; what it states stays.")
@click.option("--sensitivity", is_flag=True, help="Also rank the layers by the error that each adds.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; default: NAME-SCHEME beside you.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def quantize(
    weights: Path | None,
    model: Path | None,
    engine: str,
    method: str | None,
    scheme: str,
    calibration: Path | None,
    size: tuple[int, int] | None,
    budget: str | None,
    keep: tuple[str, ...],
    complete: bool,
    sensitivity: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Quantize a network after training.

    A student becomes a .safetensors with every scale inside, which edgemat export carries to all targets; an ONNX file
    becomes a Q/DQ ONNX file. Ranges come from images, never from chance: the passport in the file says which.

    Exit code 1 when a --budget cannot be met; nothing is written then.
    """
    from edgemat import calib_data
    from edgemat.quantize import ptq
    from edgemat.quantize.scheme import Scheme
    from edgemat.quantize.sensitivity import Budget

    if weights is not None and model is not None:
        raise click.UsageError("--weights and --model exclude each other: give the one to quantize.")
    if complete and model is None:
        raise click.UsageError("--complete is for a Q/DQ --model.")
    task = ptq.Task(
        scheme=Scheme.parse(scheme),
        engine=engine,
        method=method,
        kept=frozenset(keep),
        budget=None if budget is None else Budget.parse(budget),
        ranking=sensitivity,
    )
    images = calib_data.load(calibration)
    with tempfile.TemporaryDirectory() as folder:
        from edgemat.cli import _quantize

        trunk = Path(folder) / "trunk.onnx"
        if model is None:
            outcome, written = _quantize.student(weights, size or (256, 256), trunk, images, task, out)
        else:
            outcome, written = _quantize.foreign(model, size, trunk, images, task, complete, out)
    if as_json:
        console.print_json({**outcome.to_json(), "written": None if written is None else str(written)})
    else:
        _show(outcome, written, sensitivity)
    return 0 if outcome else 1


def _show(outcome: Outcome, written: Path | None, ranking: bool) -> None:
    made, numbers = outcome.quantized, [console.Column("difference", right=True), console.Column("MAD", right=True)]
    mad = "" if outcome.mad is None else f"{outcome.mad[0]:.2f} -> {outcome.mad[1]:.2f}"
    row = [made.engine, made.method, made.grid.scheme.name, f"{outcome.difference:.3f}", mad, str(written or "nothing")]
    console.table([row], ["engine", "method", "scheme", *numbers, "written"])
    console.note("difference: mean absolute difference of alpha to the float network on the calibration images, 1e-3")
    if ranking:
        _show_ranking(outcome)
    for line in outcome.warnings:
        console.note(f"warning: {line}")
    for line in made.notes[:_SHOWN]:
        console.note(f"note: {line}")
    if len(made.notes) > _SHOWN:
        console.note(f"note: and {len(made.notes) - _SHOWN} more; all with --json")
    kept = outcome.kept
    if kept is None:
        return
    figures = (
        f"{kept.budget.metric} {kept.reference:.4g} in float, {kept.before:.4g} in integers, limit {kept.limit:.4g}"
    )
    console.note(f"budget: {figures}; {kept.after:.4g} with {len(kept.names)} layers kept in float")
    for line in kept.steps:
        console.note(f"kept in float: {line}")
    if not kept:
        console.note("FAILED: even with every layer in float, the codes between them cost more than the budget allows")


def _show_ranking(outcome: Outcome) -> None:
    rows = [
        [layer.name, layer.op, f"{layer.difference:.3f}", "" if layer.mad is None else f"{layer.mad:+.3f}"]
        for layer in outcome.ranking
    ]
    print()
    heads = [console.Column("difference", right=True), console.Column("MAD", right=True)]
    console.table(rows, ["layer, alone quantized", "operator", *heads])
