"""The training recipes that come with the package, one TOML file each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError

if TYPE_CHECKING:
    from edgemat.train.recipe import PlainRecipe


def names() -> tuple[str, ...]:
    """Return the names of the shipped recipes, sorted.

    Example:
        >>> "plain" in names()
        True
    """
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def find(name: str) -> PlainRecipe:
    """Return a recipe by its shipped name, or from a TOML file.

    Args:
        name: One of `names`, or a path that ends in ``.toml``.

    Raises:
        InputError: There is no such recipe, or it cannot be read.

    Example:
        >>> find("plain").student.arch
        'friendly'
    """
    from edgemat.train.recipe import PlainRecipe

    if name.endswith(".toml"):
        return PlainRecipe.from_toml(Path(name))
    if name not in names():
        raise InputError(f"--recipe {name}: no such recipe; shipped: {', '.join(names())}; or give a .toml file")
    return PlainRecipe.from_toml(Path(str(resources.files(__name__) / f"{name}.toml")))


def candidates() -> dict[str, PlainRecipe]:
    """Return the recipes of the candidate architectures, by name without the prefix ``candidate-``.

    Example:
        >>> sorted(candidates())
        ['bottleneck', 'friendly', 'mobile']
    """
    prefix = "candidate-"
    return {name.removeprefix(prefix): find(name) for name in names() if name.startswith(prefix)}
