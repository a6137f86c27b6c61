"""Faults as a wrong converter makes them: one mistake in what an artefact is made from, or in the file itself.

Each planter changes a graph and, for integers, its grid; the target's own converter then writes the artefact, and it is
judged by the graph as it was. What no graph can say (an image that arrives transposed) is planted into the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from edgemat.quantize import graph as graphs
from edgemat.quantize import rules
from edgemat.quantize.grid import Grid

FLOAT, INTEGER = "float", "integer"
FIRST = "downs.0"
SITES = ("early", "late")
"""Where in the network: near the image, or near alpha."""
_CONV = {"early": "stages.1.0.first", "late": "decoders.0.body"}
_RESIZE = {"early": "laterals.1.resize", "late": "laterals.0.resize"}
_SCALED = {"early": "stages.1.0.first.relu", "late": "decoders.0.body.relu"}
_SHIFTED = {"early": "stages.1.0.second", "late": "stages.2.1.second"}
_CAST = {"early": FIRST, "late": "decoders.0.body"}


@dataclass
class Patient:
    """What a fault is planted into.

    Attributes:
        model: The float graph; planters change it in place.
        grid: Its scales; None for a precision that computes and stores in float.
        other: The same layers of another checkpoint, by name.
    """

    model: ModelProto
    grid: Grid | None
    other: Mapping[str, npt.NDArray[np.float32]]

    def node(self, name: str) -> NodeProto:
        """Return a node by its name."""
        return next(node for node in self.model.graph.node if node.name == name)

    def value(self, name: str) -> npt.NDArray[Any]:
        """Return a constant."""
        return numpy_helper.to_array(next(t for t in self.model.graph.initializer if t.name == name)).copy()

    def put(self, name: str, value: npt.NDArray[Any]) -> None:
        """Replace a constant by another of its type."""
        tensor = next(t for t in self.model.graph.initializer if t.name == name)
        kept = np.ascontiguousarray(value, numpy_helper.to_array(tensor).dtype)
        tensor.CopyFrom(numpy_helper.from_array(kept, name))

    def scales(self, weight: str, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]) -> None:
        """Change a weight's scales, where there are any."""
        if self.grid is not None:
            changed = np.ascontiguousarray(change(self.grid.weights[weight]), np.float32)
            self.grid = dataclasses.replace(self.grid, weights={**self.grid.weights, weight: changed})

    def state(self, tensor: str, **changes: Any) -> None:
        """Change an activation's scale or zero point."""
        assert self.grid is not None
        params = dataclasses.replace(self.grid.activations[tensor], **changes)
        self.grid = dataclasses.replace(self.grid, activations={**self.grid.activations, tensor: params})

    def made(self, name: str) -> set[str]:
        """Return the tensor that a node makes, and what it is called once its activation is fused into it."""
        found = graphs.of(self.model).nodes
        output = next(node.outputs[0] for node in found if node.name == name)
        units = {unit.node.outputs[0]: unit.output for unit in rules.units(graphs.of(self.model))}
        return {output, units.get(output, output)}


Plant = Callable[[Patient, str], set[str]]
"""Changes a patient at a site, and returns the tensors where the fault arises, any of which is its right name."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: Its key.
        title: What is wrong, for a table.
        plant: Plants it.
        cause: Regular expression of words that name the cause.
        applies: `FLOAT`, `INTEGER` or both; ``fp32`` for what the other precisions do anyway.
        refused: Artefacts whose converter refuses such a graph, and why: nothing to catch.
        sites: Where; one is enough for what happens at the image.
        native: Whether it is planted into the file (`tests.campaign.native`) and not into the graph.
    """

    name: str
    title: str
    plant: Plant
    cause: str
    applies: tuple[str, ...] = (FLOAT, INTEGER)
    refused: Mapping[str, str] = field(default_factory=dict)
    sites: tuple[str, ...] = SITES
    native: bool = False


