"""Run a package: by Core ML itself on a Mac, by the interpreter everywhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.export._target import Runner
from edgemat.export.coreml import _coremltools
from edgemat.export.coreml._interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.quantize.grid import Codes


class CoreML(Runner):
    """Core ML on this Mac, on whichever unit it chooses; inner tensors come from the interpreter."""

    def __init__(self, path: Path) -> None:
        """Compile and load the package at ``path``."""
        self._interpreter = Interpreter(path)
        self.rounding = self._interpreter.rounding
        self._model: Any = _coremltools.load().models.MLModel(str(path))

    def run(self, images: Images) -> Alphas:
        """Run RGB images, uint8 (N, H, W, 3), as an app does; return alpha, float32 (N, H, W)."""
        from PIL import Image

        alphas = []
        for image in images:
            result = self._model.predict({"image": Image.fromarray(image)})["alpha"]
            alphas.append(np.asarray(result, np.float32).reshape(image.shape[:2]))  # a grey image or an array
        return np.stack(alphas)

    def trace(self, image: Images) -> Tensors:
        """Return the inner tensors that the interpreter computes: Core ML shows none."""
        return self._interpreter.trace(image)

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return the codes that the interpreter computes, for the same reason."""
        return self._interpreter.codes(image)


def load(path: Path) -> Runner:
    """Open a package for running.

    Args:
        path: The .mlpackage folder.

    Returns:
        Core ML itself on macOS, the interpreter elsewhere.

    Raises:
        InputError: The package cannot be read.
        UnsupportedOpError: It holds MIL operators that the interpreter does not know.
    """
    return CoreML(path) if sys.platform == "darwin" else Interpreter(path)
