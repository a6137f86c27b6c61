"""How far composites may vary, and the camera's part: light, colour, noise, JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.noise import fractal
from edgemat.data.scene import times

Range = tuple[float, float]
Image = npt.NDArray[np.uint8]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_NOISE_SIDE = 1024
_NOISE = np.random.Generator(np.random.PCG64(7)).standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), np.float32)


@dataclass(frozen=True)
class Augmentation:
    """How composites vary. Ranges are drawn from uniformly; what is called a chance lies in [0, 1].

    Attributes:
        rotation: Largest roll of the face, degrees.
        face_height: Height of the face (forehead to chin) over the frame's.
        shift: Largest offset of the face's middle from the frame's, over the frame's side.
        shear: Largest horizontal shear (pixels per pixel).
        perspective: Largest displacement of the frame's corners, over its side.
        flip: Chance of a mirrored face.
        new_background: Chance that the surroundings of the source photo are textures instead of its blurred self.
        free: Chance of no occluder.
        occluders: Fewest and most occluders of a sample that has any.
        occluder_area: Area of an emoji occluder's box over the face's box.
        edge_blur: Sigma of the softening of an occluder's edge, pixels; its alpha is softened alike.
        shadow: Chance that an occluder casts a shadow on the face.
        motion_blur: Chance that an occluder moves while the shutter is open; its alpha is blurred alike.
        camera_motion: Chance that the whole frame is blurred so, alpha included.
        defocus: Chance of a defocused frame, alpha included.
        defocus_sigma: Sigma of it, pixels.
        relight: Strength of the low-frequency light map (0.4: gains of 0.6 to 1.4).
        temperature: Largest relative gain of red over blue.
        brightness: Largest relative gain.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation.
        gamma: Largest relative change of the exponent.
        hue: Largest turn of the hue, radians.
        grayscale: Chance of a colourless image.
        noise: Sigma of the sensor noise at mid-grey, in 8-bit steps.
        jpeg: Chance of JPEG compression.
        jpeg_quality: Its quality.
    """

    rotation: float = 25.0
    face_height: Range = (0.35, 0.95)
    shift: float = 0.22
    shear: float = 0.08
    perspective: float = 0.05
    flip: float = 0.5
    new_background: float = 0.3
    free: float = 0.15
    occluders: tuple[int, int] = (1, 3)
    occluder_area: Range = (0.1, 0.7)
    edge_blur: Range = (0.3, 1.6)
    shadow: float = 0.6
    motion_blur: float = 0.12
    camera_motion: float = 0.05
    defocus: float = 0.25
    defocus_sigma: Range = (0.4, 1.3)
    relight: float = 0.4
    temperature: float = 0.12
    brightness: float = 0.25
    contrast: float = 0.2
    saturation: float = 0.35
    gamma: float = 0.25
    hue: float = 0.06
    grayscale: float = 0.03
    noise: Range = (0.0, 9.0)
    jpeg: float = 0.6
    jpeg_quality: tuple[int, int] = (40, 95)

    def __post_init__(self) -> None:
        """Check every range and chance."""
        limits: dict[str, tuple[float, float]] = {
            "rotation": (0, 180), "face_height": (0.1, 2), "shift": (0, 1), "shear": (0, 0.5), "perspective": (0, 0.2),
            "occluders": (1, 8), "occluder_area": (0.005, 2), "edge_blur": (0, 8), "defocus_sigma": (0.05, 8),
            "temperature": (0, 0.5), "hue": (0, 1), "noise": (0, 64), "jpeg_quality": (1, 100),
        }  # fmt: skip
        for item in fields(self):
            low, high = limits.get(item.name, (0.0, 1.0))
            value = getattr(self, item.name)
            ends = value if isinstance(value, tuple) else (value, value)
            if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
                raise ValueError(f"augmentation {item.name}: {value!r}, expected {low:g} <= low <= high <= {high:g}")

    @classmethod
    def mild(cls) -> Augmentation:
        """Return the variation of the fixed evaluation set: everyday photos, all occluders."""
        return cls(
            rotation=12.0, face_height=(0.45, 0.85), shift=0.1, shear=0.03, perspective=0.02, new_background=0.2,
            camera_motion=0.0, motion_blur=0.05, defocus=0.1, defocus_sigma=(0.4, 0.8), relight=0.2, temperature=0.06,
            brightness=0.12, contrast=0.1, saturation=0.15, gamma=0.1, hue=0.02, grayscale=0.0, noise=(0.0, 4.0),
            jpeg=0.5, jpeg_quality=(70, 95),
        )  # fmt: skip


def colour_matrix(rng: np.random.Generator, level: Augmentation) -> npt.NDArray[np.float32]:
    """Draw a (3, 3) matrix of brightness, temperature, saturation and hue.

    Args:
        rng: Source of randomness.
        level: The ranges.
    """
    warm = rng.uniform(-level.temperature, level.temperature)
    gain = (1 + rng.uniform(-level.brightness, level.brightness)) * np.array([1 + warm, 1.0, 1 - warm])
    saturation = 1 + rng.uniform(-level.saturation, level.saturation)
    if rng.random() < level.grayscale:
        saturation = 0.0
    grey = np.broadcast_to(_LUMA, (3, 3))
    mixing = grey + saturation * _turn(rng.uniform(-level.hue, level.hue)) @ (np.eye(3) - grey)
    return np.asarray(gain[:, None] * mixing, np.float32)


def _turn(radians: float) -> npt.NDArray[np.float64]:
    """Return the rotation of RGB about the grey axis (Rodrigues' formula)."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + math.sin(radians) * cross + (1 - math.cos(radians)) * cross @ cross)


def tone_curve(rng: np.random.Generator, level: Augmentation) -> npt.NDArray[np.uint8]:
    """Draw contrast and gamma as a table of 256 bytes.

    Args:
        rng: Source of randomness.
        level: The ranges.
    """
    x = np.linspace(0, 1, 256)
    contrast = 1 + rng.uniform(-level.contrast, level.contrast)
    gamma = np.exp(rng.uniform(-level.gamma, level.gamma))
    curve = np.clip(0.5 + contrast * (x**gamma - 0.5), 0, 1)
    return np.asarray(np.rint(curve * 255), np.uint8)


def photograph(
    image: npt.NDArray[np.float32],
    rng: np.random.Generator,
    level: Augmentation,
    noise: np.random.Generator | None = None,
) -> Image:
    """Light, grade, expose and compress a composite, as a camera would; geometry stays.

    Args:
        image: RGB, float32, (S, S, 3), 0 to 255.
        rng: Source of randomness.
        level: The ranges.
        noise: Where the field of sensor noise comes from; ``rng`` if None. With another one each time and the same
            ``rng``, photos of one moment differ by their noise alone.

    Returns:
        RGB, uint8, (S, S, 3).
    """
    size = image.shape[0]
    out = np.asarray(cv2.transform(image, colour_matrix(rng, level)), np.float32)
    if level.relight > 0 and rng.random() < 0.7:
        out = times(out, light_map(rng, size, level.relight))
    sigma = rng.uniform(*level.noise)
    if sigma > 0.3:
        out += sensor_noise(rng, size, sigma, noise)
    pixels = np.asarray(cv2.convertScaleAbs(np.maximum(out, 0, out=out)), np.uint8)
    pixels = np.asarray(cv2.LUT(pixels, tone_curve(rng, level)), np.uint8)
    if rng.random() < level.jpeg:
        pixels = jpeg(pixels, int(rng.integers(level.jpeg_quality[0], level.jpeg_quality[1] + 1)))
    return pixels


def light_map(rng: np.random.Generator, size: int, strength: float) -> npt.NDArray[np.float32]:
    """Draw a smooth gain: a gradient across the frame, or soft patches.

    Args:
        rng: Source of randomness.
        size: Height and width, pixels.
        strength: Largest deviation from 1.

    Returns:
        Float32, (size, size).
    """
    amount = np.float32(strength * rng.uniform(0.2, 1.0))
    if rng.random() < 0.5:
        return 1 + amount * (2 * fractal(rng, size, 0.12) - 1)
    angle = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-1, 1, size, dtype=np.float32)
    ramp = np.float32(math.cos(angle)) * x[None, :] + np.float32(math.sin(angle)) * x[:, None]
    return 1 + amount * np.clip(ramp, -1, 1)


