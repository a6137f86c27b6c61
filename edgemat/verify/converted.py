"""Run a quantized student as what it becomes: an integer file, on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgemat.export.onnx import OnnxRunner


class Converted:
    """A quantized student that is converted to ONNX, int8, once for each size of image that it is given.

    Example:
        ``Converted(Path("student-static_w8c_a8.safetensors"))(images)``
    """

    def __init__(self, path: Path) -> None:
        """Take a file of `edgemat.quantize.checkpoint.save`; it is read when the first image comes."""
        self.path = path
        self._runners: dict[tuple[int, int], OnnxRunner] = {}

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return alpha, float32, (N, H, W), in [0, 1], of RGB images, uint8, (N, H, W, 3).

        Raises:
            InputError: The file or the size cannot be used.
        """
        height, width = images.shape[1:3]
        if (height, width) not in self._runners:
            self._runners[height, width] = self._convert(height, width)
        return self._runners[height, width].run(images)

    def _convert(self, height: int, width: int) -> OnnxRunner:
        from edgemat.export import _trunk, onnx

        with TemporaryDirectory() as folder:
            trunk = _trunk.from_student(self.path, height, width, Path(folder) / "trunk.onnx")
            onnx.convert(trunk, "int8", Path(folder) / "int8.onnx")
            return onnx.OnnxRunner(Path(folder) / "int8.onnx")
