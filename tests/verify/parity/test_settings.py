"""Limits are read from TOML, what is nearest wins, and nothing that means nothing is let pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.verify.parity import settings
from edgemat.verify.parity.limits import Limits
from edgemat.verify.parity.settings import Settings

EXAMPLE = """
[tool.edgemat.parity]
require = ["coreml", "tflite"]
timeout_seconds = 120
[tool.edgemat.parity.quality]
grad = 3.0
conn = false
[tool.edgemat.parity.strata]
mad = 8
[tool.edgemat.parity.conversion]
psnr = 55.0
[tool.edgemat.parity.targets.tflite.conversion]
psnr = false
[tool.edgemat.parity.targets.tflite.int8.conversion]
within_one = 0.999
[tool.edgemat.parity.targets.tflite.int8.quality]
grad = 2
"""


def pyproject(folder: Path, text: str = EXAMPLE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


def test_what_is_nearest_wins(tmp_path: Path) -> None:
    found = settings.read(pyproject(tmp_path))
    assert found.require == ("coreml", "tflite")
    assert found.timeout_seconds == 120.0
    default, other, target, nearest = (
        Settings().limits("onnx", "int8"),
        found.limits("onnx", "int8"),
        found.limits("tflite", "fp16"),
        found.limits("tflite", "int8"),
    )
    assert default == Limits()
    assert (other.conversion.psnr, target.conversion.psnr, nearest.conversion.psnr) == (55.0, None, None)
    assert (other.conversion.within_one, nearest.conversion.within_one) == (None, 0.999)
    assert (other.quality.whole["grad"], nearest.quality.whole["grad"]) == (3.0, 2.0)
    assert "conn" in default.quality.whole
    assert "conn" not in other.quality.whole
    assert other.quality.whole["mad"] == default.quality.whole["mad"]
    assert (other.quality.strata["mad"], default.quality.strata["mad"]) != (8.0, 8.0)


def test_the_command_line_wins_over_all(tmp_path: Path) -> None:
    found = settings.read(pyproject(tmp_path)).override(["quality.grad=1.5", "conversion.within_one=off"])
    assert found.limits("tflite", "int8").quality.whole["grad"] == 1.5
    assert found.limits("tflite", "int8").conversion.within_one is None
    assert found.override(()) == found


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("grad=3", "expected SECTION.NAME=NUMBER"),
        ("quality.grad", "expected SECTION.NAME=NUMBER"),
        ("quality.grad=much", "'much' is no number"),
        ("quality.gradd=3", "did you mean 'grad'"),
        ("qualty.grad=3", "did you mean 'quality'"),
        ("quality.grad=-1", "expected a number of 0 or more"),
        ("quality.grad=nan", "expected a number of 0 or more"),
    ],
)
def test_a_word_that_is_no_limit_is_refused(word: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Settings().override([word])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("requires = ['coreml']", r"requires: unknown; did you mean 'require'\? known: require, timeout_seconds"),
        ("require = 3", "require = 3, expected names of targets"),
        ("timeout_seconds = '1'", "timeout_seconds = '1', expected seconds"),
        ("timeout_seconds = 0", r"timeout_seconds = 0\.0, expected seconds, more than 0"),
        ("quality = 3", "quality = 3, expected a table"),
        ("[quality]\nmat = 3", r"quality\.mat: unknown; did you mean 'mad'"),
        ("[quality]\nmad = true", r"quality\.mad = True, expected a number"),
        ("[quality]\nmad = '3'", r"quality\.mad = '3', expected a number"),
        ("[conversion]\nwithin_one = 99", r"within_one = 99, expected a share in \[0, 1\]"),
        ("[conversion]\nlsb = 9", r"lsb = 9, expected whole codes, 0 to 7"),
        ("[conversion]\nlsb = 1.5", r"lsb = 1\.5, expected whole codes"),
        ("[composite]\nshare = false", r"composite\.share = false: this limit cannot be left out"),
        ("[composite]\nshare = 50", "expected 0 <= share <= worst"),
        ("targets = 3", "expected tables such as"),
        ("[targets.tflight.quality]\nmad = 3", r"targets\.tflight: unknown; did you mean 'tflite'"),
        ("[targets.tflite.int4.quality]\nmad = 3", r"targets\.tflite: int4: unknown"),
        ("[targets.tflite]\nint8 = 3", r"targets\.tflite\.int8 = 3, expected a table"),
        ("[targets]\ntflite = 3", r"targets\.tflite = 3, expected a table"),
        ("[targets.tflite.int8.strata]\nmadd = 3", r"strata\.madd: unknown; did you mean 'mad'"),
        ("[ratchet]\nrelativ = 3", r"ratchet\.relativ: unknown; did you mean 'relative'"),
    ],
)
def test_what_means_nothing_is_refused_with_the_file_and_a_hint(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[parity]\n" + re.sub(r"(?m)^\[", "[parity.", text))
    with pytest.raises(InputError, match=rf"own\.toml: .*{told}"):
        settings.read(path)


def test_a_file_without_the_table_is_refused_when_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no table \[tool\.edgemat\.parity\]"):
        settings.read(pyproject(tmp_path, "[tool.ruff]"))
    with pytest.raises(InputError, match="cannot be read as TOML"):
        settings.read(pyproject(tmp_path, "a = "))
    with pytest.raises(InputError, match="cannot be read as TOML"):
        settings.read(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"parity = 3, expected a table"):
        settings.read(pyproject(tmp_path, "[tool.edgemat]\nparity = 3"))


def test_the_nearest_file_with_the_table_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert settings.find(inner).origin in ("", str(Path("/pyproject.toml")))  # whatever lies above a temporary folder
    pyproject(tmp_path)
    pyproject(inner, "[tool.ruff]")
    assert settings.find(inner).timeout_seconds == 120.0
    (tmp_path / "a" / "edgemat.toml").write_text("[lint]\n[parity]\ntimeout_seconds = 7")
    assert settings.find(inner).timeout_seconds == 7.0
    pyproject(inner, "[tool.edgemat.parity]\ntimeout_seconds = 8")
    assert settings.find(inner).timeout_seconds == 8.0
    (inner / "edgemat.toml").write_text("[parity]\ntimeout_seconds = 9")
    assert settings.find(inner).timeout_seconds == 9.0


def test_the_report_holds_the_limits(tmp_path: Path) -> None:
    import json

    document = settings.read(pyproject(tmp_path)).to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["origin"] == "pyproject.toml"
    assert document["targets"] == [
        {"for": "tflite", "conversion": {"psnr": None}},
        {"for": "tflite int8", "conversion": {"within_one": 0.999}, "quality": {"grad": 2}},
    ]
