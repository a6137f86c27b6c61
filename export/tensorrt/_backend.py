"""What imports TensorRT, and so runs in a process of its own (`edgemat.export._isolated`); importing this does not."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]
_OLDEST = 10
"""TensorRT's first version with weights that are int8 in the file, in a network whose types are the graph's."""


def probe(arguments: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Return why no engine can be built here; an empty reason when one can."""
    import tensorrt
    import torch

    del arguments, arrays
    reason = ""
    if int(tensorrt.__version__.partition(".")[0]) < _OLDEST:
        reason = f"TensorRT {tensorrt.__version__}, expected {_OLDEST} or later"
    elif not torch.cuda.is_available():
        reason = "no NVIDIA GPU that torch can use"
    return {"reason": reason}, {}


def timed(arguments: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Return the figures of `edgemat.export.tensorrt._engine.Timing` for the file at ``path``."""
    import tensorrt
    import torch

    del arrays
    start = time.perf_counter()
    engine = Engine(Path(arguments["path"]))
    built = time.perf_counter() - start
    samples = []
    for _ in range(10 + arguments["runs"]):
        torch.cuda.synchronize()
        start = time.perf_counter()
        engine.execute()
        torch.cuda.synchronize()
        samples.append(time.perf_counter() - start)
    median = 1e3 * statistics.median(samples[10:])  # the first ones warm up
    device = torch.cuda.get_device_name()
    return {"version": tensorrt.__version__, "device": device, "build_seconds": built, "median_ms": median}, {}


class Engine:
    """A file, built for this machine's GPU.

    Args:
        path: The ONNX file.

    Raises:
        InputError: TensorRT refuses the file.
    """

    def __init__(self, path: Path) -> None:
        """Parse and build."""
        import tensorrt
        import torch

        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(_plan(path, self._logger))
        self._context = self._engine.create_execution_context()
        self._image, self._alpha = (
            torch.zeros(tuple(self._engine.get_tensor_shape(name)), dtype=torch.float32, device="cuda")
            for name in ("image", "alpha")
        )
        self._context.set_tensor_address("image", self._image.data_ptr())
        self._context.set_tensor_address("alpha", self._alpha.data_ptr())
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def execute(self) -> None:
        """Start a run of what stands in the input."""
        self._context.execute_async_v3(self._stream.cuda_stream)

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        import torch

        alphas = []
        for image in images:
            floats = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
            self._image.copy_(torch.from_numpy(floats))
            torch.cuda.synchronize()
            self.execute()
            torch.cuda.synchronize()
            alphas.append(self._alpha.cpu().numpy()[0, 0].copy())
        return np.stack(alphas)


def open_engine(path: Path) -> Engine:
    """Build an engine for `edgemat.export._isolated.IsolatedRunner`."""
    return Engine(path)


def _plan(path: Path, logger: Any) -> Any:
    """Return the serialised engine; types are the graph's own, so that nothing is computed in another precision."""
    import tensorrt

    builder = tensorrt.Builder(logger)
    typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # later versions know no other
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        errors = "\n  ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise InputError(f"{path}: TensorRT {tensorrt.__version__} cannot read it:\n  {errors}")
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise InputError(f"{path}: TensorRT {tensorrt.__version__} builds no engine of it; run trtexec --verbose on it")
    return plan
