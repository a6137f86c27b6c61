"""What kind of integer grid: bits and symmetry, in a name that decodes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgemat.errors import InputError

_NAME = re.compile(r"static_w(\d+)c_a(\d+)(s?)")


@dataclass(frozen=True)
class Scheme:
    """Bits of the grid. Weights are symmetric, one scale an output channel; activations have one scale a tensor.

    ``static_w8c_a8`` reads: ranges fixed before the file is made (static), weights of 8 bits per channel (w8c),
    activations of 8 bits (a8), asymmetric; a final ``s`` says symmetric.

    Attributes:
        weight_bits: 4 or 8. Codes run from ``-(2**(bits - 1) - 1)`` to ``2**(bits - 1) - 1``.
        activation_bits: 8. Codes run from 0 to 255, or from -128 to 127 where symmetric.
        symmetric: Activations between the ends have zero point 0, as TensorRT asks. The ends (8-bit pixels in, 8-bit
            alpha out) keep their exact grid of 1/255: a shift by a constant expresses that (`edgemat.quantize.rules`).

    Example:
        >>> Scheme().name, Scheme.parse("static_w8c_a8s").symmetric
        ('static_w8c_a8', True)
    """

    weight_bits: int = 8
    activation_bits: int = 8
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Refuse bits that no target stores."""
        if self.weight_bits not in (4, 8) or self.activation_bits != 8:
            raise ValueError(f"{self.name}: weights of 4 or 8 bits and activations of 8, expected")

    @property
    def name(self) -> str:
        """The scheme in one word."""
        return f"static_w{self.weight_bits}c_a{self.activation_bits}{'s' if self.symmetric else ''}"

    @classmethod
    def parse(cls, name: str) -> Scheme:
        """Return the scheme of a name.

        Raises:
            InputError: It is no such name.
        """
        found = _NAME.fullmatch(name)
        try:
            if found is None:
                raise ValueError
            return cls(int(found[1]), int(found[2]), bool(found[3]))
        except ValueError:
            known = ", ".join(scheme.name for scheme in SCHEMES)
            raise InputError(f"scheme {name!r} is not known; expected one of {known}") from None

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of a weight's code."""
        return int(2 ** (self.weight_bits - 1) - 1)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest code of an activation."""
        return (-128, 127) if self.symmetric else (0, 255)


SCHEMES = (Scheme(), Scheme(symmetric=True), Scheme(weight_bits=4))
"""What is calibrated, trained and compared: for most targets, for TensorRT, and the stress test."""
