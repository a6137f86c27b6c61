"""For each rule what breaks it and what does not: graphs that are read, or facts where no small graph can break it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemat.inspection import OpFact
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.scheme import Scheme
from edgemat.verify.lint import placement
from edgemat.verify.lint.facts import (
    HALF,
    MAY,
    Facts,
    Left,
    Measured,
    Peak,
    Placement,
    Quantization,
    Sums,
    Use,
    Value,
    Weighted,
)
from edgemat.verify.lint.readers import onnx as reader

SAID = {"name": "net", "version": "1", "author": "a", "license": "MIT", "description": "A net.",
        "input": "image: RGB, float32, in [0, 1]"}  # fmt: skip


def model(
    nodes: Sequence[Any],
    constants: dict[str, Any] | None = None,
    shape: Sequence[int | str] = (1, 3, 8, 8),
    stated: dict[str, str] | None = None,
    kind: int = TensorProto.FLOAT,
) -> ModelProto:
    """Return a graph from ``image`` to ``alpha``."""
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    source = helper.make_tensor_value_info("image", kind, shape)
    goal = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "net", [source], [goal], kept)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    helper.set_model_props(made, SAID if stated is None else stated)
    return made


def read(*arguments: Any, **options: Any) -> Facts:
    """Return the facts of such a graph."""
    return reader.of(model(*arguments, **options), "net.onnx")


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    """Return a node called after its output."""
    return helper.make_node(kind, list(inputs), [output], name=output, **attributes)


def resize(
    sizes: Sequence[int] = (1, 3, 16, 16), how: str = "half_pixel", mode: str = "linear", **attributes: Any
) -> Facts:
    """Return the facts of a graph that is one resize."""
    made = node(
        "Resize", ["image", "", "", "sizes"], "alpha", mode=mode, coordinate_transformation_mode=how, **attributes
    )
    return read([made], {"sizes": np.array(sizes, np.int64)})


def with_trunk(facts: Facts, trunk: Facts) -> Facts:
    """Return facts of an artefact that was made from another graph."""
    return dataclasses.replace(facts, trunk=trunk)


def computed_size() -> Facts:
    """Return the facts of a resize whose sizes a node computes."""
    nodes = [node("Shape", ["other"], "sizes"), node("Resize", ["image", "", "", "sizes"], "alpha", mode="linear")]
    return read([node("Identity", ["image"], "other"), *nodes])


def used(codes: int, beyond: float) -> Facts:
    """Return facts of an artefact of which a tensor uses some codes."""
    return measured(HALF, 1.0, 1.0, Use("a", codes, 256, beyond, 1.0))


def measured(half: str, peak: float = 1.0, running: float = 1.0, *uses: Use) -> Facts:
    """Return facts of an artefact with ranges."""
    sums = Sums("a (Conv)", "a", peak, running, running, running)
    return Facts("net", "onnx fp16", "ONNX", half=half, measured=Measured(3, (Peak("a", peak),), (sums,), uses))


def codes(scales: Any, zeros: Any = 0, kind: str = "int8", constant: Any = None, half: str = HALF) -> Facts:
    """Return facts of an artefact with one tensor of codes."""
    scale = np.atleast_1d(np.asarray(scales, np.float32))
    grid = Quantization(scale, np.broadcast_to(np.asarray(zeros, np.int64), scale.shape), 0, kind)
    held = None if constant is None else np.asarray(constant)
    value = Value("a", kind, (1, 2, 2, 1), grid, held)
    return Facts("net", "tflite int8", "TFLite", values={"a": value}, half=half)


def weight(values: Any, scales: Any = None, half: str = HALF, original: Any = None) -> Facts:
    """Return facts of an artefact with one convolution; of codes where it has scales."""
    array = np.asarray(values, np.float32).reshape(len(values), -1, 1, 1)
    grid = None
    if scales is not None:
        scale = np.atleast_1d(np.asarray(scales, np.float32))
        grid = Quantization(scale, np.zeros(scale.size, np.int64), 0, "int8")
    made = Weighted("a (Conv)", "image", "a", "a.weight", "Conv", array, None, {}, "int8", grid)
    facts = Facts("net", "coreml w8", "Core ML", weighted=(made,), half=half)
    if original is None:
        return facts
    trunk = dataclasses.replace(made, weight=np.asarray(original, np.float32).reshape(array.shape), quantization=None)
    return with_trunk(facts, Facts("trunk", "ONNX", "ONNX", weighted=(trunk,)))


def placed(accelerator: str, *left: Left, half: str = HALF, **options: Any) -> Facts:
    """Return facts of an artefact of which an accelerator takes all but ``left``."""
    where = Placement(accelerator, 9, left, **options)
    return Facts("net", "some target", "TFLite", placements=(where,), half=half)


def gone(op: str = "up (HARD_SWISH)", reason: str = "it has no kernel") -> Left:
    """Return an operator that was left."""
    return Left(op, reason, "https://example.org")


def on_grid(scale: float, zero: int = 3) -> Facts:
    """Return facts of an artefact that states one scale, where the grid has 0.5 and 3."""
    grid = Grid(Scheme(), {"a": QParams(0.5, 3)}, {})
    return Facts("net", "onnx int8", "ONNX", grid=grid, scales={"a": (scale, zero)})


def pair(scale: float) -> Facts:
    """Return the facts of a tensor that is quantized twice, the second time on ``scale``."""
    constants = {"s": np.float32(0.5), "z": np.uint8(0), "t": np.float32(scale)}
    nodes = [
        node("QuantizeLinear", ["image", "s", "z"], "a#codes"),
        node("DequantizeLinear", ["a#codes", "s", "z"], "a"),
        node("QuantizeLinear", ["a", "t", "z"], "b#codes"),
        node("DequantizeLinear", ["b#codes", "t", "z"], "alpha"),
    ]
    return read(nodes, constants)


def ending(kind: str, scale: float) -> Facts:
    """Return the facts of a graph that ends in an operator and a pair of ``scale``."""
    constants = {"s": np.float32(scale), "z": np.uint8(0)}
    nodes = [
        node(kind, ["image"], "a"),
        node("QuantizeLinear", ["a", "s", "z"], "a#codes"),
        node("DequantizeLinear", ["a#codes", "s", "z"], "alpha"),
    ]
    return read(nodes, constants)


def cast(*between: str) -> Facts:
    """Return the facts of a graph that casts to half and back, with other operators between the two."""
    nodes = [node("Cast", ["image"], "half", to=TensorProto.FLOAT16)]
    for kind in between:
        nodes.append(node(kind, [nodes[-1].output[0]], kind.lower()))
    return read([*nodes, node("Cast", [nodes[-1].output[0]], "alpha", to=TensorProto.FLOAT)])


def transposed() -> Facts:
    """Return the facts of a graph between two layouts."""
    nodes = [node("Transpose", ["image"], "a", perm=[0, 2, 3, 1]), node("Relu", ["a"], "b")]
    return read([*nodes, node("Transpose", ["b"], "alpha", perm=[0, 3, 1, 2])])


RELU = [node("Relu", ["image"], "alpha")]
PLAIN = read(RELU)
ISLAND = OpFact("up", "Resize", "float32")
_FULL = dataclasses.replace(PLAIN, placements=(Placement(placement.XNNPACK, 9, partitions=1),))

CASES: dict[str, tuple[Facts, Facts]] = {
    "EM001": (dataclasses.replace(PLAIN, changed=True), PLAIN),
    "EM002": (dataclasses.replace(PLAIN, complaints=("alpha is missing",)), PLAIN),
    "EM003": (read(RELU, stated={**SAID, "license": ""}), PLAIN),
    "EM004": (read(RELU, stated={**SAID, "input": "image: three channels"}), PLAIN),
    "EM005": (dataclasses.replace(PLAIN, gone=("tflite int8: gate: too far",)), PLAIN),
    "EM006": (dataclasses.replace(PLAIN, broken="cut short"), PLAIN),
    "EM010": (
        with_trunk(resize(how="align_corners"), resize()),
        with_trunk(resize(how="pytorch_half_pixel"), resize()),
    ),
    "EM011": (resize(how="align_corners"), resize()),
    "EM012": (
        resize((1, 3, 12, 12), "half_pixel", "nearest", nearest_mode="round_prefer_ceil"),
        resize(how="asymmetric", mode="nearest", nearest_mode="floor"),
    ),
    "EM013": (computed_size(), resize()),
    "EM014": (resize((1, 3, 12, 16)), resize()),
    "EM015": (resize(mode="cubic"), resize()),
    "EM020": (read(RELU, shape=(1, 3, "H", "W")), PLAIN),
    "EM021": (read(RELU, shape=("N", 3, 8, 8)), PLAIN),
    "EM022": (dataclasses.replace(PLAIN, flexible={"image": "RangeDim"}),
              dataclasses.replace(PLAIN, flexible={"image": "EnumeratedShapes"})),
    "EM023": (read([node("NonZero", ["image"], "a"), node("Cast", ["a"], "alpha", to=1)]), PLAIN),
    "EM030": (measured(HALF, peak=7e4), measured(HALF)),
    "EM031": (measured(HALF, running=7e4), measured(HALF)),
    "EM032": (measured(MAY, peak=7e4), measured(HALF, peak=7e4)),
    "EM033": (measured(MAY, peak=3e4), measured(MAY, peak=300)),
    "EM034": (codes(1e-5), codes(1e-3)),
    "EM035": (weight([[1e-5, 2e-5], [1.0, 1.0]]), weight([[1e-5, 2.0], [1.0, 1.0]])),
    "EM036": (read([node("Add", ["image", "c"], "alpha")], {"c": np.float32(np.inf)}),
              read([node("Add", ["image", "c"], "alpha")], {"c": np.float32(7e4)})),
    "EM040": (transposed(), PLAIN),
    "EM041": (cast(), cast("Relu")),
    "EM042": (pair(0.5), pair(0.25)),
    "EM043": (dataclasses.replace(PLAIN, islands=(ISLAND,)),
              dataclasses.replace(PLAIN, islands=(ISLAND,), kept=("up",))),
    "EM044": (dataclasses.replace(PLAIN, kept=("up",)), PLAIN),
    "EM045": (read([node("Identity", ["image"], "alpha")]), PLAIN),
    "EM050": (placed(placement.XNNPACK, gone(), partitions=2), _FULL),
    "EM051": (placed(placement.XNNPACK, gone(), partitions=2), _FULL),
    "EM052": (placed(placement.GPU, gone()), placed(placement.GPU)),
    "EM053": (placed(placement.ANE, gone()), placed(placement.ANE_OLDER, gone())),
    "EM054": (placed(placement.ANE_OLDER, gone()), placed(placement.ANE, gone())),
    "EM055": (placed(placement.ANE, unknown=("topk",)), placed(placement.ANE)),
    "EM056": (placed("Ethos-U ethos-u55-128", gone()), placed("Qualcomm HTP SM8550")),
    "EM057": (placed(placement.TENSORRT, gone()), placed(placement.TENSORRT)),
    "EM058": (placed(placement.ORT, gone()), placed(placement.ORT)),
    "EM060": (on_grid(0.505), on_grid(0.5)),
    "EM061": (codes(-1.0), codes(0.5)),
    "EM062": (codes(0.5, zeros=200), codes(0.5, zeros=-128)),
    "EM063": (weight([[0.1], [1.0]], 0.01), weight([[0.1], [1.0]], [0.001, 0.01])),
    "EM064": (ending("Sigmoid", 1 / 256), ending("Sigmoid", 1 / 255)),
    "EM065": (used(9, 0.0), used(200, 0.0)),
    "EM066": (used(200, 0.2), used(200, 1e-4)),
    "EM067": (
        weight([[0.5, 0.1]], 0.5 / 127, original=[[0.9, 0.1]]),
        weight([[0.5, 0.1]], 0.5 / 127, original=[[0.5, 0.1]]),
    ),
}  # fmt: skip
"""By rule: what breaks it, and what does not."""
