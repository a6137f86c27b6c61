"""All rules: one module a family, each rule one decorated function there. To add a rule, write that function."""

from __future__ import annotations

import functools
import importlib

from edgemat.errors import InputError
from edgemat.verify.lint.finding import Rule

FAMILIES = ("artefact", "resize", "shapes", "half", "layout", "placement", "integer")
"""Modules of this package, each with its rules; in the order of the documentation."""


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Return every rule, by its id.

    Raises:
        ValueError: Two rules share an id or a name.

    Example:
        >>> rules()[0].id
        'EM001'
    """
    found = [rule for family in FAMILIES for rule in _of(family)]
    for what in ("id", "name"):
        said = [getattr(rule, what) for rule in found]
        if twice := {word for word in said if said.count(word) > 1}:
            raise ValueError(f"rules share the {what} {', '.join(sorted(twice))}")
    return tuple(sorted(found, key=lambda rule: rule.id))


def _of(family: str) -> tuple[Rule, ...]:
    from edgemat.verify.lint import rule

    importlib.import_module(f"{__name__}.{family}")
    return tuple(r for r in rule.collected() if r.check.__module__ == f"{__name__}.{family}")


def family_of(rule: Rule) -> str:
    """Return the family of a rule."""
    return rule.check.__module__.rpartition(".")[2]


def get(word: str) -> Rule:
    """Return one rule by its id or its name.

    Raises:
        InputError: There is no such rule.

    Example:
        >>> get("EM001").name
        'bytes-changed'
    """
    for rule in rules():
        if word.upper() == rule.id or word == rule.name:
            return rule
    raise InputError(f"{word}: no such rule; list them with: edgemat lint --rules")
