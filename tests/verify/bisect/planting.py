"""Faults that a converter makes, planted in a trunk before it is converted; and artefacts with their entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgemat import export
from edgemat.export._target import Trunk
from edgemat.verify.exported import Entry

Fault = Callable[[ModelProto], None]


def node(model: ModelProto, tensor: str) -> NodeProto:
    return next(n for n in model.graph.node if tensor in n.output)


def edit(name: str, change: Callable[[Any], Any]) -> Fault:
    """Change a constant's values."""

    def plant(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        value = numpy_helper.to_array(tensor)
        made = np.asarray(change(value.copy()), value.dtype, order="C")
        tensor.CopyFrom(numpy_helper.from_array(made, name))

    return plant


def state(tensor: str, **attributes: Any) -> Fault:
    """Give a node other attributes."""

    def plant(model: ModelProto) -> None:
        found = node(model, tensor)
        kept = [a for a in found.attribute if a.name not in attributes]
        del found.attribute[:]
        found.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in attributes.items())])

    return plant


def coordinates(tensor: str, mode: str) -> Fault:
    return state(tensor, coordinate_transformation_mode=mode)


def one_channel(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    value[2] *= 1.3
    return value


PLANTED: dict[str, tuple[str, str, Fault]] = {
    "resize": ("laterals.0.resize", "align_corners", coordinates("laterals.0.resize", "align_corners")),
    "scale": ("stages.1.0.first", "1.0", edit("stages.1.0.first.weight", lambda w: w * 1.01)),
    "channel": ("stages.2.0.second", "channel 2 only", edit("stages.2.0.second.weight", one_channel)),
    "bias": ("decoders.1.body", "the bias of decoders.1.body is missing", edit("decoders.1.body.bias", np.zeros_like)),
    "bgr": ("downs.0", "BGR", edit("downs.0.weight", lambda w: w[:, ::-1])),
    "padding": ("stages.1.0.first", "pads [2, 2, 0, 0]", state("stages.1.0.first", pads=[2, 2, 0, 0])),
}  # fmt: skip
"""Name to the tensor, what the hint says, and the fault."""


def entry(target: str, precision: str, trunk: Trunk, folder: Path, fault: Fault | None = None) -> Entry:
    """Return an artefact of a trunk that a fault was planted in, beside the trunk without it."""
    made = export.get(target)
    source = trunk
    if fault is not None:
        model = onnx.load(trunk.path)
        fault(model)
        onnx.save(model, folder / "faulty.onnx")
        source = replace(trunk, path=folder / "faulty.onnx")
    path = folder / f"{target}-{precision}{made.suffix}"
    made.convert(source, precision, path)
    return Entry(made, precision, path, trunk)
