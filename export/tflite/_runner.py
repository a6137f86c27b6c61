"""Run a .tflite file in LiteRT exactly as an app would: everything that it needs to know is read from the file."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgemat.errors import InputError
from edgemat.export._target import Runner
from edgemat.export.tflite import _flatbuffer, _metadata
from edgemat.export.tflite._reading import (
    activations_of,
    metadata_of,
    name_of,
    orders_of,
    read_bytes,
    read_model,
    shift_of,
    stated,
    type_of,
)

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images
    from edgemat.quantize.grid import Codes

SIGNATURE = "serving_default"


class LiteRTRunner(Runner):
    """A .tflite file in LiteRT, with its default XNNPACK delegate."""

    rounding = "xnnpack"

    def __init__(self, path: Path, num_threads: int = 1) -> None:
        """Load ``path``.

        Args:
            path: A .tflite file with one image input and one matte output.
            num_threads: Threads of the delegate.

        Raises:
            InputError: The file is not a whole .tflite model, or does not say how to normalise.
        """
        self._path = path
        self._content = read_bytes(path)
        self._interpreter = open_interpreter(self._content, path, num_threads=num_threads)
        self._metadata = _metadata.parse(metadata_of(read_model(self._content)), str(path))
        self._input, self._output = (
            details[0] for details in (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        )
        self._shown: Shown | None = None

    def run(self, images: Images) -> Alphas:
        """Run the file on RGB uint8 (N, H, W, 3); return alpha float32 (N, H, W)."""
        return np.stack([self.feed(self._interpreter, image) for image in images])

    def feed(self, interpreter: Any, image: Images) -> Alphas:
        """Run an interpreter of this file, or of a copy, on one image, (H, W, 3), as an app would; return its alpha."""
        mean, std = (np.array(v, np.float32) for v in (self._metadata.mean, self._metadata.std))
        real = (image.astype(np.float32) - mean) / std
        interpreter.set_tensor(self._input["index"], quantize(real[None], self._input))
        interpreter.invoke()
        return dequantize(interpreter.get_tensor(self._output["index"]), self._output)[0, :, :, 0]

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Run a copy of an integer file whose every tensor is an output, so that XNNPACK itself shows its codes."""
        if self._shown is None:
            self._shown = Shown(self._content, self._path)
        if not self._shown.names:
            return {}
        self.feed(self._shown.interpreter, image)
        return self._shown.codes()

    def trace(self, image: Images) -> Mapping[str, npt.NDArray[np.float32]]:
        """Run without a delegate, which would keep no inner tensor, and return the trunk's tensors as NCHW float32."""
        interpreter = open_interpreter(self._content, self._path, delegate=False)
        self.feed(interpreter, image)
        subgraph = read_model(self._content).subgraphs[0]
        written = {int(i) for op in subgraph.operators for i in op.outputs}
        found = {}
        for details in interpreter.get_tensor_details():
            # names with a '#' were made by the emitter: their values are laid out as the trunk never has them
            if details["index"] in written and "#" not in details["name"] and len(details["shape"]) == 4:
                value = dequantize(interpreter.get_tensor(details["index"]), details)
                found[details["name"]] = np.ascontiguousarray(value.transpose(0, 3, 1, 2))
        return found


class Shown:
    """A copy of an integer file that gives every activation away, and its interpreter.

    XNNPACK keeps no tensor inside a partition, but what a subgraph declares as its output it has to write. Kernels are
    chosen operator by operator, so they are the same as the file's own.

    Args:
        content: Of the file.
        path: For errors.
        delegate: Run XNNPACK's kernels; TFLite's own otherwise.

    Attributes:
        names: Of the trunk's tensors, by the file's index; none in a float file.
        copy: The copy's bytes.
        interpreter: Of the copy.
    """

    def __init__(self, content: bytes, path: Path, delegate: bool = True) -> None:
        """Make and open the copy."""
        model = read_model(content)
        graph = model.subgraphs[0]
        kept = [i for i in activations_of(model) if type_of(graph, i) == "int8"]
        labels = {i: name_of(graph, i).removesuffix("#dcr") for i in kept}
        self.names = {i: name for i, name in labels.items() if "#" not in name}
        self._orders, self._shift, self._same = orders_of(model), shift_of(model), stated(model).get("same", {})
        # an output that is an input too would be copied by nobody
        graph.outputs = [int(graph.outputs[0]), *(i for i in self.names if i not in (*graph.inputs, graph.outputs[0]))]
        model.signatureDefs = []
        self.copy = _flatbuffer.write(model)
        self.interpreter = open_interpreter(self.copy, path, delegate=delegate)

    def codes(self) -> dict[str, Codes]:
        """Return what the last run made: the trunk's names to int32, NCHW, in the grid's codes."""
        return self.read(self.interpreter.get_tensor)

    def read(self, value_of: Callable[[int], npt.NDArray[Any]]) -> dict[str, Codes]:
        """Return the codes of a run of the copy by another runtime, which gives each tensor by the file's index."""
        found = {}
        for index, name in self.names.items():
            value = value_of(index).astype(np.int32) + self._shift
            if index in self._orders:
                value = value[..., np.argsort(self._orders[index])]
            found[name] = np.ascontiguousarray(value.transpose(0, 3, 1, 2))
        return found | {name: found[source] for name, source in self._same.items()}


def open_interpreter(content: bytes, path: Path, num_threads: int = 1, delegate: bool = True) -> Any:
    """Return a LiteRT interpreter with its tensors allocated.

    Args:
        content: Of the file; LiteRT verifies it before use.
        path: For the error.
        num_threads: Threads of the delegate.
        delegate: Apply XNNPACK; without it every tensor is kept for `LiteRTRunner.trace`.

    Raises:
        InputError: LiteRT refuses the file.
    """
    kind = OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with _silence():
            interpreter = Interpreter(
                model_content=content,
                num_threads=num_threads,
                experimental_op_resolver_type=kind,
                experimental_preserve_all_tensors=not delegate,
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: LiteRT cannot load it ({error}); export the model again") from error
    return interpreter


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what LiteRT says while it loads a model: a greeting of its delegate and that kept tensors take memory.

    The greeting goes to file descriptor 2 from C++, which replacing ``sys.stderr`` would not catch. What goes wrong
    comes as an exception all the same.
    """
    with warnings.catch_warnings(), open(os.devnull, "w") as null:
        warnings.simplefilter("ignore")
        saved = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def quantize(real: npt.NDArray[np.float32], details: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return values as a tensor stores them: float32 as they are, integers by the tensor's scale and zero point."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return real.astype(dtype)
    scale, zero = details["quantization"]
    limits = np.iinfo(dtype)
    stored: npt.NDArray[Any] = np.clip(np.rint(real / np.float32(scale)) + zero, limits.min, limits.max)
    return stored.astype(dtype)


def dequantize(stored: npt.NDArray[Any], details: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Return the real values of a tensor's content, float32."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    scale, zero = details["quantization"]
    return (stored.astype(np.float32) - np.float32(zero)) * np.float32(scale)
