"""Read a package back and compare it with what the target promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemat.export.coreml import _codes, _inspect, _package
from edgemat.export.coreml._package import Feature, Operation, Package, Tensor

_PRECISIONS = ("fp16", "fp32", "w8", "w8a8")
_TARGETS = ((7, "CoreML6", "iOS 16"), (8, "CoreML7", "iOS 17"))
"""Core ML's specification version, its opset and what it means: without and with quantized activations."""


def check(path: Path) -> tuple[str, ...]:
    """Return complaints about a package, none when it is as the target promises.

    Args:
        path: The .mlpackage folder.

    Raises:
        InputError: It cannot be read at all.
    """
    package = _package.read(path)
    precision = package.user.get("edgemat.precision", "")
    complaints = _interface(package, precision) + _metadata(package) + _precision(package, precision)
    if precision == "w8a8":
        complaints += _pairs(package)
    return tuple(f"{path.name}: {complaint}" for complaint in complaints)


def _interface(package: Package, precision: str) -> list[str]:
    """Compare deployment target, input and output."""
    found = []
    specification, opset, system = _TARGETS[precision == "w8a8"]
    if (package.specification, package.opset) != (specification, opset):
        stated = f"specification {package.specification}, opset {package.opset}"
        found.append(f"{stated}; expected {specification} and {opset}, {system}")
    shape = package.arguments[0].shape if package.arguments else ()
    size = shape[2:]
    if [_brief(f) for f in package.inputs] != [("image", "image", "RGB", size)] or shape[:2] != (1, 3):
        found.append(f"input {[_brief(f) for f in package.inputs]} for {shape}; expected one RGB image named image")
    grey = ("alpha", "image", "GRAYSCALE_FLOAT16", size)
    wanted = ("alpha", "array", "FLOAT32", (1, 1, *size)) if precision == "fp32" else grey
    if [_brief(f) for f in package.outputs] != [wanted]:
        found.append(f"output {[_brief(f) for f in package.outputs]}; expected {wanted}")
    found += [f"{f.name} has no description" for f in (*package.inputs, *package.outputs) if not f.description]
    return found


def _brief(feature: Feature) -> tuple[str, str, str, tuple[int, ...]]:
    return feature.name, feature.kind, feature.layout, feature.shape


def _metadata(package: Package) -> list[str]:
    """Name what the metadata lacks."""
    wanted = ("edgemat.version", "edgemat.precision", "edgemat.alpha", "edgemat.colour_order")
    missing = [key for key, text in package.metadata.items() if not text]
    missing += [key for key in wanted if not package.user.get(key)]
    return [f"metadata lacks {', '.join(missing)}"] if missing else []


def _precision(package: Package, precision: str) -> list[str]:
    """Count the types that are computed and stored; nothing but the scaling of the 8-bit input may differ."""
    if precision not in _PRECISIONS:
        return [f"metadata edgemat.precision is {precision!r}; expected one of {', '.join(_PRECISIONS)}"]
    wanted = "float32" if precision == "fp32" else "float16"
    stored_as = "int8" if precision in ("w8", "w8a8") else wanted
    network = _network(package)
    computed = Counter(op.output.dtype for op in network if op.output.dtype.startswith("float"))
    found = []
    for name, value in package.constants.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
            found.append(
                f"constant {name!r} holds values that are not finite; use --precision fp32 or mend the weights"
            )
    for what, counts, expected in (("operations", computed, wanted), ("weights", _stored(package), stored_as)):
        if set(counts) != {expected}:
            listing = ", ".join(f"{count} in {dtype}" for dtype, count in sorted(counts.items())) or "none"
            found.append(f"{precision} was asked for, {what}: {listing}; expected {expected} throughout")
    return found


def _network(package: Package) -> list[Operation]:
    """Return all operations but the scaling of the 8-bit input."""
    preprocessing = tuple(f"{f.name}__" for f in package.inputs)
    return [op for op in package.operations if not op.output.name.startswith(preprocessing)]


def _stored(package: Package) -> Counter[str]:
    """Count the weights by the type that stores them, those of nodes left out that a budget keeps in float."""
    made_by, kept = _inspect.makers(package), set(_codes.kept(package).values())
    count = Counter[str]()
    for op in _network(package):
        weight = op.inputs.get("weight", (None,))[0]
        if weight is None or _output_of(package, op) in kept:
            continue
        if isinstance(weight, Tensor) and weight.name in made_by and made_by[weight.name].kind == _codes.CONSTANT:
            weight = made_by[weight.name].inputs["quantized_data"][0]
        count[weight.dtype.name if isinstance(weight, np.ndarray) else "computed"] += 1
    return count


def _output_of(package: Package, op: Operation) -> str:
    """Return the trunk's tensor that an operation's unit makes: after its Relu or Clip, where one follows."""
    read_by = _inspect.readers(package)
    following = read_by.get(op.output.name, [])
    while len(following) == 1 and following[0].kind in _inspect.ACTIVATIONS:
        op = following[0]
        following = read_by.get(op.output.name, [])
    return _codes.trunk_name(package, op.output.name)


def _pairs(package: Package) -> list[str]:
    """Name what computes on values that are no codes, makes some that never become codes, or disagrees on a scale."""
    made_by, read_by = _inspect.makers(package), _inspect.readers(package)
    found = [
        f"{_codes.trunk_name(package, op.output.name)}: {op.kind} computes on, or makes, values that are not quantized"
        for op in _network(package)
        if op.kind not in (*_codes.PAIR, "cast")
        and not (op.kind in _inspect.ACTIVATIONS and _continues(op, made_by, read_by))
        and not _inspect.is_between(op, made_by, read_by)
    ]
    quantized = _codes.quantized(package)
    if len(quantized) < sum(op.kind == "quantize" for op in package.operations):
        found.append("a tensor becomes codes more than once")
    by_codes = {step.op.output.name: (name, step) for name, step in quantized.items()}
    for back in _codes.dequantized(package):
        if back.source not in by_codes:
            found.append(f"{back.op.output.name}: dequantizes {back.source}, which no quantize makes")
            continue
        name, step = by_codes[back.source]
        if (back.scale, back.zero_point) != (step.scale, step.zero_point):
            found.append(
                f"{name}: quantized on scale {step.scale:.9g}, zero point {step.zero_point}, but dequantized on "
                f"{back.scale:.9g} and {back.zero_point}"
            )
    return found


def _continues(op: Operation, made_by: Mapping[str, Operation], read_by: Mapping[str, list[Operation]]) -> bool:
    """Return whether a Relu or Clip alone continues the operation before it."""
    (source,) = _inspect.sources(op)
    before = made_by.get(source)
    return before is not None and len(read_by[source]) == 1 and before.kind not in (*_codes.PAIR, "cast")
