"""The list of rules as Markdown: what docs/lint.md holds, made from the rules themselves."""

from __future__ import annotations

from edgemat.verify.lint import table
from edgemat.verify.lint.finding import Rule
from edgemat.verify.lint.rules import FAMILIES, family_of, rules

HEADS = {
    "artefact": "The artefact as a whole",
    "resize": "Resize semantics",
    "shapes": "Shapes",
    "half": "Range audit for half precision",
    "layout": "Layout",
    "placement": "Placement on accelerators",
    "integer": "Integer artefacts",
}


def markdown() -> str:
    """Return every rule, by family, and what is known of accelerators from tables."""
    parts = []
    for family in FAMILIES:
        mine = [rule for rule in rules() if family_of(rule) == family]
        parts += [f"## {HEADS[family]}", "", *(line for rule in mine for line in _rule(rule))]
    return "\n".join([*parts, *_tables()]).rstrip() + "\n"


def _rule(rule: Rule) -> list[str]:
    source = f" [Source]({rule.source})." if rule.source else ""
    return [
        f"### {rule.id} {rule.name}",
        "",
        f"**{rule.level}.** {rule.title}",
        "",
        f"*Why:* {rule.why}",
        f"*Do:* {rule.fix}{source}",
        "",
    ]


def _tables() -> list[str]:
    lines = ["## What is known of accelerators from tables", ""]
    for name in table.NAMES:
        known = table.load(name)
        rest = "Everything else is refused." if known.closed else "Of everything else nothing is known."
        lines += [
            f"### {known.accelerator}",
            "",
            f"{rest}",
            "",
            "| operators | verdict | condition or reason |",
            "|---|---|---|",
        ]
        for row in known.rows:
            limits = [f"{key} is {', '.join(map(str, values))}" for key, values in row.only.items()]
            limits += [f"{key} is not {', '.join(map(str, values))}" for key, values in row.excluded.items()]
            kinds = ", ".join(f"`{kind}`" for kind in row.kinds) + (f" where {' and '.join(limits)}" if limits else "")
            lines.append(f"| {kinds} | {row.verdict} | {row.reason} ([source]({row.source})) |")
        lines.append("")
    return lines
