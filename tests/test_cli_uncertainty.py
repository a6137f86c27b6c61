"""``edgemat uncertainty``: exit codes, table, JSON and files, with a teacher and samples that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.cli import main
from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify import holdout, uncertainty_report

SIZE = 32
Alphas = npt.NDArray[np.float32]
_RNG = np.random.default_rng(0)
TRUTH = np.zeros((4, SIZE, SIZE), np.float32)
TRUTH[:, 8:24, 8:24] = 1
ERROR = _RNG.random(TRUTH.shape).astype(np.float32) / 2
SAMPLES = [
    Sample(np.zeros((SIZE, SIZE, 3), np.uint8), truth, truth, truth, f"face-{number}", kinds, kinds)
    for number, (truth, kinds) in enumerate(zip(TRUTH, ((), ("hand",), ("hand", "cup"), ()), strict=True))
]

Use = Callable[[Alphas], list[object]]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Give the command a teacher of a given uncertainty; return what it asked for."""

    def give(uncertainty: Alphas) -> list[object]:
        asked: list[object] = []

        def teacher(weights: Path | None) -> uncertainty_report.Predict:
            asked.append(weights)
            return lambda _: (np.abs(TRUTH - ERROR), uncertainty)

        def samples(split: str, per_face: int) -> list[Sample]:
            asked.extend([split, per_face])
            return SAMPLES

        monkeypatch.setattr(uncertainty_report, "teacher", teacher)
        monkeypatch.setattr(holdout, "samples", samples)
        return asked

    return give


def test_an_oracle_exits_0_and_says_what_it_wrote(use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = use(ERROR)
    assert main(["uncertainty", "--out", str(tmp_path / "out")]) == 0
    assert asked == [None, "test", 8]
    captured = capsys.readouterr()
    head, first, *rest = captured.out.splitlines()
    assert head.split()[:3] == ["group", "region", "images"]
    assert first.split()[:3] == ["all", "frame", "4"]
    assert first.split()[6] == "1.000"
    assert any(line.startswith("occluder: hand") for line in rest)
    assert "error:" not in captured.err
    assert "1 [1, 1]" in captured.err
    assert json.loads((tmp_path / "out" / "uncertainty.json").read_text())["passed"] is True
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["uncertainty-images.png", "uncertainty.json", "uncertainty.png"]
    assert all(name in captured.err for name in written)


@pytest.mark.parametrize(
    "planted",
    [_RNG.permutation(ERROR.ravel()).reshape(ERROR.shape), np.full_like(ERROR, 0.1), 0.5 - ERROR],
    ids=["shuffled", "constant", "inverted"],
)
def test_a_planted_bad_uncertainty_exits_1_and_says_why(
    planted: Alphas, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(planted)
    assert main(["uncertainty", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "error: Spearman correlation of uncertainty and |error| is" in captured.err
    assert "error: AUSE is" in captured.err
    assert json.loads((tmp_path / "uncertainty.json").read_text())["passed"] is False


@pytest.mark.parametrize(("uncertainty", "code"), [(ERROR, 0), (0.5 - ERROR, 1)], ids=["oracle", "inverted"])
def test_json_is_one_document_and_nothing_else(
    uncertainty: Alphas, code: int, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = use(uncertainty)
    words = ["--json", "--split", "val", "--per-face", "2", "--weights", "teacher.safetensors"]
    assert main(["uncertainty", *words]) == code
    assert asked == [Path("teacher.safetensors"), "val", 2]
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["passed"] is (code == 0)
    assert bool(document["failures"]) is (code == 1)


def test_a_bad_uncertainty_exits_2_and_names_the_image(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ERROR.copy()
    bad[2, 0, 0] = np.nan
    use(bad)
    assert main(["uncertainty"]) == 2
    captured = capsys.readouterr()
    assert "image 2 (face face-2)" in captured.err
    assert captured.out == ""


def test_missing_data_exits_2(use: Use, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use(ERROR)

    def samples(split: str, per_face: int) -> list[Sample]:
        raise InputError("not here; run: edgemat data fetch")

    monkeypatch.setattr(holdout, "samples", samples)
    assert main(["uncertainty"]) == 2
    assert "edgemat data fetch" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--per-face", "0"], ["--split", "train"]])
def test_wrong_usage_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uncertainty", *words]) == 2
    assert words[0] in capsys.readouterr().err
