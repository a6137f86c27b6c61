"""Run a student on 8-bit images with torch: the reference that every export is measured from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from edgemat.model.student import Student


@torch.no_grad()
def predict(net: Student, images: npt.NDArray[np.uint8], batch: int = 16) -> npt.NDArray[np.float32]:
    """Run a student on 8-bit images in float32.

    Args:
        net: The network; it is put in evaluation mode.
        images: RGB, uint8, (N, H, W, 3).
        batch: Images at a time.

    Returns:
        Alpha, float32, (N, H, W), in [0, 1].
    """
    net.eval()
    parts = []
    for i in range(0, len(images), batch):
        x = torch.from_numpy(images[i : i + batch]).permute(0, 3, 1, 2).float() / 255.0
        parts.append(net(x)[:, 0].numpy())
    return np.concatenate(parts)
