"""What a file says to the app team, found in its words whatever the format."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMED = ("name", "version", "author", "license", "description")
_COLOURS = re.compile(r"\b(RGB|BGR)\b")
_RANGE = re.compile(r"\[\s*0(?:\.0)?\s*,\s*(?:1(?:\.0)?|255)\s*\]|0 to 255|pixel - 128|\buint8\b")


def described(stated: Mapping[str, str], image: str, colours: str = "", range_: str = "") -> dict[str, str]:
    """Return what a file says, an empty text where it is silent.

    Args:
        stated: Its metadata.
        image: What it says of its input, in prose.
        colours: Order of the channels, where the format has a field for it.
        range_: Range or normalisation of the input, where the format has a field for it.

    Example:
        >>> described({"name": "student"}, "RGB, float32, in [0, 1]")["colour order"]
        'RGB'
    """
    found = {key: stated.get(key, "") or "" for key in NAMED}
    order, range_found = _COLOURS.search(image), _RANGE.search(image)
    found["colour order"] = colours or (order[1] if order else "")
    found["range"] = range_ or (range_found[0] if range_found else "")
    return found
