"""Read an asset back: whole or not, its interface, what it computes in, its scales; and open it for running."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.errors import InputError
from edgemat.export import _isolated
from edgemat.export import onnx as plain
from edgemat.export._isolated import IsolatedRunner
from edgemat.export._target import Runner, Scales
from edgemat.export.coreai._write import CHILD, METADATA, TIMEOUT
from edgemat.inspection import MOVES, Inspection, OpFact
from edgemat.quantize import qdq

PROGRAM, HASH = "main.mlirb", "main.hash"
PRECISIONS = ("fp32", "int8")
_PAIR = ("quantize", "dequantize")
_MOVING = (
    *("broadcast_in_dims", "broadcast_to", "broadcasting_maximum", "broadcasting_minimum", "cast", "concat"),
    *("expand_dims", "gather_nd", "get_shape", "max_pool2d", "maximum", "minimum", "output", "pad", "relu", "reshape"),
    *("shrink_dims", "slice", "split", "tile", "transpose", "broadcasting_not_equal", "broadcasting_where"),
)
"""Operations that only move, convert or select values."""
_PARAMETERS = ("int32", "uint32", "int64")
"""Types of shapes and positions, which are no weights."""


def load(path: Path) -> Runner:
    """Open an asset in Core AI's runtime, in a process of its own.

    Args:
        path: The .aimodel folder.

    Raises:
        InputError: It is not whole, or Core AI cannot load it.
        IsolatedError: Core AI crashed or hung.
    """
    _metadata(path)
    return IsolatedRunner(f"{CHILD}:Model", path, rounding="coreai")


def check(path: Path) -> tuple[str, ...]:
    """Return complaints about an asset, none when it is as promised.

    Raises:
        InputError: It is not whole, or Core AI cannot read it.
    """
    stated, facts = _metadata(path), _facts(path)
    precision = stated.get(plain.PRECISION, "")
    wrong = [f"metadata: {key} is missing" for key in plain.REQUIRED if not stated.get(key)]
    if precision not in PRECISIONS:
        return (*wrong, f"metadata: {plain.PRECISION} is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    wrong += _interface(facts)
    weights = {kind for entry in facts["operations"] if entry["kind"].startswith("conv") for kind in entry["constants"]}
    weights -= set(_PARAMETERS)
    stored = {s["tensor"] for s in facts["scales"] if s["stored"]}
    if precision == "fp32" and (weights - {"float32"} or facts["scales"]):
        found = ", ".join(sorted(weights)) or "no weights"
        wrong.append(f"convolutions read {found}, {len(facts['scales'])} scales; expected float32, none")
    if precision == "int8":
        kept = json.loads(stated.get(qdq.KEPT, "[]"))
        wrong += [] if stored else ["no weight is stored as int8"]
        wrong += [
            f"{op.name}: this {op.kind} is computed in {op.arithmetic}, not between codes"
            for op in _operations(facts["operations"])
            if op.arithmetic not in (MOVES, "int8") and not op.name.startswith(tuple(kept) or ("#",))
        ]
    return tuple(wrong)


def inspect(path: Path) -> Inspection:
    """Return what an asset computes in: an operation between ``dequantize`` and ``quantize`` counts as int8.

    Raises:
        InputError: It is not whole, or Core AI cannot read it.
    """
    stated, facts = _metadata(path), _facts(path)
    operations = [o for o in facts["operations"] if o["kind"] != "output"]
    codes = Counter("int8" for s in facts["scales"] if s["kind"] == "quantize")
    notes = ["the runtime on this machine computes in float between codes; the file cannot say which unit runs it"]
    if kept := json.loads(stated.get(qdq.KEPT, "[]")):
        notes.append(f"kept in float: {', '.join(kept)}")
    reals = Counter(o["type"] for o in operations)
    return Inspection(
        str(path),
        "Core AI",
        tuple(_operations(operations)),
        dict(codes or reals),
        tuple(notes) if codes else (),
    )


def scales(path: Path) -> Scales:
    """Return the scales that an asset states, under the trunk's names.

    Raises:
        InputError: It is not whole, Core AI cannot read it, or a tensor has more than one scale.
    """
    activations: dict[str, tuple[float, int]] = {}
    weights = {}
    _metadata(path)
    for entry in _facts(path)["scales"]:
        name = entry["tensor"]
        if entry["kind"] == "quantize":
            if len(entry["scales"]) != 1:
                raise InputError(f"{path}: {name}: {len(entry['scales'])} scales, expected one for the tensor")
            activations[name.removesuffix(qdq.CODES)] = (entry["scales"][0], entry["zero_points"][0])
        elif entry["stored"]:
            weights[name] = np.array(entry["scales"], np.float32)
    return Scales(activations, weights)


def _metadata(path: Path) -> dict[str, str]:
    """Return what an asset states, text to text.

    Raises:
        InputError: A file of it is missing, is not whole, or is not the one that its hash was made of.
    """
    again = "give the folder that export made, or export it again"
    try:
        program, digest = (path / PROGRAM).read_bytes(), (path / HASH).read_bytes()
        stated = json.loads((path / METADATA).read_text(encoding="utf-8"))
        own = stated.get("creatorDefinedMetadata", {})
        found = {key: str(value) for key, value in {**stated, **own}.items() if not isinstance(value, dict)}
    except OSError as error:
        raise InputError(f"{path}: no whole Core AI asset ({error.strerror}: {error.filename}); {again}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path / METADATA}: no metadata of an asset ({error}); {again}") from error
    if hashlib.sha256(program).digest() != digest:
        raise InputError(f"{path / PROGRAM}: not the program that {HASH} was made of; {again}")
    return found


def _facts(path: Path) -> dict[str, Any]:
    return _isolated.call(f"{CHILD}:read", {"path": str(path)}, timeout=TIMEOUT)[0]


def _interface(facts: Mapping[str, Any]) -> Iterator[str]:
    """One image in, one matte out, float32, of one size."""
    sizes = []
    for side, name, channels in (("inputs", "image", 3), ("outputs", "alpha", 1)):
        found = facts[side]
        kind, *shape = found.get(name, [""])
        sizes.append(shape[2:])
        if list(found) != [name] or kind != "float32" or len(shape) != 4 or shape[:2] != [1, channels]:
            yield f"{side} {found}, expected one, {name}: float32, (1, {channels}, H, W)"
    if sizes[0] != sizes[1]:
        yield f"image is {sizes[0]}, alpha {sizes[1]}; expected one size"


def _operations(entries: Sequence[Mapping[str, Any]]) -> Iterator[OpFact]:
    """Yield every operation but those that only state the grid, with its constants, a stored weight's among them."""
    users: dict[int, list[int]] = {}
    for number, entry in enumerate(entries):
        for source in entry["reads"]:
            users.setdefault(source, []).append(number)
    fed = _fed_by_codes(entries)
    ends = _end_in_codes(entries, users)
    for number, entry in enumerate(entries):
        if entry["kind"] in (*_PAIR, "output"):
            continue
        total = Counter(entry["constants"])
        for source in entry["reads"]:
            if source >= 0 and entries[source]["kind"] == "dequantize" and not entries[source]["reads"]:
                total.update(entries[source]["constants"])
        weights = {kind: size for kind, size in total.items() if kind not in _PARAMETERS and size > 4}
        arithmetic = MOVES
        if entry["kind"] not in _MOVING:
            arithmetic = "int8" if fed[number] and ends[number] else entry["type"]
        yield OpFact(entry["tensor"] or str(number), entry["kind"], arithmetic, weights)


def _fed_by_codes(entries: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return for each operation whether all that it reads stands for codes, up to what its own tensor's parts did."""
    fed: list[bool] = []
    for entry in entries:
        sources = [s >= 0 and (entries[s]["kind"] == "dequantize" or fed[s]) for s in entry["reads"]]
        fed.append(bool(sources) and all(sources) and entry["kind"] != "quantize")
    return fed


def _end_in_codes(entries: Sequence[Mapping[str, Any]], users: Mapping[int, Sequence[int]]) -> list[bool]:
    """Return for each operation whether all that reads it, or what it becomes, quantizes."""
    ends = [False] * len(entries)
    for number in range(len(entries) - 1, -1, -1):
        following = users.get(number, ())
        ends[number] = bool(following) and all(
            entries[u]["kind"] == "quantize" or (ends[u] and entries[u]["kind"] != "dequantize") for u in following
        )
    return ends
