"""TensorRT itself, where it and a GPU are: build an engine of a file, run it, time it, each in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import EdgematError
from edgemat.export import _isolated
from edgemat.export._isolated import IsolatedRunner
from edgemat.export._target import Runner, Unavailable

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.quantize.grid import Codes

_BACKEND = "edgemat.export.tensorrt._backend"
_INSTALL = "pip install tensorrt torch, on a machine with an NVIDIA GPU"
_BUILD_SECONDS = 1800.0


@dataclass(frozen=True)
class Timing:
    """An engine's figures.

    Attributes:
        version: Of TensorRT.
        device: Name of the GPU.
        build_seconds: To build the engine.
        median_ms: Median of one image, milliseconds, copies left out.
    """

    version: str
    device: str
    build_seconds: float
    median_ms: float


def unavailable() -> Unavailable | None:
    """Return why no engine can be built here, or None when one can."""
    missing = [name for name in ("tensorrt", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        return Unavailable(f"{', '.join(missing)} not installed", _INSTALL)
    try:
        reason = _isolated.call(f"{_BACKEND}:probe", timeout=120.0)[0]["reason"]
    except EdgematError as error:
        reason = str(error)
    return Unavailable(reason, _INSTALL) if reason else None


def timed(path: Path, runs: int = 200) -> Timing | Unavailable:
    """Build an engine of a file and time it.

    Args:
        path: What `edgemat.export.tensorrt._write.convert` wrote.
        runs: How many runs are timed.

    Raises:
        InputError: TensorRT refuses the file.
    """
    reason = unavailable()
    if reason is not None:
        return reason
    arguments = {"path": str(path), "runs": runs}
    return Timing(**_isolated.call(f"{_BACKEND}:timed", arguments, timeout=_BUILD_SECONDS)[0])


class EngineRunner(Runner):
    """An engine of a file; its inner tensors, which fusion hides, are those of the graph.

    Args:
        path: The file.
        graph: The same file, operator by operator.

    Raises:
        InputError: TensorRT refuses the file.
        IsolatedError: TensorRT crashed.
    """

    def __init__(self, path: Path, graph: Runner) -> None:
        """Build the engine."""
        self._graph, self.rounding = graph, graph.rounding
        self._engine = IsolatedRunner(f"{_BACKEND}:open_engine", path, timeout=_BUILD_SECONDS)

    def run(self, images: Images) -> Alphas:
        """Return the engine's alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        return self._engine.run(images)

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return the graph's codes of one image, uint8, (H, W, 3)."""
        return self._graph.codes(image)

    def trace(self, image: Images) -> Tensors:
        """Return the graph's tensors of one image, uint8, (H, W, 3)."""
        return self._graph.trace(image)

    def close(self) -> None:
        """End the engine's process."""
        self._engine.close()
