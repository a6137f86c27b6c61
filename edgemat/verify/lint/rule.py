"""Declare a rule: a decorator of the function that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgemat.verify.lint.facts import Facts
from edgemat.verify.lint.finding import Place, Rule

Check = Callable[[Facts], Iterable[Place]]
_COLLECTED: dict[str, Rule] = {}


def rule(
    id_: str, name: str, level: str, title: str, *, why: str, fix: str, source: str = ""
) -> Callable[[Check], Check]:
    """Register a function of an artefact's facts as a rule.

    Args:
        id_: ``EM`` and three digits, never used before.
        name: Words joined by dashes.
        level: One of `edgemat.verify.lint.finding.LEVELS`.
        title: What it finds, in one sentence.
        why: What goes wrong where it is found.
        fix: What to do.
        source: Address that it rests on, if any.
    """

    def register(check: Check) -> Check:
        made = Rule(id_, name, level, title, why, fix, check, source)
        held = _COLLECTED.setdefault(id_, made)
        if held.name != name:
            raise ValueError(f"rule {id_} is {held.name} already, found {name} as well")
        return check

    return register


def collected() -> tuple[Rule, ...]:
    """Return the rules registered so far."""
    return tuple(_COLLECTED.values())
