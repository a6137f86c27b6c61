"""The teacher-forced check: each layer of an integer artefact against what the reference makes of the same inputs.

A difference is so found where it arises, not where it has grown: each unit is given the codes that the backend itself
had before it. End to end, differences of one code grow from layer to layer although every layer is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from edgemat.verify import _causes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgemat.quantize.grid import Codes
    from edgemat.quantize.reference import Reference

SCHEMA_VERSION = 1
_STRAY = 0.001
"""Share of values below which differences within the limit are single roundings, and suggest nothing."""
_SHAPE = 256
"""The difference that stands for codes of another shape: more than any two codes differ by."""


@dataclass(frozen=True)
class Layer:
    """One tensor's codes against what the reference makes of the same inputs.

    Attributes:
        tensor: Name in the trunk.
        lsb: Largest difference, in codes.
        differ: Share of the values that differ at all, in [0, 1].
        compared: Number of values compared.
        hint: What the pattern of the differences suggests; empty where there is none, or nothing to tell.
    """

    tensor: str
    lsb: int
    differ: float
    compared: int
    hint: str = ""

    def __str__(self) -> str:
        """One line."""
        text = f"{self.tensor}: {self.lsb} LSB at most, {self.differ:.3%} of {self.compared} values differ"
        return f"{text}: {self.hint}" if self.hint else text


@dataclass(frozen=True)
class LayerCheck:
    """All tensors of one or more runs; true when something was compared and nothing is beyond a limit.

    Attributes:
        layers: In the network's order.
        missing: Tensors that could not be compared, because the backend does not show them or what they are made of.
        limit: Admissible difference, in codes.
        share: Admissible share of values that differ, in each layer, in [0, 1].
    """

    layers: tuple[Layer, ...]
    missing: tuple[str, ...] = ()
    limit: int = 1
    share: float = 1.0

    @property
    def worst(self) -> Layer | None:
        """The layer that differs most: by codes, then by share; None where nothing was compared."""
        return max(self.layers, key=lambda layer: (layer.lsb, layer.differ), default=None)

    @property
    def failed(self) -> tuple[Layer, ...]:
        """Layers beyond a limit, in order: the first is where to look."""
        return tuple(layer for layer in self.layers if layer.lsb > self.limit or layer.differ > self.share)

    @property
    def compared(self) -> int:
        """Number of values compared."""
        return sum(layer.compared for layer in self.layers)

    def __bool__(self) -> bool:
        """Whether the check passed; never where nothing was compared."""
        return self.compared > 0 and not self.failed

    def __str__(self) -> str:
        """A few lines: the verdict, what failed, what could not be compared."""
        worst = self.worst
        if worst is None:
            return f"no layer was compared: the backend shows no codes; missing: {_listed(self.missing)}"
        head = f"{len(self.layers)} layers compared, each within {worst.lsb} LSB"
        if self.failed:
            head = f"{len(self.failed)} of {len(self.layers)} layers differ by more than {self.limit} LSB"
            head += f" or in more than {self.share:.2%} of the values" if self.share < 1.0 else ""
        lines = [head, *(f"  {layer}" for layer in self.failed[:10])]
        if len(self.failed) > 10:
            lines.append(f"  and {len(self.failed) - 10} more")
        if not self.failed and worst.differ:
            lines.append(f"  worst: {worst}")
        if self.missing:
            lines.append(f"  not compared: {_listed(self.missing)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": bool(self),
            "limit": self.limit,
            "share": self.share,
            "compared": self.compared,
            "missing": list(self.missing),
            "layers": [
                {
                    "tensor": layer.tensor,
                    "lsb": layer.lsb,
                    "differ": layer.differ,
                    "compared": layer.compared,
                    "hint": layer.hint,
                }
                for layer in self.layers
            ],
        }


def _listed(names: tuple[str, ...], count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return (", ".join(names[:count]) or "none") + more


def check(
    reference: Reference,
    codes: Mapping[str, Codes],
    image: npt.NDArray[np.uint8] | None = None,
    limit: int = 1,
    share: float = 1.0,
) -> LayerCheck:
    """Compare every unit of a network whose inputs and output are all known.

    Args:
        reference: Of the graph and grid; it should round as the backend does.
        codes: The backend's own, int32, NCHW, in the grid's codes (`edgemat.export._target.Runner.codes`).
        image: What the backend was given, RGB, uint8, (H, W, 3): its codes must then be these pixels.
        limit: Admissible difference, in codes.
        share: Admissible share of values that differ, in each layer. Where the reference rounds as the backend does,
            0.01 finds faults too small for ``limit``, such as a scale that is 1 % off where codes are small.
    """
    layers, missing = [], []
    source = reference.graph.inputs[0]
    if source not in codes:
        missing.append(source)
    elif image is not None:
        layers.append(_image(source, codes[source], reference.image_codes(image), limit))
    for unit in reference.units:
        if unit.output not in codes or not set(unit.inputs) <= set(codes):
            missing.append(unit.output)
            continue
        wrong = [name for name in unit.inputs if codes[name].shape != tuple(reference.graph.shapes[name])]
        if wrong:  # reported where it was made
            missing.append(unit.output)
            continue
        params = reference.grid.activations[unit.output]
        layers.append(_layer(unit.output, codes[unit.output], reference.step(unit, codes), params.zero_point, limit))
    return LayerCheck(tuple(layers), tuple(missing), limit, share)


def _layer(tensor: str, found: Codes, expected: Codes, zero_point: int, limit: int) -> Layer:
    if found.shape != expected.shape:
        return Layer(tensor, _SHAPE, 1.0, expected.size, f"its shape is {found.shape}, expected {expected.shape}")
    difference = abs(found.astype("int64") - expected)
    lsb, share = int(difference.max(initial=0)), float((difference > 0).mean())
    hint = _causes.guess(found, expected, zero_point) if lsb > limit or share > _STRAY else ""
    return Layer(tensor, lsb, share, expected.size, hint)


def _image(tensor: str, found: Codes, expected: Codes, limit: int) -> Layer:
    layer = _layer(tensor, found, expected, int(expected.min()), limit)
    if layer.lsb == 0 or found.shape != expected.shape:
        return layer
    reversed_too = bool((found == expected[:, ::-1]).all())
    hint = "the channels are reversed (BGR)" if reversed_too else "the pixels are not those given: range or layout"
    return Layer(tensor, layer.lsb, layer.differ, layer.compared, hint)


def merge(checks: Iterable[LayerCheck]) -> LayerCheck:
    """Return several runs' checks as one: each tensor's largest difference, and its share over all runs.

    Raises:
        ValueError: There is none.
    """
    checks = list(checks)
    if not checks:
        raise ValueError("no check to merge")
    layers: dict[str, Layer] = {}
    for layer in (layer for each in checks for layer in each.layers):
        layers[layer.tensor] = _both(layers[layer.tensor], layer) if layer.tensor in layers else layer
    missing = dict.fromkeys(name for each in checks for name in each.missing)
    return LayerCheck(tuple(layers.values()), tuple(missing), *_strictest(checks))


def _strictest(checks: list[LayerCheck]) -> tuple[int, float]:
    return min(each.limit for each in checks), min(each.share for each in checks)


def _both(first: Layer, second: Layer) -> Layer:
    compared = first.compared + second.compared
    differ = (first.differ * first.compared + second.differ * second.compared) / compared
    hint = max(first, second, key=lambda layer: (layer.lsb, layer.differ)).hint
    return Layer(first.tensor, max(first.lsb, second.lsb), differ, compared, hint)


class Agreement(NamedTuple):
    """How far alpha agrees end to end.

    Attributes:
        within_one: Share of the pixels within one code, in [0, 1].
        identical: Share of the pixels with the same code, in [0, 1].
    """

    within_one: float
    identical: float


def end_to_end(alpha: npt.NDArray[np.integer], reference: npt.NDArray[np.integer]) -> Agreement:
    """Return how far alpha's codes agree with the reference's, both of one shape.

    Raises:
        ValueError: The shapes differ, or there is no pixel.

    Example:
        >>> import numpy as np
        >>> end_to_end(np.array([0, 1, 9, 255]), np.array([0, 0, 7, 255]))
        Agreement(within_one=0.75, identical=0.5)
    """
    if alpha.shape != reference.shape or not alpha.size:
        raise ValueError(f"alpha {alpha.shape}, reference {reference.shape}: expected one shape, with pixels")
    difference = abs(alpha.astype("int64") - reference)
    return Agreement(float((difference <= 1).mean()), float((difference == 0).mean()))
