"""The calibration passport: on which images ranges were chosen, what these cover, how far the ranges can be trusted.

JSON-ready and small, so that it travels inside the checkpoint (`edgemat.quantize.grid.Grid.passport`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize import ranges
from edgemat.quantize.grid import QParams
from edgemat.quantize.observe import Stats
from edgemat.quantize.ranges import Form

if TYPE_CHECKING:
    Images = npt.NDArray[np.uint8]
    Values = npt.NDArray[np.float64]

SCHEMA_VERSION = 1
RESAMPLES, SEED = 24, 0
"""Bootstrap samples of the images, and the seed that draws them."""
FEW_IMAGES, NARROW, WIDE, SATURATED = 8, 0.2, 0.15, 0.01
"""What makes a warning: fewer images; mean brightness of all within this much of [0, 1]; a scale that varies by more
than this share when images are drawn anew; a larger share of a tensor's values clipped."""
_BINS = 1024
_LISTED = 256
_LUMA = (0.299, 0.587, 0.114)
_DIGITS = 5


def make(
    stats: Sequence[Stats],
    images: Images,
    activations: Mapping[str, QParams],
    forms: Mapping[str, Form],
    fixed: Mapping[str, QParams],
    method: str,
    engine: str = "grid",
) -> dict[str, object]:
    """Return the passport of a calibration.

    Args:
        stats: What was seen of each group.
        images: RGB, uint8, (N, H, W, 3).
        activations: The scales that were chosen.
        forms: What the rules leave open (`edgemat.quantize.calibrate.forms`).
        fixed: The tensors whose scale no calibration chooses.
        method: Of calibration, in the engine's words.
        engine: Who calibrated.
    """
    sampled = method if method in ranges.METHODS else "mse"
    tensors, warnings = {}, _of_images(images)
    for seen in stats:
        name = seen.names[0]
        spread = 0.0 if name in fixed else _spread(seen, forms[name], sampled)
        tensors[name] = _row(seen, activations[name], spread)
        warnings += _of_tensor(name, tensors[name], name in fixed)
    return {
        "schema_version": SCHEMA_VERSION,
        "engine": engine,
        "method": method,
        "images": _hashes(images),
        "coverage": _coverage(images, stats),
        "columns": ["min", "max", "bottom", "top", "saturated", "spread"],
        "tensors": tensors,
        "bootstrap": {"method": sampled, "resamples": RESAMPLES, "seed": SEED},
        "warnings": warnings,
    }


def _hashes(images: Images) -> dict[str, object]:
    """Return SHA-256 of the pixels: of all, and of each (its first 16 digits) while there are not too many."""
    each = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]
    together = hashlib.sha256("".join(each).encode()).hexdigest()
    found: dict[str, object] = {"count": len(images), "shape": list(images.shape[1:]), "sha256": together}
    if len(images) <= _LISTED:
        found["each"] = [digest[:16] for digest in each]
    return found


def _coverage(images: Images, stats: Sequence[Stats]) -> dict[str, object]:
    """Return the spread of brightness, contrast and brightness of skin-like pixels over images, and alpha's shares."""
    tones = [tone for image in images if (tone := _tone(image)) is not None]
    found: dict[str, object] = {
        "brightness": _three([_luma(image).mean() for image in images]),
        "contrast": _three([_luma(image).std() for image in images]),
        "skin_like": {"images": len(tones), **(_three(tones) if tones else {})},
    }
    for seen in stats:
        if "alpha" in seen.names:
            found["alpha"] = _alpha(seen)
    return found


def _luma(image: Images) -> Values:
    luma: Values = np.asarray(image, np.float64) @ np.array(_LUMA) / 255.0
    return luma


