"""Read the scales that an IR really computes with: bounds of its FakeQuantize layers, factors of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.export._target import Scales
from edgemat.export.openvino import _ir
from edgemat.export.openvino._adapt import DEQUANTIZE, QUANTIZE, SHIFT, ends_of
from edgemat.export.openvino._ir import Ir
from edgemat.quantize.grid import QParams
from edgemat.quantize.qdq import CODES

CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData")


def scales(path: Path) -> Scales:
    """Return the scales of an integer IR, under the trunk's names.

    A FakeQuantize states its bounds, not its scale, and their rounding to float32 leaves the scale's last bit open. The
    file states the scale too: it is returned where the bounds are exactly its own; else what the bounds say.

    Raises:
        InputError: It is no whole IR.
    """
    return of(_ir.read(path))


def of(ir: Ir) -> Scales:
    """Return the scales of an IR that was read."""
    activations = {}
    for layer in ir.layers.values():
        tensor = layer.name.removesuffix(QUANTIZE)
        if layer.kind == "FakeQuantize" and tensor != layer.name:
            low, high = (ir.constant(i) for i in layer.inputs[1:3])
            activations[tensor] = _of_bounds(low, high, ir.facts.get("scales", {}).get(tensor))
    for identity, layer in ir.layers.items():  # in order: each after what it reads
        if layer.kind in ("Interpolate", "AvgPool") and (tensor := _codes_name(ir, identity)):
            source = _codes_name(ir, layer.inputs[0])
            activations[tensor] = dequantized(ir, tensor) or activations.get(source, (0.0, 0))
    return Scales(activations, {name: scale for name, (_, scale) in weights(ir).items()})


def _of_bounds(low: Any, high: Any, stated: list[float] | None) -> tuple[float, int]:
    """Return scale and zero point of a FakeQuantize from its bounds."""
    if stated is not None:
        params = QParams(stated[0], int(stated[1]))
        if [float(end) for end in ends_of(params)] == [float(low), float(high)]:
            return params.scale, params.zero_point
    scale = (float(high) - float(low)) / 255
    return (float(np.float32(scale)), round(-float(low) / scale)) if scale > 0 else (0.0, 0)


def _codes_name(ir: Ir, identity: int) -> str:
    return next((n.removesuffix(CODES) for n in ir.layers[identity].names if n.endswith(CODES)), "")


def dequantized(ir: Ir, tensor: str) -> tuple[float, int] | None:
    """Return with which scale and zero point reals are made of a tensor's codes; None where none are."""
    found = []
    for layer in ir.layers.values():
        if layer.name in (tensor + DEQUANTIZE, f"{tensor}#kept{DEQUANTIZE}"):
            above = ir.layers[layer.inputs[0]]
            scale = ir.constant(layer.inputs[1])
            zero = ir.constant(above.inputs[1]) if above.name.endswith(SHIFT) else np.zeros(())
            if scale is not None and zero is not None:
                found.append((float(scale), round(float(zero))))
    return next((pair for pair in found if pair != found[0]), found[0]) if found else None


def weights(ir: Ir) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.float32]]]:
    """Return codes and scales, float32, (channels,), of every integer weight that a convolution reads."""
    found = {}
    for layer in ir.layers.values():
        if layer.kind in CONVOLUTIONS and (factor := weight_of(ir, layer.inputs[1])) is not None:
            product = ir.layers[factor]
            codes, scale = (ir.constant(i) for i in (ir.layers[product.inputs[0]].inputs[0], product.inputs[1]))
            if codes is not None and scale is not None:
                found[product.name] = (codes, np.asarray(scale, np.float32).reshape(-1))
    return found


def weight_of(ir: Ir, identity: int) -> int | None:
    """Return the Multiply that makes reals of a weight's codes, looking through a Reshape; None for float weights."""
    layer = ir.layers[identity]
    while layer.kind in ("Reshape", "Unsqueeze"):
        identity = layer.inputs[0]
        layer = ir.layers[identity]
    is_integer = layer.kind == "Multiply" and ir.layers[layer.inputs[0]].kind == "Convert"
    return identity if is_integer else None
