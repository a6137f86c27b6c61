"""The torch reference on 8-bit images: batches change nothing."""

from __future__ import annotations

import numpy as np
import torch

from edgemat.model.predict import predict
from edgemat.model.student import Student, StudentConfig


def test_batches_change_nothing_and_pixels_are_scaled_once() -> None:
    torch.manual_seed(0)
    net = Student(StudentConfig(widths=(8, 8, 8), depths=(0, 0, 0))).train()
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), np.uint8)
    alpha = predict(net, images, batch=2)
    assert not net.training
    assert alpha.shape == (5, 32, 48)
    assert alpha.dtype == np.float32
    with torch.no_grad():
        last = net(torch.from_numpy(images[4:].transpose(0, 3, 1, 2).astype(np.float32) / 255))
    np.testing.assert_allclose(alpha[4], last[0, 0].numpy(), atol=1e-6)