def _tone(image: Images) -> float | None:
    """Return the mean brightness of pixels whose chroma is that of skin (any tone); None where they are under 1 %.

    Source of the bounds: Chai and Ngan, Face segmentation using skin-color map in videophone applications, 1999.
    """
    r, g, b = np.moveaxis(np.asarray(image, np.float64), -1, 0)
    cb = 128.0 - 0.168736 * r - 0.331264 * g + 0.5 * b
    cr = 128.0 + 0.5 * r - 0.418688 * g - 0.081312 * b
    skin = (cb >= 77.0) & (cb <= 127.0) & (cr >= 133.0) & (cr <= 173.0)
    return float(_luma(image)[skin].mean()) if skin.mean() >= 0.01 else None


def _alpha(seen: Stats) -> dict[str, float]:
    """Return which share of the float network's alpha is 0, soft or 1 in 8 bits."""
    density, centres = seen.counts.sum(0), seen.centres
    clear, full = density[centres < 0.5 / 255].sum(), density[centres > 254.5 / 255].sum()
    total = density.sum()
    return {"0": _short(clear / total), "soft": _short((total - clear - full) / total), "1": _short(full / total)}


def _row(seen: Stats, params: QParams, spread: float) -> list[float]:
    centres, density = seen.centres, seen.counts.sum(0)
    outside = (centres < params.bottom - params.scale / 2) | (centres > params.top + params.scale / 2)
    saturated = density[outside].sum() / density.sum()
    values = (seen.lows.min(), seen.highs.max(), params.bottom, params.top, saturated, spread)
    return [_short(value) for value in values]


def _spread(seen: Stats, form: Form, method: str) -> float:
    """Return the standard deviation of the scale over bootstrap samples of the images, as a share of its mean."""
    coarse = Stats(seen.names, seen.lows, seen.highs, seen.start, seen.stop, _coarse(seen.counts))
    rng = np.random.default_rng(SEED)
    blocks = len(coarse.counts)
    drawn = [coarse.resampled(rng.integers(0, blocks, blocks)) for _ in range(RESAMPLES)]
    scales = np.array([ranges.choose(sample, form, method).scale for sample in drawn])
    return float(scales.std() / scales.mean())


def _coarse(counts: Values) -> Values:
    blocks, bins = counts.shape
    summed: Values = counts.reshape(blocks, _BINS, bins // _BINS).sum(2)
    return summed


def _of_images(images: Images) -> list[str]:
    """Return what is too narrow about the images."""
    count, lines = len(images), []
    if count < FEW_IMAGES:
        lines.append(
            f"{count} calibration image{'s' * (count > 1)}: too few to trust ranges, expected {FEW_IMAGES} or more"
        )
    flat = [i for i, image in enumerate(images) if image.min() == image.max()]
    if flat:
        lines.append(f"images of one single value: {', '.join(map(str, flat[:5]))}")
    unique = len({image.tobytes() for image in images})
    if unique < count:
        lines.append(f"{count - unique} of {count} calibration images are copies of others")
    brightness = [float(_luma(image).mean()) for image in images]
    if count > 1 and max(brightness) - min(brightness) < NARROW:
        lines.append(
            f"mean brightness is within {min(brightness):.2f} to {max(brightness):.2f} on all images: add darker and "
            "brighter ones"
        )
    return lines


def _of_tensor(name: str, row: Sequence[float], fixed: bool) -> list[str]:
    low, high, bottom, top, saturated, spread = row
    if low == high == 0.0:
        return [f"{name}: always 0 on these images, so its range is a guess"]
    lines = []
    if saturated > SATURATED and not fixed:
        lines.append(f"{name}: {saturated:.1%} of its values lie outside {bottom:.4g} to {top:.4g}")
    if spread > WIDE:
        lines.append(f"{name}: its scale varies by {spread:.0%} with the choice of images: add more")
    return lines


def _three(values: Sequence[Any]) -> dict[str, float]:
    return {"min": _short(min(values)), "mean": _short(float(np.mean(values))), "max": _short(max(values))}


def _short(value: Any) -> float:
    return float(f"{float(value):.{_DIGITS}g}")