def sensor_noise(
    rng: np.random.Generator, size: int, sigma: float, field: np.random.Generator | None = None
) -> npt.NDArray[np.float32]:
    """Cut a patch out of one fixed field of normal noise, at times in grey or coarse grain.

    Args:
        rng: Source of randomness.
        size: Height and width, pixels.
        sigma: Standard deviation, 8-bit steps.
        field: Chooses the patch, not its kind; ``rng`` if None.

    Returns:
        Float32, (size, size, 3).
    """
    patch = _cut(rng if field is None else field, size)
    if rng.random() < 0.35:  # luminance noise
        patch = np.asarray(cv2.merge([patch[..., 0]] * 3), np.float32)
    if rng.random() < 0.3:  # coarse grain; the factor restores the deviation that the blur takes
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), 0.7), np.float32) * np.float32(2.4)
    return patch * np.float32(sigma)


def _cut(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    if size > _NOISE_SIDE:
        return rng.standard_normal((size, size, 3), np.float32)
    top, left = rng.integers(0, _NOISE_SIDE - size + 1, 2)
    return _NOISE[top : top + size, left : left + size]


def jpeg(image: Image, quality: int) -> Image:
    """Compress and decompress.

    Args:
        image: RGB, uint8, (H, W, 3).
        quality: 1 to 100.
    """
    # Channel order is the codec's business only for its chroma subsampling: BGR in, BGR out.
    done, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"JPEG encoder refused {image.dtype}{image.shape}")
    return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
