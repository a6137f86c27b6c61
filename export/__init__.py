"""Export targets: one public module or package here is one target.

To add a target, add a module ``<name>.py`` (or a package) beside this file that states one public value
``TARGET = Target(name="<name>", ...)`` from `edgemat.export._target`, and import its backend inside functions only.
The command line, ``edgemat targets``, the README's table and the contract tests find it by that.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING

from edgemat.errors import InputError

if TYPE_CHECKING:
    from edgemat.export._target import Target

if not __name__.startswith("edgemat."):
    raise ImportError(f"import edgemat.export, not {__name__}: the folder is installed under the edgemat name")


def names() -> tuple[str, ...]:
    """Return the names of all targets, sorted, without importing any of them.

    Example:
        >>> "onnx" in names()
        True
    """
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def get(name: str) -> Target:
    """Return one target by name; its backend is not imported.

    Args:
        name: One of `names`.

    Raises:
        InputError: No target has that name; the message suggests the nearest.

    Example:
        >>> get("onnx").suffix
        '.onnx'
    """
    name = name.replace("-", "_")  # a module's name; both are understood
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"--target {name}: no such target; {hint}targets: {', '.join(names())}")
    target: Target = importlib.import_module(f"{__name__}.{name}").TARGET
    return target


def targets() -> tuple[Target, ...]:
    """Return all targets, sorted by name; no backend is imported."""
    return tuple(get(name) for name in names())
