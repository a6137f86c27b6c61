"""The student networks: one RGB image in, alpha out, built of operators that phone accelerators keep."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDE = 16
"""The deepest features stand for squares of this many input pixels: height and width are multiples of it."""

PATCH = 4
"""Side of the square of pixels that one feature at the finest level stands for."""


@dataclass(frozen=True)
class Normalization:
    """What is done to RGB in [0, 1] before the first convolution: ``(x - mean) / std``, per channel.

    This is the only place that states it. It is part of the network (`Student.deploy` keeps it inside the graph), so no
    app, target or test ever normalises by itself.

    Attributes:
        mean: Subtracted, R, G, B, in [0, 1].
        std: Divided by, R, G, B, positive.
    """

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        """Refuse a division by zero."""
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, found {self.std}")


@dataclass(frozen=True)
class StudentConfig:
    """Everything that is needed to rebuild a student, saved beside its weights.

    Attributes:
        arch: ``friendly`` (patchify stem, dense 3x3 blocks) or ``mobile`` (inverted residuals with depthwise 3x3).
        widths: Channels at 1/4, 1/8 and 1/16 of the input's size.
        depths: Residual blocks at 1/4, 1/8 and 1/16.
        normalization: Applied to RGB in [0, 1] inside the network.
    """

    arch: str = "friendly"
    widths: tuple[int, int, int] = (32, 64, 80)
    depths: tuple[int, int, int] = (0, 1, 2)
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        if self.arch not in ARCHITECTURES:
            raise ValueError(f"arch {self.arch!r}, expected one of {', '.join(ARCHITECTURES)}")
        if len(self.widths) != 3 or min(self.widths) < 4:
            raise ValueError(f"widths {self.widths}, expected three numbers of at least 4")
        if len(self.depths) != 3 or min(self.depths) < 0:
            raise ValueError(f"depths {self.depths}, expected three numbers of at least 0")


def conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution and batch normalisation, 'same' padding at stride 1, none for a patch (kernel = stride)."""
    pad = 0 if kernel == stride else kernel // 2
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(cout))


