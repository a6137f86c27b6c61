"""Run networks on 8-bit images with torch; a student's alpha is the reference that every export is measured from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgemat.model.teacher import Teacher


@torch.no_grad()
def predict(net: nn.Module, images: npt.NDArray[np.uint8], batch: int = 16) -> npt.NDArray[np.float32]:
    """Run a student on 8-bit images in float32.

    Args:
        net: A student, or what gives alpha of images as one does; it is put in evaluation mode.
        images: RGB, uint8, (N, H, W, 3).
        batch: Images at a time.

    Returns:
        Alpha, float32, (N, H, W), in [0, 1].
    """
    net.eval()
    parts = []
    for i in range(0, len(images), batch):
        parts.append(net(_unit(images[i : i + batch]))[:, 0].numpy())
    return np.concatenate(parts)


@torch.no_grad()
def predict_teacher(
    net: Teacher, images: npt.NDArray[np.uint8], batch: int = 16, flip: bool = False
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run a teacher on 8-bit images in float32.

    Args:
        net: The network; it is put in evaluation mode.
        images: RGB, uint8, (N, H, W, 3).
        batch: Images at a time.
        flip: Return the means over each image and its mirror image (`Teacher.word`).

    Returns:
        Alpha, float32, (N, H, W), in [0, 1]; and its expected absolute error, the same shape, positive.
    """
    net.eval()
    alphas, doubts = [], []
    for i in range(0, len(images), batch):
        alpha, doubt = net.word(_unit(images[i : i + batch]), flip)
        alphas.append(alpha[:, 0].numpy())
        doubts.append(doubt[:, 0].numpy())
    return np.concatenate(alphas), np.concatenate(doubts)


def _unit(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return RGB, float32, (N, 3, H, W), in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0
