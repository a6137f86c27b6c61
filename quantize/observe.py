"""Run a float graph on calibration images and keep what ranges are chosen from: extremes and histograms, no tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.quantize import rules
from edgemat.quantize.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

    Images = npt.NDArray[np.uint8]
    Tensors = Mapping[str, npt.NDArray[np.float32]]

BINS = 4096
"""Bins of a histogram: 16 a code of 8 bits."""
BLOCKS = 32
"""Histograms a group of tensors: one an image while there are no more, so that memory does not grow with the set."""


@dataclass(frozen=True, eq=False)
class Stats:
    """What the tensors of one group (those that share a scale) were on the calibration images.

    Attributes:
        names: The tensors.
        lows: Smallest value on each image, float64, (N,).
        highs: Largest value on each image, float64, (N,).
        start: Where the histogram begins: 0 or below.
        stop: Where it ends: above ``start``.
        counts: Share of each tensor's values in each bin, summed over the group's tensors and a block's images,
            float64, (blocks, bins). Image ``i`` is in block ``i % blocks``.
    """

    names: tuple[str, ...]
    lows: npt.NDArray[np.float64]
    highs: npt.NDArray[np.float64]
    start: float
    stop: float
    counts: npt.NDArray[np.float64]

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        width = (self.stop - self.start) / self.counts.shape[1]
        middles: npt.NDArray[np.float64] = self.start + width * (np.arange(self.counts.shape[1]) + 0.5)
        return middles

    def resampled(self, blocks: npt.NDArray[np.int64]) -> Stats:
        """Return the same of a sample of the blocks, drawn with repetition; their images come with them."""
        images = np.concatenate([np.arange(b, len(self.lows), len(self.counts)) for b in blocks])
        return Stats(self.names, self.lows[images], self.highs[images], self.start, self.stop, self.counts[blocks])


def observe(model: ModelProto, graph: Graph, images: Images, origin: str = "the trunk") -> tuple[Stats, ...]:
    """Run a float graph on images and return what was seen, a group of `rules.groups` each, in their order.

    Args:
        model: Float32, opset 18, fixed shapes.
        graph: The same, read.
        images: RGB, uint8, (N, H, W, 3), H and W those of the graph.
        origin: The file, for errors.

    Raises:
        InputError: No images, or not such ones; or a tensor became NaN or infinite.
    """
    check_images(graph, images, origin)
    groups, count = rules.groups(graph), len(images)
    lows, highs = np.zeros((len(groups), count)), np.zeros((len(groups), count))
    for i, values in enumerate(run(model, rules.tensors(graph), images)):
        _check_finite(values, i, origin)
        for k, group in enumerate(groups):
            lows[k, i] = min(float(values[name].min()) for name in group)
            highs[k, i] = max(float(values[name].max()) for name in group)
    starts, stops = np.minimum(lows.min(1), 0.0), np.maximum(highs.max(1), 0.0)
    stops = np.where(stops > starts, stops, starts + 1.0)  # a tensor that is always 0 gets a histogram, too
    counts = np.zeros((len(groups), min(count, BLOCKS), BINS))
    for i, values in enumerate(run(model, rules.tensors(graph), images)):
        for k, group in enumerate(groups):
            for name in group:
                counts[k, i % BLOCKS] += _histogram(values[name], starts[k], stops[k])
    return tuple(
        Stats(group, lows[k], highs[k], float(starts[k]), float(stops[k]), counts[k]) for k, group in enumerate(groups)
    )


def check_images(graph: Graph, images: Images, origin: str) -> None:
    """Raise unless there are images of a graph's size.

    Raises:
        InputError: There are none, they have another type or shape, or show nothing.
    """
    height, width = graph.shapes[graph.inputs[0]][2:]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
        found = f"{images.dtype} {images.shape}"
        raise InputError(f"{origin}: calibration images {found}, expected uint8 (N, {height}, {width}, 3)")
    if not len(images):
        raise InputError(f"{origin}: no calibration images; ranges are never guessed: name a folder with --calibration")
    if all(image.min() == image.max() for image in images):
        raise InputError(
            f"{origin}: each of the {len(images)} calibration images is of one single value, which shows no range; "
            "expected photos: name a folder with --calibration, or none for the shipped images"
        )


def run(model: ModelProto, names: tuple[str, ...], images: Images) -> Iterator[Tensors]:
    """Yield the tensors ``names`` of a float graph for each image, uint8, (H, W, 3), in order."""
    import onnx

    feed = model.graph.input[0].name
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != feed)
    opened = session(shown.SerializeToString())
    for image in images:
        value = to_float(image)
        made: list[Any] = opened.run(None, {feed: value})
        yield dict(zip((o.name for o in shown.graph.output), made, strict=True)) | {feed: value}


def to_float(image: Images) -> npt.NDArray[np.float32]:
    """Return an image, uint8, (H, W, 3), as a graph takes it: float32, (1, 3, H, W), in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def session(model: bytes) -> InferenceSession:
    """Open a serialised model on one thread of the CPU, so that the same images always give the same values."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a failure is raised; a second copy of it on stderr helps nobody
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _check_finite(values: Tensors, image: int, origin: str) -> None:
    for name, value in values.items():
        bad = int(np.size(value) - np.isfinite(value).sum())
        if bad:
            raise InputError(
                f"{origin}: tensor {name}: {bad} of {np.size(value)} values NaN or infinite on calibration image "
                f"{image}; the weights overflow: use an earlier checkpoint"
            )


def _histogram(value: npt.NDArray[np.float32], start: float, stop: float) -> npt.NDArray[np.float64]:
    places = (value.ravel() - np.float32(start)) * np.float32(BINS / (stop - start))
    found = np.bincount(np.clip(places.astype(np.int64), 0, BINS - 1), minlength=BINS)
    return found / value.size