class Bottleneck(nn.Module):
    """Halve the channels by 1x1, filter by dense 3x3, restore by 1x1, with a residual: (N, C, h, w) to itself."""

    def __init__(self, width: int) -> None:
        """Build a block of ``width`` channels."""
        super().__init__()
        self.reduce = conv(width, width // 2, 1)
        self.filter = conv(width // 2, width // 2, 3)
        self.restore = conv(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(x + f(x))."""
        y = torch.relu(self.filter(torch.relu(self.reduce(x))))
        return torch.relu(x + self.restore(y))


class Block(nn.Module):
    """Two dense 3x3 convolutions with a residual: (N, C, h, w) to the same shape."""

    def __init__(self, width: int) -> None:
        """Build a block of ``width`` channels."""
        super().__init__()
        self.first = conv(width, width, 3)
        self.second = conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(x + f(x))."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class InvertedResidual(nn.Module):
    """MobileNetV2's block with ReLU6: expand 1x1, depthwise 3x3, project 1x1."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        """Build a block of ``width`` channels that works at ``expansion`` times as many inside."""
        super().__init__()
        inner = width * expansion
        self.expand = conv(width, inner, 1)
        self.depthwise = conv(inner, inner, 3, groups=inner)
        self.project = conv(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + f(x)."""
        y: Tensor = nn.functional.relu6(self.expand(x))
        y = self.project(nn.functional.relu6(self.depthwise(y)))
        return x + y


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 with ReLU6, as a MobileNet decoder has it."""

    def __init__(self, width: int) -> None:
        """Build a block of ``width`` channels."""
        super().__init__()
        self.depthwise = conv(width, width, 3, groups=width)
        self.pointwise = conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered features."""
        return nn.functional.relu6(self.pointwise(nn.functional.relu6(self.depthwise(x))))


class DenseDecoderBlock(nn.Module):
    """One dense 3x3 convolution with ReLU."""

    def __init__(self, width: int) -> None:
        """Build a block of ``width`` channels."""
        super().__init__()
        self.body = conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered features."""
        return torch.relu(self.body(x))


class Student(nn.Module):
    """Patch encoder with residual blocks, additive skips, bilinear decoder, and a head that shuffles cells to pixels.

    Nothing works above 1/4 of the input's size, where int8 gains least. The decoder's and the head's 3x3 convolutions
    see across the 4x4 cells that the shuffle lays out, so edges are smooth where a stride-4 transposed convolution
    leaves blocks.

    Example:
        >>> net = Student(StudentConfig()).eval()
        >>> tuple(net(torch.zeros(1, 3, 64, 64)).shape)
        (1, 1, 64, 64)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: StudentConfig) -> None:
        """Build the network of ``config`` with fresh weights."""
        super().__init__()
        self.config = config
        block, decoder_block = ARCHITECTURES[config.arch]
        norm = config.normalization
        self.register_buffer("mean", torch.tensor(norm.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(norm.std).view(1, 3, 1, 1), persistent=False)
        widths = config.widths
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList([conv(3, widths[0], PATCH, PATCH), *(conv(a, b, 2, 2) for a, b in pairs)])
        self.stages = nn.ModuleList(
            nn.Sequential(*[block(w) for _ in range(d)]) for w, d in zip(widths, config.depths, strict=True)
        )
        self.laterals = nn.ModuleList(conv(b, a, 1) for a, b in pairs)
        self.decoders = nn.ModuleList(decoder_block(a) for a, _ in pairs)
        self.head = nn.Conv2d(widths[0], PATCH * PATCH, 3, padding=1)
        nn.init.constant_(self.head.bias, 0.5)  # type: ignore[arg-type]  # half-way: neither end of the clamp is dead

    def logits(self, image: Tensor) -> Tensor:
        """Return alpha before the clamp.

        Args:
            image: RGB, float32, (N, 3, H, W), in [0, 1]; H and W divisible by `STRIDE`.

        Returns:
            float32, (N, 1, H, W), unbounded; 0 and 1 are the ends of alpha.
        """
        return nn.functional.pixel_shuffle(self._cells(image), PATCH)

    def _cells(self, image: Tensor) -> Tensor:
        """Return alpha before the clamp as the channels of 4x4 cells, (N, 16, H / 4, W / 4)."""
        y = (image - self.mean) / self.std
        skips = []
        for down, stage in zip(self.downs, self.stages, strict=True):
            y = stage(torch.relu(down(y)))
            skips.append(y)
        levels = list(zip(self.laterals, self.decoders, skips[:-1], strict=True))
        for lateral, decoder, skip in reversed(levels):
            y = nn.functional.interpolate(lateral(y), scale_factor=2.0, mode="bilinear", align_corners=False)
            y = decoder(torch.relu(y + skip))
        cells: Tensor = self.head(y)
        return cells

    def forward(self, image: Tensor) -> Tensor:
        """Return alpha.

        Args:
            image: RGB, float32, (N, 3, H, W), in [0, 1].

        Returns:
            Skin matte, float32, (N, 1, H, W), in [0, 1]; exactly 0 and exactly 1 are reached.
        """
        # Clamped before the shuffle, so that a converter can fuse the clamp into the head's convolution.
        return nn.functional.pixel_shuffle(self._cells(image).clamp(0.0, 1.0), PATCH)

    def deploy(self) -> Student:
        """Return a copy for export: batch normalisation folded, normalisation folded into the first convolution.

        Both folds are exact, up to rounding: the first convolution has no padding, so no border sees an un-normalised
        zero.
        """
        net = copy.deepcopy(self).eval()
        for module in net.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.Sequential) and len(child) == 2:
                    layer, norm = child
                    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                        module.register_module(name, fuse_conv_bn_eval(layer, norm))
        _fold_normalization(net.downs[0], self.config.normalization)
        net.mean.zero_()
        net.std.fill_(1.0)
        return net


def count_macs(net: nn.Module, height: int, width: int) -> int:
    """Count the multiply-accumulates of all convolutions for one image.

    Args:
        net: Takes (1, 3, height, width).
        height: Rows of the image.
        width: Columns of the image.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), 4, 4)
        3456
    """
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += output[0].numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    try:
        with torch.no_grad():
            net(torch.zeros(1, 3, height, width))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _fold_normalization(layer: nn.Module, norm: Normalization) -> None:
    """Fold (x - mean) / std into an unpadded convolution, in float64."""
    if not isinstance(layer, nn.Conv2d) or layer.bias is None or any(int(p) for p in layer.padding):
        raise TypeError(f"normalisation folds only into an unpadded convolution with a bias, found {layer}")
    weight = layer.weight.data.double() / torch.tensor(norm.std).view(1, 3, 1, 1).double()
    shift = (weight * torch.tensor(norm.mean).view(1, 3, 1, 1).double()).sum((1, 2, 3))
    layer.bias.data = (layer.bias.data.double() - shift).float()
    layer.weight.data = weight.float()


ARCHITECTURES: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "friendly": (Block, DenseDecoderBlock),
    "bottleneck": (Bottleneck, DenseDecoderBlock),
    "mobile": (InvertedResidual, SeparableBlock),
}
"""Encoder block and decoder block of each architecture."""
