"""``edgemat export``: from trained weights, or another team's ONNX file, to compared artefacts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from edgemat import console

if TYPE_CHECKING:
    from edgemat.export._target import Images, Target, Trunk

ALL = "all"


class _TargetNames(click.ParamType["tuple[Target, ...]"]):
    """A target, several joined by commas, or ``all``."""

    name = "target"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        from edgemat.export import names

        return f"[{'|'.join((*names(), ALL))}]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Target, ...]:
        from edgemat import export

        words = [word.strip() for word in str(value).split(",")]
        return tuple(t for word in words for t in (export.targets() if word == ALL else [export.get(word)]))

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        from edgemat.export import names

        return f"Choose from: {', '.join((*names(), ALL))}."

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from edgemat.export import names

        before, comma, word = incomplete.rpartition(",")
        return [CompletionItem(before + comma + n) for n in (*names(), ALL) if n.startswith(word)]


class _Size(click.ParamType["tuple[int, int]"]):
    """Height and width in pixels, as ``256x256``."""

    name = "HxW"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", str(value))
        if found is None:
            self.fail(f"{value!r} is no height and width in pixels, such as 256x256 or 192x320.", param, ctx)
        return int(found[1]), int(found[2])


@click.command()
@click.option(
    "--target", "chosen", type=_TargetNames(), multiple=True, required=True, help="Repeatable, or joined by commas."
)
@click.option("--precision", metavar="NAME", help="fp32 or fp16; each target's own default when left out.")
@click.option("--size", type=_Size(), help="Height and width of the input; 256x256, or that of --model.")
@click.option("--weights", type=click.Path(path_type=Path), help="A student's .safetensors; default: the shipped one.")
@click.option("--model", type=click.Path(path_type=Path), help="An ONNX file of your own, in place of a student.")
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="Folder of images to compare on; default: the shipped ones."
)
@click.option("--out", type=click.Path(path_type=Path), default="out", show_default=True, help="Where the results go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def export(
    chosen: tuple[tuple[Target, ...], ...],
    precision: str | None,
    size: tuple[int, int] | None,
    weights: Path | None,
    model: Path | None,
    calibration: Path | None,
    out: Path,
    as_json: bool,
) -> int:
    """Export a network, run what was made, and compare it.

    Writes the artefacts, report.json and preview.png into the folder of --out. An artefact that fails its gate is kept
    aside under another name, and the command exits 1.
    """
    from edgemat.export import _frame

    if weights is not None and model is not None:
        raise click.UsageError("--weights and --model exclude each other: give the one to export.")
    targets = tuple({target.name: target for group in chosen for target in group}.values())
    for target in targets:
        if precision is not None and precision not in target.gates:
            known = ", ".join(target.gates)
            raise click.BadParameter(f"target {target.name} makes {known}, not {precision}.", param_hint="--precision")
    with _trunk(weights, model, size, calibration) as (trunk, images):
        report = _frame.export(trunk, targets, precision, out, images, on_progress=console.note)
    if as_json:
        console.print_json(report.to_json())
        return report.exit_code
    console.table(report.rows(), _columns())
    if report.preview is not None:
        console.note(f"picture: {report.preview}")
    for result in report.results:
        if result.message:
            console.note(f"error: {result.target} {result.precision}: {result.message}")
    return report.exit_code


def _columns() -> list[console.Column | str]:
    from edgemat.verify.report import COLUMNS

    numbers = {"size", "max", "mean", "PSNR", "gate", "seconds"}
    return [console.Column(name, right=name in numbers) for name in COLUMNS]


@contextmanager
def _trunk(
    weights: Path | None, model: Path | None, size: tuple[int, int] | None, calibration: Path | None
) -> Iterator[tuple[Trunk, Images]]:
    """Yield the graph to export, in a folder that goes when the export is done, and the images at its size."""
    from edgemat import calib_data
    from edgemat.export import _trunk

    images = calib_data.load(calibration)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trunk.onnx"
        console.note("trunk: make and check")
        if model is not None:
            trunk = _trunk.from_onnx(model, path, size)
            yield trunk, images.resized(trunk.height, trunk.width)
        else:
            height, width = size or (256, 256)
            pixels = images.resized(height, width)
            yield _trunk.from_student(weights, height, width, path, pixels), pixels
