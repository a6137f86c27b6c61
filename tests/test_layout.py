"""The house is as CONTRIBUTING.md says: one import name, documented modules, short files, tests beside their source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for folder in ("edgemat", "export", "quantize", "calib_data") for path in (ROOT / folder).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
LONGEST = 400


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", ["export", "quantize"])
def test_a_folder_at_the_top_imports_only_under_its_installed_name(folder: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {folder}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"import edgemat.{folder}, not {folder}" in done.stderr


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_a_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text, f"{name_of(path)} has no docstring"
    assert text.splitlines()[0].endswith((".", ":")), f"{name_of(path)}: {text.splitlines()[0]!r} is no sentence"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name_of(path)} has {lines} lines, more than {LONGEST}: which two things does it do?"


@pytest.mark.parametrize(
    "path", [p for p in TESTS if p.parent not in (ROOT / "tests", ROOT / "tests" / "campaign")], ids=name_of
)  # those directly in tests/ and the campaign of planted faults test the product as a whole
def test_the_tests_mirror_the_source(path: Path) -> None:
    folder = path.parent.relative_to(ROOT / "tests")
    homes = [ROOT / folder, ROOT / "edgemat" / folder]
    assert any(home.is_dir() for home in homes), f"tests/{folder} mirrors no source folder"


def test_every_package_is_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = set(project["tool"]["setuptools"]["packages"])
    found = set()
    for path in SOURCES:
        if path.name == "__init__.py":
            parts = path.parent.relative_to(ROOT).parts
            found.add(".".join(parts if parts[0] == "edgemat" else ("edgemat", *parts)))
    assert declared == found
