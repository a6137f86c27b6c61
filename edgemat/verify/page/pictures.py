"""Images, mattes and differences as pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgemat.verify.page.markup import Html, details, el
from edgemat.verify.page.strips import Codes, Strips

if TYPE_CHECKING:
    from PIL.Image import Image

GAIN = 16
"""A difference of 1/16 is drawn at full strength."""
SEEN = 1
"""Artefacts that are off by no more codes of 255 are named, not drawn: there would be nothing to see."""
SIDE = 256
"""Longest side of a picture, pixels; larger ones are reduced for the page."""
BUDGET = 2_000_000
"""Bytes of all pictures; images beyond it are left out, and the page says so."""


def section(strips: Strips, budget: int = BUDGET) -> Html:
    """Return every image with its truth, its reference and what each artefact made of it.

    Artefacts whose alpha is the same in all 8 bits share a picture.

    Args:
        strips: The pictures.
        budget: Bytes that they may take.
    """
    intro = el(
        "p",
        f"Each artefact's alpha beside its difference from the float network's, in 8 bits, {GAIN} times amplified: ",
        el("span", "red", class_="key red"),
        " where it takes more for skin, ",
        el("span", "blue", class_="key blue"),
        " where less, black where they agree. Artefacts with the same alpha share a picture.",
    )
    parts: list[Html] = []
    for place in range(len(strips)):
        strip = _strip(strips, place, opened=place < 3)
        if parts and sum(map(len, parts)) + len(strip) > budget:
            parts.append(el("p", f"{len(strips) - place} more images are in proof/strips.npz.", class_="note"))
            break
        parts.append(strip)
    return el("div", intro, *parts, class_="strips")


def _strip(strips: Strips, place: int, opened: bool) -> Html:
    given = [("image", _photo(strips.images[place]))]
    if strips.truth is not None:
        given.append(("ground truth", _gray(strips.truth[place])))
    given.append(("float network", _gray(strips.reference[place])))
    if strips.uncertainty is not None:
        given.append(("teacher's uncertainty", _gray(strips.uncertainty[place])))
    name = f"Image {place + 1}" + (f": {strips.names[place]}" if strips.names else "")
    first = el("div", *(_tile(name, caption, [(caption, source)]) for caption, source in given), class_="tiles given")
    groups = list(_groups(strips, place))
    others = sorted((g for g in groups if g[2] > SEEN), key=lambda group: -group[2])
    alike = [name for names, _, worst in groups if worst <= SEEN for name in names]
    order = list(strips.alphas)
    same = None
    if alike:
        named = ", ".join(sorted(alike, key=order.index))
        same = el("p", el("b", f"Within {SEEN} of 255 of the float network's: "), f"{named}.")
    tiles = [_artefact(name, strips.reference[place], *group) for group in others]
    return details(name, first, el("div", *tiles, class_="tiles pairs") if tiles else None, same, opened=opened)


def _groups(strips: Strips, place: int) -> Iterator[tuple[Sequence[str], Codes, int]]:
    """Yield names that share an alpha, the alpha, and its largest difference from the reference in codes."""
    found: dict[bytes, list[str]] = {}
    for name, alpha in strips.alphas.items():
        found.setdefault(alpha[place].tobytes(), []).append(name)
    for names in found.values():
        alpha = strips.alphas[names[0]][place]
        worst = int(np.abs(alpha.astype(np.int16) - strips.reference[place]).max())
        yield names, alpha, worst


def _artefact(image: str, reference: Codes, names: Sequence[str], alpha: Codes, worst: int) -> Html:
    caption = f"{', '.join(names)}: off by {worst} of 255 at most"
    pictures = [("alpha", _gray(alpha)), ("difference", _difference(alpha, reference))]
    return _tile(f"{image}, {', '.join(names)}", caption, pictures)


def _tile(about: str, caption: str, pictures: Sequence[tuple[str, str]]) -> Html:
    images = [el("img", src=source, alt=f"{about}: {what}", decoding="async") for what, source in pictures]
    return el("figure", el("div", *images), el("figcaption", caption))


def _photo(pixels: Codes) -> str:
    from PIL import Image

    return _data(Image.fromarray(pixels), "JPEG")


def _gray(plane: Codes) -> str:
    from PIL import Image

    return _data(Image.fromarray(plane), "PNG")


def _difference(alpha: Codes, reference: Codes) -> str:
    """Draw a signed difference: a palette of few colours is small and exact."""
    from PIL import Image

    most = 256 // GAIN
    steps = np.clip(alpha.astype(np.int16) - reference, -most, most) + most
    picture = Image.fromarray(_pooled(steps.astype(np.uint8), most))
    colours = []
    for step in range(-most, most + 1):
        strength = abs(step) / most
        full = (255, 92, 72) if step > 0 else (84, 160, 255)
        colours += [round(channel * strength) for channel in full]
    picture.putpalette(colours)
    return _data(picture, "PNG")


def _pooled(steps: Codes, zero: int) -> Codes:
    """Reduce a picture of steps to `SIDE`, keeping in each field the step that is farthest from zero."""
    factor = -(-max(steps.shape) // SIDE)
    if factor == 1:
        return steps
    height, width = (length // factor * factor for length in steps.shape)
    fields = steps[:height, :width].reshape(height // factor, factor, width // factor, factor).swapaxes(1, 2)
    flat = fields.reshape(height // factor, width // factor, -1)
    farthest = np.abs(flat.astype(np.int16) - zero).argmax(axis=2)
    return np.take_along_axis(flat, farthest[..., None], axis=2)[..., 0]


def _data(picture: Image, form: Literal["PNG", "JPEG"]) -> str:
    if picture.mode != "P":
        picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, form, **({"quality": 85} if form == "JPEG" else {"optimize": True}))
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
