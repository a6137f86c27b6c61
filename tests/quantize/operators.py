"""Single operators on a random grid, for ONNX Runtime and for LiteRT: what the reference is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper

from edgemat.export import _isolated
from edgemat.export.coreai import _write
from edgemat.export.onnx import session
from edgemat.export.tflite import _convert, _runner
from edgemat.export.tflite._integer import IntegerEmitter
from edgemat.quantize import graph as graphs
from edgemat.quantize import qdq, rules
from edgemat.quantize.grid import Codes, Grid, QParams
from edgemat.quantize.scheme import Scheme

Array = npt.NDArray[Any]
SHAPE = (1, 8, 12, 14)


@dataclass(frozen=True)
class Case:
    """A float model of one operator, a grid for it, and codes to begin with."""

    model: onnx.ModelProto
    grid: Grid
    codes: Mapping[str, Codes]

    @property
    def graph(self) -> graphs.Graph:
        """The model's graph."""
        return graphs.of(self.model)


def params(rng: np.random.Generator, scale: float | None = None, zero: int | None = None) -> QParams:
    """Return a scale and zero point."""
    return QParams(scale or float(rng.uniform(0.01, 0.1)), int(rng.integers(0, 256)) if zero is None else zero)


def model_of(nodes: list[onnx.NodeProto], inputs: Mapping[str, tuple[int, ...]], **constants: Array) -> onnx.ModelProto:
    """Return a model of nodes; the last one's output is the graph's."""
    takes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    gives = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "case", takes, [gives], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def case(
    model: onnx.ModelProto, rng: np.random.Generator, activations: Mapping[str, QParams], exponent: int | None = None
) -> Case:
    """Return a case: weights' scales of the weights' ranges, or ``2**exponent``; random codes."""
    graph, weights = graphs.of(model), {}
    for unit in rules.units(graph):
        if unit.weight:
            value, axis = graph.constants[unit.weight], rules.WEIGHTED[unit.node.op]
            ranges = np.abs(value).max(tuple(i for i in range(value.ndim) if i != axis)) / 127
            weights[unit.weight] = (ranges if exponent is None else np.full_like(ranges, 2.0**exponent)).astype(
                np.float32
            )
    codes = {name: rng.integers(0, 256, graph.shapes[name]).astype(np.int32) for name in graph.inputs}
    return Case(model, Grid(Scheme(), activations, weights), codes)


def weighted(
    op: str, weight: tuple[int, ...], channels: int, ties: bool = False, **attributes: Any
) -> Callable[[int], Case]:
    """Return a maker, by seed, of cases of Conv or ConvTranspose; ``ties`` takes scales of powers of two."""

    def make(seed: int) -> Case:
        rng = np.random.default_rng(seed)
        outputs = weight[rules.WEIGHTED[op]]
        w, b = (rng.normal(0, s, size).astype(np.float32) for s, size in ((1, weight), (5, outputs)))
        model = model_of(
            [helper.make_node(op, ["x", "w", "b"], ["y"], **attributes)], {"x": (1, channels, *SHAPE[2:])}, w=w, b=b
        )
        source = params(rng, 0.5 if ties else None)
        goal = params(rng, 16.0 if ties else source.scale * 2.0 * float(np.prod(weight[1:])) ** 0.5)
        return case(model, rng, {"x": source, "y": goal}, -7 if ties else None)

    return make


def joined(op: str, ties: bool = False) -> Callable[[int], Case]:
    """Return a maker of cases of Add, Sub or Mul over all pairs of codes."""

    def make(seed: int) -> Case:
        rng, shape = np.random.default_rng(seed), (1, 16, 64, 64)
        a, b = params(rng, 2.0**-4 if ties else None), params(rng, 2.0**-5 if ties else None)
        c = params(rng, a.scale * b.scale * 128 if op == "Mul" else 2.0**-3 if ties else float(rng.uniform(0.03, 0.2)))
        model = model_of([helper.make_node(op, ["a", "b"], ["y"])], {"a": shape, "b": shape})
        pairs = np.meshgrid(np.arange(256), np.arange(256))
        made = case(model, rng, {"a": a, "b": b, "y": c})
        return replace(made, codes={n: v.reshape(shape).astype(np.int32) for n, v in zip("ab", pairs, strict=True)})

    return make


