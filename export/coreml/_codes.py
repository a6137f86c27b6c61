"""Read the integer grid back from a package: which tensors carry codes, on which scales, in the trunk's own names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.errors import InputError
from edgemat.export._target import Scales
from edgemat.export.coreml import _package
from edgemat.export.coreml._package import Operation, Package, Tensor
from edgemat.quantize import qdq
from edgemat.quantize.scheme import Scheme

RENAMED = "edgemat.renamed_tensors"
"""Key of the metadata: MIL variable to the trunk's tensor, where the name had to change."""
CONSTANT = "constexpr_affine_dequantize"
PAIR = ("quantize", "dequantize", CONSTANT)
"""Operations that belong to the grid, not to the network."""
_ENDINGS = ("_cast_fp16", "_to_fp16", "_cast_fp32", "__biased__", "__scaled__", "_has_output_shape")
"""What coremltools appends to names."""


@dataclass(frozen=True)
class Step:
    """One ``quantize`` or ``dequantize``.

    Attributes:
        op: The operation.
        scale: As stored, widened.
        zero_point: As stored, 0 where the file states none.
        kind: Type of the codes, ``int8`` or ``uint8``.
    """

    op: Operation
    scale: float
    zero_point: int
    kind: str

    @property
    def source(self) -> str:
        """The MIL variable that is read."""
        argument = self.op.inputs["input"][0]
        return argument.name if isinstance(argument, Tensor) else ""


def trunk_name(package: Package, name: str) -> str:
    """Return the trunk's name for a MIL variable: without what coremltools appends to it."""
    return original(name, json.loads(package.user.get(RENAMED, "{}")))


def original(name: str, renamed: Mapping[str, str]) -> str:
    """Return the trunk's name for a MIL variable, given those that had to change."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return renamed.get(name, name)


def same(package: Package) -> dict[str, str]:
    """Return the tensors that have no codes of their own, as what makes them has no effect, with those they equal."""
    found: dict[str, str] = json.loads(package.user.get("edgemat.same_tensors", "{}"))
    return found


def kept(package: Package) -> dict[str, str]:
    """Return the nodes that compute in float, as a budget asked, each with the tensor that it makes."""
    found: dict[str, str] = json.loads(package.user.get(qdq.KEPT, "{}"))
    return found


def quantized(package: Package) -> dict[str, Step]:
    """Return the trunk's tensors that become codes, each with its ``quantize``, in order."""
    return {trunk_name(package, step.source): step for step in _steps(package, "quantize")}


def dequantized(package: Package) -> Iterator[Step]:
    """Yield what takes codes back to reals."""
    return _steps(package, "dequantize")


def _steps(package: Package, kind: str) -> Iterator[Step]:
    types = {op.output.name: op.output.dtype for op in package.operations}
    for op in package.operations:
        if op.kind == kind:
            source = op.inputs["input"][0]
            codes = op.output.name if kind == "quantize" else getattr(source, "name", "")
            yield Step(op, float(_scalar(op, "scale")), int(_scalar(op, "zero_point")), types.get(codes, ""))


def _scalar(op: Operation, key: str) -> Any:
    if key not in op.inputs:
        return 0
    value = np.asarray(op.inputs[key][0])
    if value.size != 1:
        raise InputError(f"{op.output.name} ({op.kind}): {value.size} values of {key}, expected one for the tensor")
    return value.reshape(())[()]


def shift(package: Package, kind: str) -> int:
    """Return what to add to stored codes, and to their zero point, for the grid's own.

    coremltools makes uint8 with zero point 128 into int8 with 0, and int8 with -128 into uint8 with 0.
    """
    if Scheme.parse(package.user.get(qdq.SCHEME, Scheme().name)).symmetric:
        return -128 if kind == "uint8" else 0
    return 128 if kind == "int8" else 0


def scales(path: Path) -> Scales:
    """Return the scales that a package states, under the trunk's names and for the grid's own codes.

    Raises:
        InputError: It cannot be read, or a tensor has more than one scale.
    """
    package = _package.read(path)
    activations = {
        name: (step.scale, step.zero_point + shift(package, step.kind)) for name, step in quantized(package).items()
    }
    activations |= {alias: activations[name] for alias, name in same(package).items() if name in activations}
    weights = {
        trunk_name(package, op.output.name): np.atleast_1d(np.asarray(op.inputs["scale"][0], np.float32))
        for op in package.operations
        if op.kind == CONSTANT
    }
    return Scales(activations, weights)
