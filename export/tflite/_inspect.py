"""Read from a .tflite file what each operator computes in, and on which scales."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.export._target import Scales
from edgemat.export.tflite._reading import (
    WEIGHTED,
    activations_of,
    constants_of,
    grid_of,
    kind_of,
    name_of,
    orders_of,
    shift_of,
    stated,
    type_of,
    verified,
)
from edgemat.inspection import FLOATS, INTEGERS, MOVES, Inspection, OpFact

_MOVING = (
    *("CONCATENATION", "DEPTH_TO_SPACE", "DEQUANTIZE", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "PAD", "QUANTIZE"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH"),
    *("SPLIT", "TRANSPOSE"),
)


def inspect(path: Path) -> Inspection:
    """Return what a .tflite file computes in, as the types of each operator's tensors say.

    Raises:
        InputError: It is no whole .tflite file.
    """
    model = verified(path)
    graph, stored = model.subgraphs[0], constants_of(model)
    held, ops = _widened(model, stored), []
    for op in graph.operators:
        made = [int(i) for i in op.outputs]
        if made[0] in held:
            continue  # its bytes are counted where they are read
        weights: Counter[str] = Counter()
        for index in (held.get(int(i), int(i)) for i in op.inputs):
            if index in stored:
                weights[type_of(graph, index)] += stored[index]
        kind = kind_of(model, op)
        arithmetic = MOVES if kind in _MOVING else _arithmetic(type_of(graph, made[0]))
        ops.append(OpFact(name_of(graph, made[0]), kind, arithmetic, dict(weights)))
    kinds = Counter(type_of(graph, index) for index in activations_of(model))
    return Inspection(str(path), "TFLite", tuple(ops), dict(kinds), _notes(graph, stored))


def _arithmetic(kind: str) -> str:
    """Return what an operator computes in by the type of its result: TFLite's kernels share it with their inputs."""
    kind = kind.replace("uint", "int")
    return kind if kind in (*INTEGERS, *FLOATS) else "float32"


def _notes(graph: Any, stored: dict[int, int]) -> tuple[str, ...]:
    notes = ["the types are the file's; that XNNPACK takes every operator is what the export's check asks LiteRT"]
    if any(type_of(graph, index) == "float16" for index in stored):
        notes.append("weights stored as float16 are widened once, when the file is loaded; the arithmetic is float32")
    return tuple(notes)


def _widened(model: Any, stored: dict[int, int]) -> dict[int, int]:
    """Return the tensors that DEQUANTIZE makes of constants, each with the constant."""
    operators = [op for op in model.subgraphs[0].operators if kind_of(model, op) == "DEQUANTIZE"]
    return {int(op.outputs[0]): int(op.inputs[0]) for op in operators if int(op.inputs[0]) in stored}


def scales(path: Path) -> Scales:
    """Return the scales of an integer .tflite file, under the trunk's names and in the grid's codes.

    Raises:
        InputError: It is no whole .tflite file.
    """
    model = verified(path)
    graph, shift, orders = model.subgraphs[0], shift_of(model), orders_of(model)
    activations: dict[str, tuple[float, int]] = {}
    for index in activations_of(model):
        steps, zeros = grid_of(graph, index)
        name = name_of(graph, index).removesuffix("#dcr")
        if type_of(graph, index) == "int8" and len(steps) == 1 and "#" not in name:
            activations[name] = (float(steps[0]), int(zeros[0]) + shift)
    for name, source in stated(model).get("same", {}).items():
        activations[name] = activations[source]
    weights = {}
    for op in graph.operators:
        kind = kind_of(model, op)
        index = int(op.inputs[WEIGHTED[kind][0]]) if kind in WEIGHTED else -1
        if index < 0 or type_of(graph, index) != "int8" or name_of(graph, index).endswith("#mean"):
            continue
        steps, _ = grid_of(graph, index)
        order = orders.get(int(op.outputs[0]))
        if order is not None and len(order) == len(steps):
            steps = steps[np.argsort(order)]
        weights[name_of(graph, index).partition("#")[0]] = steps
    return Scales(activations, weights)