def _attribute(node: NodeProto, name: str, value: Any) -> None:
    from onnx import helper

    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def resize_align_corners(patient: Patient, site: str) -> set[str]:
    node = patient.node(_RESIZE[site])
    _attribute(node, "coordinate_transformation_mode", "align_corners")
    return {node.output[0]}


def resize_nearest(patient: Patient, site: str) -> set[str]:
    node = patient.node(_RESIZE[site])
    for name, value in (
        ("mode", "nearest"),
        ("coordinate_transformation_mode", "asymmetric"),
        ("nearest_mode", "floor"),
    ):
        _attribute(node, name, value)
    return {node.output[0]}


def weight_scaled(patient: Patient, site: str) -> set[str]:
    """1 % too large: of integers the scales, so that the codes stay."""
    weight = patient.node(_CONV[site]).input[1]
    patient.put(weight, patient.value(weight) * np.float32(1.01))
    patient.scales(weight, lambda scales: scales * np.float32(1.01))
    return patient.made(_CONV[site]) | {weight}


def activation_scaled(patient: Patient, site: str) -> set[str]:
    assert patient.grid is not None
    patient.state(_SCALED[site], scale=patient.grid.activations[_SCALED[site]].scale * 1.01)
    return {_SCALED[site]}


def zero_point_shifted(patient: Patient, site: str) -> set[str]:
    assert patient.grid is not None
    patient.state(_SHIFTED[site], zero_point=patient.grid.activations[_SHIFTED[site]].zero_point + 1)
    return {_SHIFTED[site]}


def bias_dropped(patient: Patient, site: str) -> set[str]:
    bias = patient.node(_CONV[site]).input[2]
    patient.put(bias, np.zeros_like(patient.value(bias)))
    return patient.made(_CONV[site])


