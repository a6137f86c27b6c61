"""The torch reference on 8-bit images: batches change nothing."""

from __future__ import annotations

import numpy as np
import torch

from edgemat.model.predict import predict, predict_teacher
from edgemat.model.student import Student, StudentConfig
from edgemat.model.teacher import Teacher, TeacherConfig


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


def test_a_mirrored_view_makes_a_teachers_word_the_mean_of_two_and_itself_mirrored() -> None:
    torch.manual_seed(0)
    net = Teacher(TeacherConfig(widths=(4, 8), depths=(0, 1)))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    once, mirrored = predict_teacher(net, images), predict_teacher(net, np.ascontiguousarray(images[:, :, ::-1]))
    both, again = predict_teacher(net, images, flip=True), predict_teacher(net, images[:, :, ::-1], flip=True)
    for place in range(2):
        np.testing.assert_array_equal(both[place], (once[place] + mirrored[place][:, :, ::-1]) / 2)
        np.testing.assert_array_equal(again[place], both[place][:, :, ::-1])
