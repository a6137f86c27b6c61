"""Every example in a docstring runs, under the installed name of its module."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALONE = [f"edgemat.export.coreai.{name}" for name in ("_author", "_child", "_facts")]
"""Modules that need an extra which is in no other."""


def modules() -> list[str]:
    """Return the installed name of every module in the source tree."""
    found = []
    for folder in ("edgemat", "export", "quantize", "calib_data"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if folder == "edgemat" else ("edgemat", *parts))
            if path.stem != "__main__":
                found.append(name.removesuffix(".__init__"))
    return sorted(found)


@pytest.mark.parametrize("name", modules())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name in ALONE and importlib.util.find_spec("coreai") is None:
        pytest.skip("needs coreai, an extra of its own")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name} fail; see the output above"


def test_examples_are_really_run() -> None:
    counts = {
        name: sum(len(t.examples) for t in doctest.DocTestFinder().find(importlib.import_module(name)))
        for name in ("edgemat.files", "edgemat.export", "edgemat.console")
    }
    assert min(counts.values()) > 0, counts
