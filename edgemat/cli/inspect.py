"""``edgemat inspect``: what an artefact really computes in, read from the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.export._target import Target
    from edgemat.inspection import Inspection


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", "name", help="The target that reads it; by default the one whose file names end like this.")
@click.option("--ops", is_flag=True, help="Every operator, not only the sums.")
@click.option("--expect-int8", is_flag=True, help="Exit 1 unless everything that computes does so in integers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def inspect(file: Path, name: str | None, ops: bool, expect_int8: bool, as_json: bool) -> int:
    """Say what is really int8 in an artefact.

    By operator and by byte, float islands named. Reads files of other tools as well: any ONNX, .tflite or Core ML
    package.
    """
    from edgemat import export

    target = export.get(name) if name is not None else _reader(file)
    found = target.inspect(file)
    if as_json:
        console.print_json(found.to_json())
    else:
        _show(found, ops)
    failed = expect_int8 and not found.is_integer
    if failed:
        console.note(f"FAILED: {file}: {_verdict(found)}; expected integers alone")
    return 1 if failed else 0


def _reader(file: Path) -> Target:
    """Return the target whose artefacts end as the file does; of several, the one with the longest ending."""
    from edgemat import export
    from edgemat.errors import InputError

    fitting = [target for target in export.targets() if file.name.endswith(target.suffix)]
    if not fitting:
        endings = ", ".join(target.suffix for target in export.targets())
        raise InputError(
            f"{file}: no target's files end like this; expected one of {endings}, or name it with --target"
        )
    return max(fitting, key=lambda target: len(target.suffix))


def _show(found: Inspection, ops: bool) -> None:
    if ops:
        rows = [[op.name, op.kind, op.arithmetic, _bytes(dict(op.weights))] for op in found.ops]
        console.table(rows, ["operator", "kind", "computes in", "weights"])
    total = max(len(found.ops), 1)
    rows = [["operators", kind, str(n), f"{n / total:.0%}"] for kind, n in found.arithmetic().items()]
    stored = found.weight_bytes()
    everything = max(sum(stored.values()), 1)
    rows += [["bytes of weights", kind, f"{n:,}", f"{n / everything:.0%}"] for kind, n in stored.items()]
    tensors = max(sum(found.activations.values()), 1)
    rows += [["activations", kind, str(n), f"{n / tensors:.0%}"] for kind, n in found.activations.items()]
    console.table(rows, ["what", "type", console.Column("count", right=True), console.Column("share", right=True)])
    click.echo(f"{found.path}: {found.form}, {_verdict(found)}")
    for note in found.notes:
        console.note(note)


def _verdict(found: Inspection) -> str:
    if found.is_integer:
        return "computes in integers alone"
    if not found.islands:
        kinds = ", ".join(kind for kind in found.arithmetic() if kind != "moves")
        return f"computes in {kinds or 'nothing: it only moves values'}"
    names = ", ".join(f"{op.name} ({op.kind}, {op.arithmetic})" for op in found.islands[:8])
    more = f" and {len(found.islands) - 8} more" if len(found.islands) > 8 else ""
    return f"{len(found.islands)} float islands: {names}{more}"


def _bytes(stored: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {kind}" for kind, n in stored.items())