def single(op: str, goal: str = "same", shape: tuple[int, ...] = SHAPE, **kwargs: Any) -> Callable[[int], Case]:
    """Return a maker of cases of one operator of one activation.

    Args:
        op: ONNX operator.
        goal: ``same`` scale as the input, ``free`` (another scale), or ``sigmoid``.
        shape: Of the input.
        **kwargs: Arrays are further inputs, in order (None for one that is not given); the rest are attributes.
    """
    arrays = {name: value for name, value in kwargs.items() if value is None or isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in kwargs.items() if name not in arrays}

    def make(seed: int) -> Case:
        rng = np.random.default_rng(seed)
        inputs = ["x", *("" if value is None else name for name, value in arrays.items())]
        constants = {name: value for name, value in arrays.items() if value is not None}
        model = model_of([helper.make_node(op, inputs, ["y"], **attributes)], {"x": shape}, **constants)
        source = params(rng)
        free = params(rng, source.scale * float(rng.uniform(0.3, 1.5)), 0 if op in ("Relu", "Clip") else None)
        goals = {"same": source, "free": free, "sigmoid": QParams(1 / 256, 0)}
        return case(model, rng, {"x": source, "y": goals[goal]})

    return make


def resized(mode: str, scale: float) -> Callable[[int], Case]:
    """Return a maker of cases of a linear Resize."""
    scales = np.array([1, 1, scale, scale], np.float32)
    return single("Resize", roi=None, scales=scales, mode="linear", coordinate_transformation_mode=mode)


def concatenated(seed: int) -> Case:
    """Return a case of Concat, each tensor on its own scale."""
    rng = np.random.default_rng(seed)
    model = model_of([helper.make_node("Concat", ["a", "b"], ["y"], axis=1)], {"a": SHAPE, "b": SHAPE})
    return case(model, rng, {name: params(rng) for name in ("a", "b", "y")})


def _any_input() -> Any:
    """Return a patch that leaves out the rule that the first tensor is pixels: a single operator reads any scale."""
    return patch.object(rules, "complaints", lambda graph, grid: [])


def in_onnxruntime(made: Case) -> Mapping[str, Codes]:
    """Return the codes of a case's tensors in ONNX Runtime."""
    with _any_input():
        model = qdq.insert(made.model, made.grid)
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    feeds = {name: made.grid.activations[name].reals(codes) for name, codes in made.codes.items()}
    found = session(model.SerializeToString()).run(None, feeds)
    return {n.removesuffix(qdq.CODES): v.astype(np.int32) for n, v in zip(names, found, strict=True)}


def in_core_ai(made: Case, path: Path) -> Mapping[str, Codes]:
    """Return the codes of a case's tensors in Core AI; ``path`` is the ONNX file to write on the way."""
    with _any_input():
        model = _write.with_float_biases(qdq.insert(made.model, made.grid))
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    values = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    del model.graph.output[:]
    model.graph.output.extend(values[name] for name in names)
    onnx.save(model, path)
    feeds = {name: made.grid.activations[name].reals(codes) for name, codes in made.codes.items()}
    _, found = _isolated.call("edgemat.export.coreai._child:execute", {"source": str(path)}, feeds)
    return {name.removesuffix(qdq.CODES): value.astype(np.int32) for name, value in found.items()}


def in_litert(made: Case, resolver: OpResolverType) -> Mapping[str, Codes]:
    """Return the codes of a case's inputs and output in LiteRT, with the kernels that ``resolver`` names."""
    graph = made.graph
    with _any_input():
        emitter = IntegerEmitter(graph, made.grid, "a case")
    inputs = {name: emitter.entry(name) for name in graph.inputs}
    _convert.translate(graph, emitter)
    outputs = {name: emitter.exit(name) for name in graph.outputs}
    content = emitter.model.finish("a case", inputs, outputs, {})
    with _runner._silence():
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    stored = {n: (codes - 128).transpose(0, 2, 3, 1).astype(np.int8) for n, codes in made.codes.items()}
    found = {name: value.astype(np.int32).transpose(0, 3, 1, 2) + 128 for name, value in run(**stored).items()}
    return {**made.codes, **found}
