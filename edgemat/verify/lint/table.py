"""Judge operators by a table of what an accelerator takes: data with sources, not code."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from edgemat.verify.lint.facts import Facts, Left, Op, Placement, Value

RUNS, LEAVES, OLDER, UNKNOWN = "runs", "leaves", "older", "unknown"
VERDICTS = (RUNS, LEAVES, OLDER, UNKNOWN)
ANE, GPU_DELEGATE = "ane", "gpu_delegate"
NAMES = (ANE, GPU_DELEGATE)
"""The tables, files of `edgemat.verify.lint.tables`."""
_CONDITIONS = ("inputs", "runtime", "outputs", "ranks", "int32", "allowed", "refused")


@dataclass(frozen=True)
class Row:
    """What a table says of some kinds of operators.

    Attributes:
        kinds: As the format calls them.
        verdict: One of `VERDICTS`, where the conditions hold.
        reason: Why, or under which conditions, for people.
        source: Where it can be read up.
        only: Values of options for which the row is meant; empty for all.
        excluded: Values of options for which it is not meant.
        conditions: What must hold, else the operator is left; see the table.
    """

    kinds: tuple[str, ...]
    verdict: str
    reason: str
    source: str
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    excluded: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def meant(self, op: Op) -> bool:
        """Return whether the row speaks of an operator."""
        get = op.attributes.get
        return (
            op.kind in self.kinds
            and all(get(key) in values for key, values in self.only.items())
            and not any(get(key) in values for key, values in self.excluded.items())
        )


@dataclass(frozen=True)
class Table:
    """What is known of an accelerator.

    Attributes:
        accelerator: Its name for people.
        rows: The first that is meant counts.
        closed: Whether what is not listed is refused; else it is unknown.
        kinds: Types that activations may have; empty for any.
        sources: Addresses by name.
        types: Why other types are refused, and where that can be read up.
    """

    accelerator: str
    rows: tuple[Row, ...]
    closed: bool
    kinds: tuple[str, ...]
    sources: Mapping[str, str]
    types: tuple[str, str] = ("", "")

    def row(self, op: Op) -> Row | None:
        """Return what the table says of an operator; None where it is silent."""
        return next((row for row in self.rows if row.meant(op)), None)


@functools.cache
def load(name: str) -> Table:
    """Return a table.

    Args:
        name: One of `NAMES`.

    Example:
        >>> load("ane").accelerator
        'Apple Neural Engine'
    """
    text = resources.files("edgemat.verify.lint.tables").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    stated = tomllib.loads(text)
    sources: Mapping[str, str] = stated["sources"]
    types = stated.get("types", {})
    return Table(
        stated["accelerator"],
        tuple(_row(entry, sources) for entry in stated["row"]),
        "types" in stated,
        tuple(types.get("kinds_in", ())),
        sources,
        (types.get("reason", ""), sources[types["source"]] if types else ""),
    )


def _row(entry: Mapping[str, Any], sources: Mapping[str, str]) -> Row:
    verdict = entry.get("verdict", RUNS)
    known = {"kinds", "verdict", "reason", "source", "only", "not", *_CONDITIONS}
    if verdict not in VERDICTS or not set(entry) <= known:
        raise ValueError(f"row of {entry['kinds']}: {sorted(set(entry) - known)}, verdict {verdict!r}")
    conditions = {key: entry[key] for key in _CONDITIONS if key in entry}
    return Row(
        tuple(entry["kinds"]),
        verdict,
        entry["reason"],
        sources[entry["source"]],
        entry.get("only", {}),
        entry.get("not", {}),
        conditions,
    )


def place(facts: Facts, table: Table, verdicts: Sequence[str] = (LEAVES,)) -> Placement:
    """Return what a table says of an artefact.

    Args:
        facts: Of the artefact.
        table: Of the accelerator.
        verdicts: Which of a row's verdicts count as left.
    """
    left, unknown = [], []
    for op in facts.ops:
        row = table.row(op)
        if row is None:
            if table.closed:
                source = next(iter(table.sources.values()))
                left.append(Left(op.label, f"{op.kind} is not among what the delegate takes", source))
            else:
                unknown.append(op.kind)
        elif row.verdict == UNKNOWN:
            unknown.append(op.kind)
        elif row.verdict in verdicts or (row.verdict == RUNS and any(_broken(op, row, facts.values))):
            left.append(Left(op.label, row.reason, row.source))
        elif table.kinds and (kinds := sorted(_kinds(op, facts.values) - set(table.kinds))):
            left.append(Left(op.label, f"{', '.join(kinds)}: {table.types[0]}", table.types[1]))
    asked = f"a table ({', '.join(table.sources.values())})"
    return Placement(table.accelerator, len(facts.ops), tuple(left), tuple(sorted(set(unknown))), None, asked)


def _broken(op: Op, row: Row, values: Mapping[str, Value]) -> Iterator[str]:
    """Yield the conditions of a row that an operator does not keep."""
    given = [name for name in op.inputs if name]
    live = [name for name in given if name not in values or values[name].constant is None]
    conditions = row.conditions
    if "inputs" in conditions and len(given) != conditions["inputs"]:
        yield "inputs"
    if "runtime" in conditions and not 1 <= len(live) <= conditions["runtime"]:
        yield "runtime"
    if "outputs" in conditions and len(op.outputs) != conditions["outputs"]:
        yield "outputs"
    if "ranks" in conditions and given:
        shape = values[given[0]].shape
        if shape is not None and len(shape) not in conditions["ranks"]:
            yield "ranks"
    for position in conditions.get("int32", ()):
        held = values.get(op.inputs[position]) if position < len(op.inputs) else None
        if held is None or held.constant is None or held.kind != "int32":
            yield "int32"
    for key, allowed in conditions.get("allowed", {}).items():
        if op.attributes.get(key, allowed[0]) not in allowed:
            yield key
    for key, refused in conditions.get("refused", {}).items():
        if op.attributes.get(key) in refused:
            yield key


def _kinds(op: Op, values: Mapping[str, Value]) -> set[str]:
    """Return the types of the activations that an operator reads and makes."""
    found = (values[name] for name in (*op.inputs, *op.outputs) if name in values)
    return {value.kind for value in found if value.constant is None and value.kind}
