"""The documentation of the rules is the rules' own words."""

from __future__ import annotations

from pathlib import Path

from edgemat.verify.lint import catalogue
from edgemat.verify.lint.rules import FAMILIES, rules

PAGE = Path(__file__).resolve().parents[3] / "docs" / "lint.md"
BEGIN, END = "<!-- rules -->\n", "<!-- /rules -->"


def test_the_page_holds_the_list_that_the_command_prints() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert BEGIN in text, f"{PAGE} lacks {BEGIN.strip()}"
    held = text.partition(BEGIN)[2].partition(END)[0]
    assert held == catalogue.markdown(), "paste the output of: edgemat lint --rules --markdown"


def test_every_rule_and_every_family_is_in_the_list() -> None:
    text = catalogue.markdown()
    for rule in rules():
        assert f"### {rule.id} {rule.name}\n" in text
        assert rule.title in text
    assert all(f"## {catalogue.HEADS[family]}" in text for family in FAMILIES)
