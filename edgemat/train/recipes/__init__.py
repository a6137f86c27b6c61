"""The training recipes that come with the package, one TOML file each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgemat.errors import InputError

if TYPE_CHECKING:
    from edgemat.train.recipe import QatRecipe, Recipe, StudentRecipe, TeacherRecipe

_R = TypeVar("_R", bound="Recipe")


def names() -> tuple[str, ...]:
    """Return the names of the shipped recipes, sorted.

    Example:
        >>> "plain" in names()
        True
    """
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def student(name: str) -> StudentRecipe:
    """Return a student's recipe by its shipped name, or from a TOML file.

    Args:
        name: One of `names`, or a path that ends in ``.toml``.

    Raises:
        InputError: There is no such recipe, or it cannot be read.

    Example:
        >>> student("plain").student.arch
        'friendly'
    """
    from edgemat.train.recipe import StudentRecipe

    return _find(name, StudentRecipe)


def teacher(name: str) -> TeacherRecipe:
    """Return a teacher's recipe by its shipped name, or from a TOML file.

    Args:
        name: One of `names`, or a path that ends in ``.toml``.

    Raises:
        InputError: There is no such recipe, or it cannot be read.

    Example:
        >>> teacher("teacher").teacher.likelihood
        'laplace'
    """
    from edgemat.train.recipe import TeacherRecipe

    return _find(name, TeacherRecipe)


def qat(name: str) -> QatRecipe:
    """Return a recipe of training on the integer grid by its shipped name, or from a TOML file.

    Args:
        name: One of `names`, or a path that ends in ``.toml``.

    Raises:
        InputError: There is no such recipe, or it cannot be read.

    Example:
        >>> qat("qat-symmetric").scheme
        'static_w8c_a8s'
    """
    from edgemat.train.recipe import QatRecipe

    return _find(name, QatRecipe)


def _find(name: str, kind: type[_R]) -> _R:
    if name.endswith(".toml"):
        return kind.from_toml(Path(name))
    if name not in names():
        raise InputError(f"--recipe {name}: no such recipe; shipped: {', '.join(names())}; or give a .toml file")
    return kind.from_toml(Path(str(resources.files(__name__) / f"{name}.toml")))


def candidates() -> dict[str, StudentRecipe]:
    """Return the recipes of the candidate architectures, by name without the prefix ``candidate-``.

    Example:
        >>> sorted(candidates())
        ['bottleneck', 'friendly', 'mobile']
    """
    prefix = "candidate-"
    return {name.removeprefix(prefix): student(name) for name in names() if name.startswith(prefix)}
