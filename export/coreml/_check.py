"""Read a package back and compare it with what the target promises."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from edgemat.export.coreml import _package
from edgemat.export.coreml._package import Feature, Package

_IOS16 = 7
"""Core ML's specification version of iOS 16."""


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
    return tuple(f"{path.name}: {complaint}" for complaint in complaints)


def _interface(package: Package, precision: str) -> list[str]:
    """Compare deployment target, input and output."""
    found = []
    if (package.specification, package.opset) != (_IOS16, "CoreML6"):
        stated = f"specification {package.specification}, opset {package.opset}"
        found.append(f"{stated}; expected {_IOS16} and CoreML6, iOS 16")
    shape = package.arguments[0].shape if package.arguments else ()
    size = shape[2:]
    if [_brief(f) for f in package.inputs] != [("image", "image", "RGB", size)] or shape[:2] != (1, 3):
        found.append(f"input {[_brief(f) for f in package.inputs]} for {shape}; expected one RGB image named image")
    grey = ("alpha", "image", "GRAYSCALE_FLOAT16", size)
    wanted = grey if precision == "fp16" else ("alpha", "array", "FLOAT32", (1, 1, *size))
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
    if precision not in ("fp16", "fp32"):
        return [f"metadata edgemat.precision is {precision!r}; expected fp16 or fp32"]
    wanted = "float16" if precision == "fp16" else "float32"
    preprocessing = tuple(f"{f.name}__" for f in package.inputs)
    network = [op for op in package.operations if not op.output.name.startswith(preprocessing)]
    computed = Counter(op.output.dtype for op in network if op.output.dtype.startswith("float"))
    stored = Counter[str]()
    found = []
    for op in network:
        weight = op.inputs.get("weight", (None,))[0]
        if isinstance(weight, np.ndarray):
            stored[weight.dtype.name] += 1
    for name, value in package.constants.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
            found.append(
                f"constant {name!r} holds values that are not finite; use --precision fp32 or mend the weights"
            )
    for what, counts in (("operations", computed), ("weights", stored)):
        if set(counts) != {wanted}:
            listing = ", ".join(f"{count} in {dtype}" for dtype, count in sorted(counts.items())) or "none"
            found.append(f"{precision} was asked for, {what}: {listing}; expected {wanted} throughout")
    return found
