"""Run a saved Core ML package anywhere: a small MIL interpreter in numpy that shares nothing with the writer.

It follows the file: operations that the file types float16 are accumulated in float32 and rounded to float16 after each
operation, as a device at best does. Between codes sums are accumulated in float64, so that no code depends on the order
of a sum: networks magnify single steps of their grid, and are to be compared free of that noise. It starts from 8-bit
pixels in the colour order that the file's description states.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._target import Runner
from edgemat.export.coreml import _codes, _package
from edgemat.export.coreml._mil_ops import TABLE, Arguments, Reals
from edgemat.export.coreml._package import Operation, Tensor, Value

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.quantize.grid import Codes


class Interpreter(Runner):
    """One package, ready to run in numpy.

    Attributes:
        package: What was read.
    """

    def __init__(self, path: Path) -> None:
        """Read the package at ``path``.

        Raises:
            InputError: It cannot be read, or its input is no image.
            UnsupportedOpError: It holds MIL operators that are not known here; all are listed.
        """
        self.package = _package.read(path)
        if len(self.package.inputs) != 1 or self.package.inputs[0].layout not in ("RGB", "BGR"):
            raise InputError(f"{path}: inputs {self.package.inputs}, expected one RGB or BGR image; export it again")
        unknown = sorted({f"{op.output.name} ({op.kind})" for op in self.package.operations if op.kind not in TABLE})
        if unknown:
            raise UnsupportedOpError(
                f"{path}: MIL operators that the interpreter does not know: {', '.join(unknown)}; "
                f"known: {', '.join(sorted(TABLE))}. Run the package on a Mac instead"
            )
        self._quantized = _codes.quantized(self.package)
        if self._quantized and any(op.output.dtype == "float16" for op in self.package.operations):
            self.rounding = "float16"
        self._tensors = {step.op.output.name: name for name, step in self._quantized.items()}

    def run(self, images: Images) -> Alphas:
        """Run RGB images, uint8 (N, H, W, 3); return alpha, float32 (N, H, W)."""
        output = self.package.outputs[0].name
        return np.stack([self._execute(image)[output][0, 0] for image in images])

    def trace(self, image: Images) -> Tensors:
        """Run one RGB image, uint8 (H, W, 3); return all trunk tensors that the package still holds."""
        argument = self.package.inputs[0].name
        values = self._execute(image)
        aside = {op.output.name for op in self.package.operations if op.kind in _codes.PAIR} | {argument}
        named = {_codes.trunk_name(self.package, name): v for name, v in values.items() if name not in aside}
        for step in _codes.dequantized(self.package):  # a tensor is what its codes stand for
            if step.source in self._tensors:
                named[self._tensors[step.source]] = values[step.op.output.name]
        return named

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return the codes of one RGB image, uint8 (H, W, 3), in the trunk's names and the grid's own codes."""
        if not self._quantized:
            return {}
        values, found = self._execute(image), {}
        for name, step in self._quantized.items():
            stored = values[step.op.output.name].astype(np.int32)
            found[name] = stored + _codes.shift(self.package, step.kind)
        return found | {alias: found[name] for alias, name in _codes.same(self.package).items() if name in found}

    def _execute(self, image: Images) -> dict[str, Reals]:
        """Return every variable of one run."""
        pixels = image if self.package.inputs[0].layout == "RGB" else image[..., ::-1]
        values = {self.package.arguments[0].name: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)}
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is a value to be judged, not a warning
            for op in self.package.operations:
                values[op.output.name] = _compute(op, values, np.float64 if self._quantized else np.float32)
        return values


def _compute(op: Operation, values: Mapping[str, Reals], dtype: type[np.floating[Any]]) -> Reals:
    """Run one operation in a type, and round the result to the type that the file gives it."""
    resolved: Arguments = {}
    for key, arguments in op.inputs.items():
        found = [_resolve(a, values, dtype) for a in arguments]
        resolved[key] = found if key == "values" else found[0]
    result = TABLE[op.kind](resolved)
    if op.output.dtype == "float16":
        result = result.astype(np.float16)
    if result.shape != op.output.shape:
        raise InputError(f"{op.output.name} ({op.kind}): shape {result.shape}, the package states {op.output.shape}")
    return result.astype(np.float32, copy=False)


def _resolve(argument: Value | Tensor, values: Mapping[str, Reals], dtype: type[np.floating[Any]]) -> Any:
    """Return an argument's value: floats in ``dtype``, everything else as stored."""
    if isinstance(argument, Tensor):
        return values[argument.name].astype(dtype, copy=False)
    if isinstance(argument, np.ndarray) and argument.dtype.kind == "f":
        return argument.astype(dtype)
    return argument
