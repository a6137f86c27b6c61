"""The teacher network: alpha with a scale of its own error at every pixel; it trains students and is never exported."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgemat.model.student import Block, DenseDecoderBlock, Normalization, conv

_LAST = 2
"""The finest features stand for squares of this many pixels; the heads shuffle them to pixels."""


EXPECTED_ERROR = {"laplace": 1.0, "gaussian": math.sqrt(2.0 / math.pi)}
"""Expected absolute error of each likelihood, in units of its scale (b of Laplace, standard deviation of Gauss)."""


@dataclass(frozen=True)
class TeacherConfig:
    """Everything that is needed to rebuild a teacher, saved beside its weights.

    Attributes:
        widths: Channels at 1/2, 1/4, 1/8, ... of the input's size, two levels or more.
        depths: Residual blocks at each of these.
        log_scale: Lowest and highest log of the error's scale. Truth is stored in 8 bits, so errors below
            1/510 = exp(-6.2) cannot be told from none, and no error of alpha exceeds 1 = exp(0).
        likelihood: ``laplace`` or ``gaussian``: the distribution that the scale belongs to, by which it is trained.
        normalization: Applied to RGB in [0, 1] inside the network.
    """

    widths: tuple[int, ...] = (16, 48, 96, 192, 320)
    depths: tuple[int, ...] = (0, 1, 1, 2, 2)
    log_scale: tuple[float, float] = (-6.0, 0.5)
    likelihood: str = "laplace"
    normalization: Normalization = field(default_factory=Normalization)

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        if self.likelihood not in EXPECTED_ERROR:
            raise ValueError(f"likelihood {self.likelihood!r}, expected one of {', '.join(EXPECTED_ERROR)}")
        if len(self.widths) < 2 or min(self.widths) < 4:
            raise ValueError(f"widths {self.widths}, expected two or more numbers of at least 4")
        if len(self.depths) != len(self.widths) or min(self.depths) < 0:
            raise ValueError(f"depths {self.depths}, expected {len(self.widths)} numbers of at least 0")
        if len(self.log_scale) != 2 or not self.log_scale[0] < self.log_scale[1]:
            raise ValueError(f"log_scale {self.log_scale}, expected a lower and a higher bound")

    @property
    def stride(self) -> int:
        """Height and width of an image are multiples of this many pixels."""
        return int(2 ** len(self.widths))


class Teacher(nn.Module):
    """A deeper and wider encoder and decoder than the student's, down from 1/2 of the input's size, with two heads.

    The second head learns how large the first one's error will be (Kendall and Gal, "What uncertainties do we need in
    Bayesian deep learning for computer vision?", 2017).

    Example:
        >>> net = Teacher(TeacherConfig(widths=(4, 8), depths=(0, 1))).eval()
        >>> alpha, log_scale = net(torch.zeros(1, 3, 64, 64))
        >>> tuple(alpha.shape), tuple(log_scale.shape)
        ((1, 1, 64, 64), (1, 1, 64, 64))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: TeacherConfig) -> None:
        """Build the network of ``config`` with fresh weights."""
        super().__init__()
        self.config = config
        norm = config.normalization
        self.register_buffer("mean", torch.tensor(norm.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(norm.std).view(1, 3, 1, 1), persistent=False)
        widths = config.widths
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList([conv(3, widths[0], _LAST, _LAST), *(conv(a, b, 2, 2) for a, b in pairs)])
        self.stages = nn.ModuleList(
            nn.Sequential(*[Block(w) for _ in range(d)]) for w, d in zip(widths, config.depths, strict=True)
        )
        self.laterals = nn.ModuleList(conv(b, a, 1) for a, b in pairs)
        self.decoders = nn.ModuleList(DenseDecoderBlock(a) for a, _ in pairs)
        self.alpha = nn.Conv2d(widths[0], _LAST * _LAST, 3, padding=1)
        self.doubt = nn.Sequential(
            conv(widths[0], widths[0], 3), nn.ReLU(), nn.Conv2d(widths[0], _LAST * _LAST, 3, padding=1)
        )
        nn.init.constant_(self.alpha.bias, 0.5)  # type: ignore[arg-type]  # half-way: neither end of the clamp is dead

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha before the clamp, and the log of its error's scale.

        Args:
            image: RGB, float32, (N, 3, H, W), in [0, 1]; H and W divisible by `TeacherConfig.stride`.

        Returns:
            Two of float32, (N, 1, H, W): alpha, unbounded; log scale, within `TeacherConfig.log_scale`.
        """
        y = (image - self.mean) / self.std
        skips = []
        for down, stage in zip(self.downs, self.stages, strict=True):
            y = stage(torch.relu(down(y)))
            skips.append(y)
        for lateral, decoder, skip in reversed(list(zip(self.laterals, self.decoders, skips[:-1], strict=True))):
            y = nn.functional.interpolate(lateral(y), scale_factor=2.0, mode="bilinear", align_corners=False)
            y = decoder(torch.relu(y + skip))
        alpha = nn.functional.pixel_shuffle(self.alpha(y), _LAST)
        doubt = nn.functional.pixel_shuffle(self.doubt(y), _LAST)
        low, high = self.config.log_scale
        # A hard clamp has no gradient beyond its ends, so a pixel that was once too sure would stay so.
        return alpha.float(), low + (high - low) * torch.sigmoid(doubt.float())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and the log of its error's scale.

        Args:
            image: RGB, float32, (N, 3, H, W), in [0, 1].

        Returns:
            Skin matte, float32, (N, 1, H, W), in [0, 1]; and log scale, float32, the same shape.
        """
        alpha, log_scale = self.logits(image)
        return alpha.clamp(0.0, 1.0), log_scale

    def uncertainty(self, log_scale: Tensor) -> Tensor:
        """Return the expected absolute error of alpha: positive, the same shape as ``log_scale``."""
        return log_scale.exp() * EXPECTED_ERROR[self.config.likelihood]

    def word(self, image: Tensor, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Return alpha and its expected absolute error.

        Args:
            image: RGB, float32, (N, 3, H, W), in [0, 1].
            flip: Run the mirror image as well, and return the means of the two: a smoother alpha, nearer to the truth,
                whose expected error is at most the mean of theirs.

        Returns:
            Two of float32, (N, 1, H, W): alpha, in [0, 1]; its expected absolute error, positive.
        """
        if flip:
            (alpha, doubt), (other, mirrored) = self.word(image), self.word(image.flip(3))
            return (alpha + other.flip(3)) / 2, (doubt + mirrored.flip(3)) / 2
        alpha, log_scale = self(image)
        return alpha.float(), self.uncertainty(log_scale)
