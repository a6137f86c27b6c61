"""Run an ONNX file on Apple's Core AI runtime; started by the Python that has coreai-core and coreai-onnx.

Usage: ``python coreai_oracle.py MODEL.onnx PIXELS.npy ALPHA.npy``, pixels float32 (N, 3, H, W), one image a call.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import coreai_onnx
import numpy as np
import onnx
from coreai.authoring import AIModelAsset
from coreai.runtime import NDArray


async def _run(asset_path: Path, source: str, result: str, pixels: np.ndarray) -> np.ndarray:
    """Return the output for every image."""
    async with AIModelAsset.load(asset_path).executable() as model:
        function = model.load_function("main")
        outputs = [await function({source: NDArray(image[None])}) for image in pixels]
        return np.concatenate([np.array(o[result].numpy()) for o in outputs])


def main(model_path: str, pixels_path: str, out_path: str) -> None:
    """Convert, run, save."""
    graph = onnx.load(model_path).graph
    with tempfile.TemporaryDirectory() as folder:
        asset_path = Path(folder) / "network.aimodel"
        coreai_onnx.convert(model_path).save_asset(asset_path)
        pixels = np.load(pixels_path, allow_pickle=False)
        names = graph.input[0].name, graph.output[0].name
        np.save(out_path, asyncio.run(_run(asset_path, *names, pixels)))


if __name__ == "__main__":
    main(*sys.argv[1:])
