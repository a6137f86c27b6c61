"""The documents agree with the product: links, commands, tables, versions."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from edgemat import __version__
from edgemat.cli import app
from edgemat.cli.machine import markdown_table
from edgemat.export import targets

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands_of(name: str) -> list[list[str]]:
    """Return the words after ``edgemat`` of every command in a document's shell blocks."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text_of(name), re.DOTALL):
        for line in block.splitlines():
            for part in re.split(r"&&|;|\|", line):
                words = shlex.split(part, comments=True)
                if words and Path(words[0]).name == "edgemat":
                    found.append(words[1:])
    return found


def parse(words: list[str]) -> list[str]:
    """Parse a command line as the product does, without running it; return the commands' names."""
    command, rest, path, parent = app, list(words), [], None
    while isinstance(command, click.Group):
        parent = command.make_context(command.name, rest, parent)
        name, found, rest = command.resolve_command(parent, [*parent._protected_args, *parent.args])
        assert found is not None
        command, path = found, [*path, str(name)]
    command.make_context(command.name, rest, parent)
    return path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(document)):
        if not link.startswith("https:"):
            assert (ROOT / link).exists(), f"{document} links to {link}"


@pytest.mark.parametrize("words", commands_of("README.md"), ids=" ".join)
def test_a_command_in_the_readme_is_one_that_edgemat_takes(words: list[str]) -> None:
    parse(words)


def test_the_parser_refuses_what_edgemat_does_not_take() -> None:
    with pytest.raises(click.UsageError, match="--sise"):
        parse(["export", "--target", "onnx", "--sise", "256x256"])
    with pytest.raises(click.UsageError, match="exprot"):
        parse(["exprot"])


def test_the_readme_shows_every_command() -> None:
    shown = {parse(words)[0] for words in commands_of("README.md")}
    named = {name for name in app.commands if f"`edgemat {name}`" in text_of("README.md")}
    assert shown | named == set(app.commands)


def test_the_readmes_table_is_that_of_the_targets() -> None:
    found = re.search(r"<!-- targets -->\n(.*?)\n<!-- /targets -->", text_of("README.md"), re.DOTALL)
    assert found is not None
    assert found.group(1) == markdown_table(targets()), "paste: edgemat targets --markdown"


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == __version__


def test_every_target_has_its_extra() -> None:
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert {target.extra for target in targets()} <= set(extras)
    alone = ("all", "coreai", "dev")  # Core AI is a beta: it is installed by name only
    assert {name for name in extras if name not in alone} == set(re.findall(r"\w+", extras["all"][0])[1:])


def requirements(*leave_out: str) -> list[str]:
    """Return every requirement of the package and of its extras but some."""
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    extras = project["optional-dependencies"].items()
    lines = [*project["dependencies"], *(line for name, e in extras if name not in leave_out for line in e)]
    return [line.partition(";")[0] for line in lines if not line.startswith("edgemat")]


def pins(name: str) -> list[str]:
    return [line for line in text_of(name).splitlines() if line and not line.startswith("#")]


def test_the_oldest_tested_versions_are_the_lower_bounds() -> None:
    assert set(pins("constraints-oldest.txt")) == {line.replace(">=", "==") for line in requirements("dev")}


def test_the_reproducible_versions_cover_every_dependency() -> None:
    pinned = {pin.partition("==")[0] for pin in pins("constraints.txt")}
    assert {re.split(r"[>=]=", line)[0] for line in requirements()} <= pinned
