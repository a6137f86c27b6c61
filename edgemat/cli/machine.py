"""``edgemat targets`` and ``edgemat doctor``: what can be made, and what this machine can prove."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.export._target import Target

GATES = "precision: largest and mean difference allowed; of integers: LSB a tensor, alpha within one"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option("--markdown", is_flag=True, help="The table as the README has it.")
def targets(as_json: bool, markdown: bool) -> None:
    """List the export targets, their gates, and what can run here."""
    from edgemat import export

    listing = export.targets()
    if as_json:
        console.print_json({"schema_version": 2, "targets": [_as_json(t) for t in listing]})
    elif markdown:
        click.echo(markdown_table(listing))
    else:
        rows = [[t.name, t.title, _gates(t), t.proves, _here(t)] for t in listing]
        console.table(rows, ["target", "makes", "precision: gate", "proves", "here"])


def markdown_table(listing: tuple[Target, ...]) -> str:
    """Return the README's table of targets.

    Args:
        listing: The targets, in the order of the rows.
    """
    rows = [
        ["`--target`", "makes", GATES, "what the check runs", "extra"],
        ["---"] * 5,
        *([f"`{t.name}`", t.title, _gates(t), t.proves, f"`{t.extra}`"] for t in listing),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _gates(target: Target) -> str:
    return "; ".join(f"{name}: {gate}" for name, gate in target.gates.items())


def _here(target: Target) -> str:
    missing = target.unavailable()
    return "ok" if missing is None else f"{missing.reason}: {missing.install}"


def _as_json(target: Target) -> dict[str, object]:
    missing = target.unavailable()
    return {
        "name": target.name,
        "title": target.title,
        "suffix": target.suffix,
        "extra": target.extra,
        "proves": target.proves,
        "default_precision": target.default_precision,
        "gates": {precision: asdict(gate) for precision, gate in target.gates.items()},
        "scheme": target.scheme if any(map(target.needs_grid, target.gates)) else None,
        "available": missing is None,
        "reason": None if missing is None else missing.reason,
        "install": None if missing is None else missing.install,
    }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what this machine lacks, and the command that mends it.

    Exits 3 when no target can run here, else 0.
    """
    from edgemat.doctor import examine
    from edgemat.errors import BackendMissingError

    diagnosis = examine()
    if as_json:
        console.print_json(diagnosis.to_json())
    else:
        rows = [[c.area, c.name, "ok" if c.ok else "mend", c.found, c.fix] for c in diagnosis.checks]
        console.table(rows, ["area", "name", "", "found", "to mend"])
    if not diagnosis:
        ctx.exit(BackendMissingError.exit_code)
