"""``edgemat export``: from trained weights, or another team's ONNX file, to compared artefacts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.shell_completion import CompletionItem

from edgemat import console

if TYPE_CHECKING:
    from edgemat.export._target import Images, Target, Trunks

ALL = "all"


class _Chosen(NamedTuple):
    """What one ``--target`` names.

    Attributes:
        targets: In order.
        by_name: Those that were named, so that none of them may be left out.
    """

    targets: tuple[Target, ...]
    by_name: tuple[str, ...]


class _TargetNames(click.ParamType["_Chosen"]):
    """A target, several joined by commas, or ``all``."""

    name = "target"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        from edgemat.export import names

        return f"[{'|'.join((*names(), ALL))}]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> _Chosen:
        from edgemat import export

        words = [word.strip() for word in str(value).split(",")]
        targets = tuple(t for word in words for t in (_installed() if word == ALL else [export.get(word)]))
        return _Chosen(targets, tuple(export.get(word).name for word in words if word != ALL))

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
@click.option(
    "--precision", metavar="NAME", help="fp32, fp16, int8 ..., or all; each target's own default if left out."
)
@click.option("--size", type=_Size(), help="Height and width of the input; 256x256, or that of --model.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A student's .safetensors, float or quantized; repeatable, one of each kind. Default: the shipped ones.",
)
@click.option("--model", type=click.Path(path_type=Path), help="An ONNX file of your own, in place of a student.")
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="Folder of images to compare on; default: the shipped ones."
)
@click.option("--out", type=click.Path(path_type=Path), default="out", show_default=True, help="Where the results go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def export(
    chosen: tuple[_Chosen, ...],
    precision: str | None,
    size: tuple[int, int] | None,
    weights: tuple[Path, ...],
    model: Path | None,
    calibration: Path | None,
    out: Path,
    as_json: bool,
) -> int:
    """Export a network, run what was made, and compare it.

    ``all`` means every target whose packages are installed. Integer precisions start from quantized weights
    (edgemat quantize, edgemat train qat), whose scales every target carries unchanged.

    Writes the artefacts, report.json and preview.png into the folder of --out. An artefact that fails its gate is kept
    aside under another name, and the command exits 1.
    """
    from edgemat.export import _frame

    if weights and model is not None:
        raise click.UsageError("--weights and --model exclude each other: give the one to export.")
    wanted = _wanted(chosen, precision)
    with _trunks(wanted, weights, model, size, calibration) as (trunks, images):
        report = _frame.export(trunks, wanted, out, images, on_progress=console.note)
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


def _wanted(chosen: Sequence[_Chosen], precision: str | None) -> list[tuple[Target, str]]:
    """Return every target with its precision, or with all; one that ``all`` brought along and lacks it is left out."""
    named = {name for group in chosen for name in group.by_name}
    found = []
    for target in {target.name: target for group in chosen for target in group.targets}.values():
        if precision == ALL:
            found += [(target, name) for name in target.gates]
            continue
        wanted = target.precision(precision)
        if wanted is not None:
            found.append((target, wanted))
        elif target.name in named:
            known = ", ".join(target.gates)
            raise click.BadParameter(f"target {target.name} makes {known}, not {precision}.", param_hint="--precision")
        else:
            console.note(f"{target.name}: left out, it makes {', '.join(target.gates)}, not {precision}")
    if not found:
        raise click.BadParameter(f"no target makes {precision}; see edgemat targets.", param_hint="--precision")
    return found


def _columns() -> list[console.Column | str]:
    from edgemat.verify.report import COLUMNS

    numbers = {"size", "max", "mean", "LSB", "within 1", "gate", "seconds"}
    return [console.Column(name, right=name in numbers) for name in COLUMNS]


def _installed() -> tuple[Target, ...]:
    """Return the targets that can be made here, and name the others on standard error."""
    from edgemat import export

    missing = {target.name: gone for target in export.targets() if (gone := target.unavailable()) is not None}
    for name, gone in missing.items():
        console.note(f"{name}: left out, {gone.reason}; {gone.install}")
    return tuple(target for target in export.targets() if target.name not in missing)


@contextmanager
def _trunks(
    wanted: Sequence[tuple[Target, str]],
    weights: Sequence[Path],
    model: Path | None,
    size: tuple[int, int] | None,
    calibration: Path | None,
) -> Iterator[tuple[Trunks, Images]]:
    """Yield the graphs to export, in a folder that goes when the export is done, and the images at their size."""
    from edgemat import calib_data
    from edgemat.export import _trunk
    from edgemat.export._target import Trunks

    images = calib_data.load(calibration)
    with tempfile.TemporaryDirectory() as folder:
        console.note("trunk: make and check")
        if model is not None:
            trunk = _trunk.from_onnx(model, Path(folder) / "trunk.onnx", size)
            on_grid = {} if trunk.grid is None else {trunk.grid.scheme.name: trunk}
            yield Trunks(None if on_grid else trunk, on_grid), images.resized(trunk.height, trunk.width)
            return
        height, width = size or (256, 256)
        pixels = images.resized(height, width)
        made = [
            _trunk.from_student(path, height, width, Path(folder) / f"trunk-{i}.onnx", pixels)
            for i, path in enumerate(weights or _shipped(wanted))
        ]
        plain = next((trunk for trunk in made if trunk.grid is None), None)
        yield Trunks(plain, {trunk.grid.scheme.name: trunk for trunk in made if trunk.grid is not None}), pixels


def _shipped(wanted: Sequence[tuple[Target, str]]) -> list[Path]:
    """Return the shipped weights that the wanted precisions start from."""
    from edgemat.model import weights

    schemes = sorted({target.scheme for target, precision in wanted if target.needs_grid(precision)})
    needs_float = not all(target.needs_grid(precision) for target, precision in wanted)
    return [*([weights.shipped()] if needs_float else []), *map(weights.shipped_quantized, schemes)]