def channels_swapped(patient: Patient, site: str) -> set[str]:
    """The first two output channels change places, scales and biases with them."""
    node = patient.node(_CONV[site])

    def swapped(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([value[1:2], value[0:1], value[2:]])

    for name in node.input[1:3]:
        patient.put(name, swapped(patient.value(name)))
    patient.scales(node.input[1], swapped)
    return patient.made(_CONV[site]) | {node.input[1]}


def padding_moved(patient: Patient, site: str) -> set[str]:
    """All of the padding on the top and on the left."""
    node = patient.node(_CONV[site])
    _attribute(node, "pads", [2, 2, 0, 0])
    return patient.made(_CONV[site])


def kernel_transposed(patient: Patient, site: str) -> set[str]:
    weight = patient.node(_CONV[site]).input[1]
    patient.put(weight, patient.value(weight).swapaxes(2, 3))
    return patient.made(_CONV[site])


def stale_layer(patient: Patient, site: str) -> set[str]:
    """One layer of another checkpoint; of integers its codes, on the scales of this one."""
    node = patient.node(_CONV[site])
    for name in node.input[1:3]:
        patient.put(name, patient.other[name])
    return patient.made(_CONV[site])


def relu_dropped(patient: Patient, site: str) -> set[str]:
    return _without(patient, f"{_CONV[site]}.relu")


def clamp_dropped(patient: Patient, site: str) -> set[str]:
    del site
    return _without(patient, "head.clip") | {"alpha"}


def _without(patient: Patient, name: str) -> set[str]:
    """Take a node out, and let the one before it make its tensor."""
    node = patient.node(name)
    before = next(other for other in patient.model.graph.node if node.input[0] in other.output)
    names = {node.output[0], before.output[0]}
    before.output[0] = node.output[0]
    patient.model.graph.node.remove(node)
    return names


def bias_in_half(patient: Patient, site: str) -> set[str]:
    bias = patient.node(_CAST[site]).input[2]
    patient.put(bias, patient.value(bias).astype(np.float16))
    return patient.made(_CAST[site])


def blue_for_red(patient: Patient, site: str) -> set[str]:
    del site
    weight = patient.node(FIRST).input[1]
    patient.put(weight, patient.value(weight)[:, ::-1])
    return patient.made(FIRST) | {"image"}


def divided_twice(patient: Patient, site: str) -> set[str]:
    """By 255, once more; of integers the scales, so that the codes stay."""
    return _multiplied(patient, 1 / 255)


def not_divided(patient: Patient, site: str) -> set[str]:
    """By 255, not at all."""
    return _multiplied(patient, 255.0)


def _multiplied(patient: Patient, factor: float) -> set[str]:
    weight = patient.node(FIRST).input[1]
    patient.put(weight, patient.value(weight) * np.float32(factor))
    patient.scales(weight, lambda scales: scales * np.float32(factor))
    return patient.made(FIRST) | {"image", weight}


def mean_shifted(patient: Patient, site: str) -> set[str]:
    """The image arrives 0.1 brighter: the first convolution has no padding, so its bias says that exactly."""
    del site
    node = patient.node(FIRST)
    by = 0.1 * patient.value(node.input[1]).astype(np.float64).sum((1, 2, 3))
    patient.put(node.input[2], patient.value(node.input[2]) + by)
    return patient.made(FIRST) | {"image"}


def image_transposed(patient: Patient, site: str) -> set[str]:
    """Rows for columns; planted into the file, see `tests.campaign.native`."""
    del site
    return patient.made(FIRST) | {"image"}


_NO_HALF = "float16 cannot hold such scales"
_CLIPS = "codes end where the activation does"
FAULTS = (
    Fault("resize_align_corners", "a resize aligns corners", resize_align_corners, "align_corners"),
    Fault("resize_nearest", "a resize takes the nearest, not the mean", resize_nearest, "nearest"),
    Fault("weight_scaled", "a weight, or its scales, x1.01", weight_scaled, r"1\.01|scales? (of|differ)|scales differ"),
    Fault("activation_scaled", "an activation's scale x1.01", activation_scaled, "scale", (INTEGER,)),
    Fault("zero_point_shifted", "a zero point off by one", zero_point_shifted, "zero point", (INTEGER,)),
    Fault("bias_dropped", "a bias dropped", bias_dropped, "bias"),
    Fault("channels_swapped", "two output channels swapped", channels_swapped, "channel"),
    Fault("padding_moved", "padding on the wrong side", padding_moved, "pads|padding"),
    Fault("kernel_transposed", "a kernel's rows and columns swapped", kernel_transposed, "rows and columns"),
    Fault("stale_layer", "a layer of another checkpoint", stale_layer, "another checkpoint|stale"),
    Fault("relu_dropped", "a Relu dropped", relu_dropped, "Relu.* missing", (FLOAT,)),
    Fault("clamp_dropped", "the clamp of alpha dropped", clamp_dropped, r"expected \[0, 1\]|Clip", (FLOAT,),
          sites=("late",)),
    Fault("bias_in_half", "a bias rounded to float16", bias_in_half, "bias", ("fp32",)),
    Fault("blue_for_red", "BGR for RGB", blue_for_red, "BGR|R and B", sites=("early",)),
    Fault("divided_twice", "pixels divided by 255 twice", divided_twice, r"255|0\.0039|scales differ", sites=("early",),
          refused={"coreml w8": _NO_HALF, "coreml w8a8": _NO_HALF}),
    Fault("not_divided", "pixels not divided by 255", not_divided, "255|scales differ", sites=("early",)),
    Fault("mean_shifted", "the mean not subtracted", mean_shifted, "mean|shifted", sites=("early",)),
    Fault("image_transposed", "the image's rows and columns swapped", image_transposed,
          "rows and columns|[Tt]ranspose|TRANSPOSE", sites=("early",), native=True),
)  # fmt: skip
"""All kinds. None is invisible: a Relu is dropped of floats alone, as an asymmetric grid's codes end at 0 anyway."""
