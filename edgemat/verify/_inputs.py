"""Tell from alpha alone which mistake at its input an artefact makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgemat.verify.compare import compare

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgemat.export._target import Gate, Images

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Reference = Callable[[Floats], Floats]
    """Image float32 (1, 3, H, W) to alpha float32 (H, W)."""

_MISTAKES: dict[str, Callable[[Floats], Floats]] = {
    "R and B were swapped: look at its input's colour layout": lambda x: x[:, ::-1],
    "pixels were not divided by 255: look at its input's scale": lambda x: x * 255,
    "pixels were divided by 255 twice: look at its input's scale": lambda x: x * (1 / 255),
    "pixels were scaled to [-1, 1]: look at its input's scale and bias": lambda x: x * 2 - 1,
    "interleaved pixels (NHWC) were read as planes (NCHW): look at its input's layout": (
        lambda x: x.transpose(0, 2, 3, 1).reshape(x.shape)
    ),
    "rows and columns were swapped: look at its input's layout": (
        lambda x: x.transpose(0, 1, 3, 2) if x.shape[2] == x.shape[3] else x
    ),
    "the image were mirrored": lambda x: x[..., ::-1],
    "the image were upside down": lambda x: x[:, :, ::-1],
}
_ROUNDS = 12
_STEP = 1e-3


def explain(alpha: Floats, images: Images, reference: Reference, gate: Gate) -> list[str]:
    """Return one sentence when the artefact agrees with the reference on altered input, else nothing.

    Args:
        alpha: The artefact's, float32, (N, H, W), finite and not constant.
        images: RGB, uint8, (N, H, W, 3).
        reference: Runs the trunk on any float image.
        gate: Agreement is what passes it.
    """
    import numpy as np

    floats = [np.ascontiguousarray(i.transpose(2, 0, 1)[None], np.float32) / np.float32(255) for i in images]

    def agrees(change: Callable[[Floats], Floats]) -> tuple[bool, float]:
        altered = np.stack([reference(np.ascontiguousarray(change(x))) for x in floats])
        found = compare(alpha, altered)
        return found.max_abs <= gate.max_abs and found.mean_abs <= gate.mean_abs, found.mean_abs

    tried = {text: agrees(change) for text, change in _MISTAKES.items()}
    passed = [text for text, (good, _) in tried.items() if good]
    if passed:
        return [f"the artefact behaves as if {min(passed, key=lambda text: tried[text][1])}"]
    scale, shift = _affine(alpha, floats, reference)
    if agrees(lambda x: _altered(x, scale, shift))[0]:
        return [f"the artefact behaves as if {_words(scale, shift)}: look at its input's mean, bias and scale"]
    return []


def _altered(x: Floats, scale: Doubles, shift: Doubles) -> Floats:
    import numpy as np

    changed: Floats = (x * scale.reshape(1, 3, 1, 1) + shift.reshape(1, 3, 1, 1)).astype(np.float32)
    return changed


def _affine(alpha: Floats, floats: list[Floats], reference: Reference) -> tuple[Doubles, Doubles]:
    """Fit the input change ``scale * x + shift``, a channel, that brings the reference nearest to ``alpha``.

    Gauss-Newton with finite differences and halved steps: six unknowns, thousands of pixels.
    """
    import numpy as np

    def residual(p: Doubles) -> Doubles:
        out = np.stack([reference(_altered(x, p[:3], p[3:])) for x in floats])
        return (out.astype(np.float64) - alpha).ravel()

    p = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    r = residual(p)
    for _ in range(_ROUNDS):
        jacobian = np.stack([(residual(p + _STEP * unit) - r) / _STEP for unit in np.eye(6)], 1)
        step = np.linalg.lstsq(jacobian, -r, rcond=1e-6)[0]
        for shorter in (1.0, 0.5, 0.25, 0.1):
            tried = residual(p + shorter * step)
            if tried @ tried < r @ r:
                p, r = p + shorter * step, tried
                break
        else:
            break
        if float(np.abs(step).max()) < 1e-5:
            break
    return p[:3], p[3:]


def _words(scale: Doubles, shift: Doubles) -> str:
    parts = [f"{c} * {a:.3g} {b:+.3f}" for c, a, b in zip("RGB", scale, shift, strict=True)]
    return f"its input were shifted and scaled to {', '.join(parts)} (of pixels in [0, 1])"
