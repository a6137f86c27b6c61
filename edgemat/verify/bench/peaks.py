"""What this machine can do at best, measured: multiply-accumulates a second in float and int8, bytes a second.

Measured in ONNX Runtime by one large product of matrices and by a copy of a tensor. A peak is the fastest of many
calls: what slows a call down on a busy machine is no property of the machine.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgemat.verify.bench.child import Arrays

_ROWS, _DEPTH, _COLUMNS = 384, 384, 384
"""About a millisecond: short enough to run between two switches of a busy machine."""
_SECONDS = 0.5
_COPIES = 8
"""Operators of the chain that measures the bandwidth: each reads a tensor and writes one."""


@dataclass(frozen=True)
class Peaks:
    """What a number of threads does at best.

    Attributes:
        threads: That take part.
        float_macs: Multiply-accumulates a second, float32.
        int8_macs: The same of 8-bit integers, uint8 by int8, summed in 32 bits.
        bandwidth: Bytes a second, read and written, of a tensor as large as the network's largest.
    """

    threads: int
    float_macs: float
    int8_macs: float
    bandwidth: float

    def times(self, threads: int) -> Peaks:
        """Return what so many threads would do if they shared nothing: no number of threads does better.

        Example:
            >>> Peaks(1, 10.0, 40.0, 5.0).times(2)
            Peaks(threads=2, float_macs=20.0, int8_macs=80.0, bandwidth=10.0)
        """
        more = threads / self.threads
        return Peaks(threads, self.float_macs * more, self.int8_macs * more, self.bandwidth * more)

    @property
    def int8_gain(self) -> float:
        """How many times as fast int8 is as float32 where only arithmetic counts."""
        return self.int8_macs / self.float_macs

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {**asdict(self), "int8_gain": self.int8_gain}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Peaks:
        """Return what `to_json` wrote."""
        return Peaks(value["threads"], value["float_macs"], value["int8_macs"], value["bandwidth"])


def measure(tensor_bytes: int) -> Peaks:
    """Measure one thread, in a process of its own: several at once cannot be had while others use the machine.

    Args:
        tensor_bytes: Size of the tensor that is copied, of float32.
    """
    from edgemat.export import _isolated

    found, _ = _isolated.call(f"{__name__}:child", {"tensor_bytes": tensor_bytes})
    return Peaks(1, found["float_macs"], found["int8_macs"], found["bandwidth"])


def child(arguments: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Measure; the process's side of `measure`."""
    from onnx import TensorProto

    del arrays
    size = max(1024, int(arguments["tensor_bytes"]) // 4)
    left, right, top = [_ROWS, _DEPTH], [_DEPTH, _COLUMNS], [_ROWS, _COLUMNS]
    macs = _ROWS * _DEPTH * _COLUMNS
    random = np.random.default_rng(0)
    weights = random.random(right, np.float32)
    codes = random.integers(-127, 128, right, np.int8)
    product = [("MatMul", ["x", "w"], "y")], [("MatMulInteger", ["x", "w"], "y")]
    real = _seconds(_graph(product[0], left, top, TensorProto.FLOAT, TensorProto.FLOAT, weights))
    whole = _seconds(_graph(product[1], left, top, TensorProto.UINT8, TensorProto.INT32, codes))
    names = ["x", *(f"t{i}" for i in range(1, _COPIES)), "y"]
    chain = [("Neg", [a], b) for a, b in itertools.pairwise(names)]
    copied = _seconds(_graph(chain, [size], [size], TensorProto.FLOAT, TensorProto.FLOAT, None))
    found = {"float_macs": macs / real, "int8_macs": macs / whole, "bandwidth": _COPIES * 2 * 4 * size / copied}
    return found, {}


def _graph(nodes: list[tuple[str, list[str], str]], given: list[int], made: list[int], kind: int, result: int,
           weights: Any) -> bytes:  # fmt: skip
    """Return a small model as bytes."""
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output]) for op, inputs, output in nodes],
        "peak",
        [helper.make_tensor_value_info("x", kind, given)],
        [helper.make_tensor_value_info("y", result, made)],
        [] if weights is None else [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _seconds(model: bytes) -> float:
    """Return the seconds of a model's fastest call."""
    from edgemat.export import onnx

    session = onnx.session(model)
    first = session.get_inputs()[0]
    kind = np.uint8 if first.type == "tensor(uint8)" else np.float32
    feed = {"x": np.random.default_rng(1).integers(0, 128, first.shape).astype(kind)}
    fastest, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, feed)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
