"""Measure ranges on real images: peaks of tensors, running sums of convolutions, the codes that are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemat.verify.lint.facts import Facts, Measured, Peak, Sums, Use, Weighted

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from edgemat.export._target import Images, Tensors

    Trace = Callable[[Images], Tensors]

Scales = Mapping[str, tuple[float, int]]


def measure(
    facts: Facts,
    trace: Trace,
    images: Images,
    grids: Mapping[str, tuple[Scales, tuple[int, int]]] | None = None,
) -> dict[str, Measured]:
    """Run a network on images and keep what its tensors were, never the tensors.

    Args:
        facts: Of the network that is run; its `Facts.weighted` are what sums are taken of.
        trace: Returns its tensors for one image, uint8, (H, W, 3): name to float32 NCHW.
        images: RGB, uint8, (N, H, W, 3), at its size.
        grids: By a key of the caller's: scale and zero point of each tensor, and the smallest and the largest code.

    Returns:
        By the caller's keys; under the empty key what holds without any grid.
    """
    peaks: dict[str, float] = {}
    sums = [_Summed(w) for w in facts.weighted]
    uses = {key: _Used(scales, limits) for key, (scales, limits) in (grids or {}).items()}
    for image in images:
        tensors = dict(trace(image))
        name = facts.inputs[0] if facts.inputs else "image"
        tensors.setdefault(name, np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255))
        for tensor, value in tensors.items():
            peaks[tensor] = max(peaks.get(tensor, 0.0), float(np.abs(value).max(initial=0.0)))
        for summed in sums:
            summed.add(tensors)
        for used in uses.values():
            used.add(tensors)
    found = [summed.sums(peaks) for summed in sums if summed.seen]
    common = (len(images), tuple(Peak(*item) for item in peaks.items()), tuple(found))
    return {"": Measured(*common)} | {key: Measured(*common, used.uses()) for key, used in uses.items()}


class _Summed:
    """Running sums of one convolution: its positive and its negative products apart, by ONNX Runtime."""

    def __init__(self, weighted: Weighted) -> None:
        self.weighted, self.seen = weighted, False
        self.result = self.running = self.absolute = 0.0
        self._session: InferenceSession | None = None

    def add(self, tensors: Tensors) -> None:
        """Add one image; nothing where what it reads is not shown."""
        value = tensors.get(self.weighted.source)
        if value is None or value.ndim != 4:
            return
        if self._session is None:
            self._session = _session(self.weighted, value.shape)
        result, running, absolute = (float(v) for v in self._session.run(None, {"x": value.astype(np.float32)}))
        self.result, self.running = max(self.result, result), max(self.running, running)
        self.absolute, self.seen = max(self.absolute, absolute), True

    def sums(self, peaks: Mapping[str, float]) -> Sums:
        """Return what was seen."""
        w = self.weighted
        rest = tuple(axis for axis in range(w.weight.ndim) if axis != w.axis)
        heaviest = float(np.abs(w.weight.astype(np.float64)).sum(rest).max(initial=0.0))
        bound = heaviest * peaks.get(w.source, 0.0)
        return Sums(w.op, w.output, self.result, self.running, self.absolute, bound)


def _session(w: Weighted, shape: tuple[int, ...]) -> InferenceSession:
    """Return a model that gives, over all places: the largest sum, running sum and sum of magnitudes.

    What is read and the weights are split by sign, so that the positive products are added apart from the negative.
    """
    from onnx import TensorProto, helper, numpy_helper

    from edgemat.export.onnx import session

    make = helper.make_node
    constants = {"up": np.maximum(w.weight, 0), "down": np.maximum(-w.weight, 0)}
    constants["bias"] = (np.zeros(w.weight.shape[w.axis], np.float32) if w.bias is None else w.bias).reshape(-1, 1, 1)
    nodes = [make("Relu", ["x"], ["high"]), make("Neg", ["x"], ["minus"]), make("Relu", ["minus"], ["low"])]
    for read in ("high", "low"):
        nodes += [make(w.kind, [read, sign], [f"{read}.{sign}"], **w.attributes) for sign in ("up", "down")]
    nodes += [
        make("Add", ["high.up", "low.down"], ["positive"]),
        make("Add", ["high.down", "low.up"], ["negative"]),
        make("Sub", ["positive", "negative"], ["products"]),
        make("Add", ["products", "bias"], ["sum"]),
        make("Abs", ["sum"], ["size"]),
        make("Max", ["positive", "negative"], ["larger"]),
        make("Add", ["positive", "negative"], ["both"]),
    ]
    outputs = []
    for name in ("size", "larger", "both"):
        nodes.append(make("ReduceMax", [name], [f"{name}.max"], keepdims=0))
        outputs.append(helper.make_tensor_value_info(f"{name}.max", TensorProto.FLOAT, []))
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, shape[1], None, None])
    kept = [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "sums", [source], outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return session(model.SerializeToString())


class _Used:
    """Which codes of each tensor occur."""

    def __init__(self, scales: Scales, limits: tuple[int, int]) -> None:
        self._scales, self._limits = scales, limits
        self._seen = {name: np.zeros(limits[1] - limits[0] + 1, bool) for name in scales}
        self._beyond: dict[str, int] = dict.fromkeys(scales, 0)
        self._count: dict[str, int] = dict.fromkeys(scales, 0)

    def add(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add one image."""
        low, high = self._limits
        for name, (scale, zero) in self._scales.items():
            value = tensors.get(name)
            if value is None or scale <= 0:
                continue
            codes = np.rint(value.astype(np.float32) / np.float32(scale)) + zero
            self._beyond[name] += int(((codes < low - 1) | (codes > high + 1)).sum())
            self._count[name] += codes.size
            self._seen[name][np.clip(codes, low, high).astype(np.int64).ravel() - low] = True

    def uses(self) -> tuple[Use, ...]:
        """Return what was seen, tensors that were never shown left out."""
        return tuple(
            Use(name, int(self._seen[name].sum()), self._seen[name].size, self._beyond[name] / count, scale)
            for name, (scale, _) in self._scales.items()
            if (count := self._count[name])
        )


def occurring(codes: Sequence[Mapping[str, npt.NDArray[np.int32]]], scales: Scales) -> tuple[Use, ...]:
    """Return how the codes of each tensor are used in some runs of 8 bits.

    Args:
        codes: Of each run, by tensor.
        scales: Scale and zero point by tensor, as far as they are known.

    Example:
        >>> occurring([{"a": np.array([3, 3, 4], np.int32)}], {})[0].codes
        2
    """
    names = dict.fromkeys(name for run in codes for name in run)
    found = {name: np.unique(np.concatenate([np.unique(run[name]) for run in codes if name in run])) for name in names}
    return tuple(Use(name, len(seen), 256, 0.0, scales.get(name, (0.0, 0))[0]) for name, seen in found.items())


def pick(number: int, count: int) -> list[int]:
    """Return the places of ``count`` of so many images, evenly spaced, all where there are no more.

    Example:
        >>> pick(9, 3)
        [0, 4, 8]
    """
    if number <= count:
        return list(range(number))
    return [round(i * (number - 1) / max(count - 1, 1)) for i in range(count)]
