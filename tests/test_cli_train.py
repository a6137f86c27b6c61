"""``edgemat train``, ``edgemat ablate`` and ``edgemat data annotate``: what they ask for, exit codes, messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgemat.cli import main
from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.train import ablate as experiment
from edgemat.train import annotate, recipes, run, speed
from edgemat.verify import ablation, holdout

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]


def recorded(calls: Calls, result: object) -> Callable[..., object]:
    def call(*words: object, **told: object) -> object:
        calls.append((words, told))
        return result

    return call


@pytest.mark.parametrize(("stage", "judge"), [("teacher", "uncertainty"), ("student", "evaluate")])
@pytest.mark.parametrize(("done", "code"), [(True, 0), (False, 130)])
def test_a_stage_is_trained_as_told(
    stage: str, judge: str, done: bool, code: int,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    calls: Calls = []
    monkeypatch.setattr(run, f"train_{stage}", recorded(calls, done))
    words = ["--out", str(tmp_path / "out"), "--data", "set", "--init", "i.safetensors", "--steps", "7", "--seed", "5"]
    assert main(["train", stage, *words, "--workers", "3"]) == code
    ((recipe, out), told) = calls[0]
    assert (recipe.steps, recipe.seed, recipe.workers, recipe.network) == (7, 5, 3, stage)
    assert out == tmp_path / "out"
    assert (told["data"], told["init"]) == (Path("set"), Path("i.safetensors"))
    name = {"teacher": "teacher", "student": "plain"}[stage]
    assert told["command"].startswith(f"edgemat train {stage} --recipe {name} --steps 7 --seed 5")
    assert "--workers" not in told["command"]  # it changes no weight
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (f"edgemat {judge} --weights" if done else "go on with the same command") in captured.err


def test_a_recipe_that_needs_a_teacher_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any data is read: the command fails at once."""
    assert main(["train", "student", "--recipe", "distil", "--out", str(tmp_path)]) == 2
    assert "--teacher" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_is_not_asked_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "student", "--teacher", "t.safetensors", "--out", str(tmp_path)]) == 2
    assert "--teacher: the recipe asks no teacher" in capsys.readouterr().err


def test_qat_begins_with_our_student_and_teacher_and_says_which_file_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: Calls = []
    monkeypatch.setattr(run, "train_qat", recorded(calls, True))
    out = tmp_path / "out"
    assert main(["train", "qat", "--recipe", "qat-symmetric", "--out", str(out), "--steps", "9"]) == 0
    ((recipe, where, model), told) = calls[0]
    assert (recipe.scheme, recipe.steps, where) == ("static_w8c_a8s", 9, out)
    assert [v.name for v in model.graph.output] == ["alpha"]
    assert (told["init"], told["teacher"]) == (weights.shipped(), weights.shipped_teacher())
    assert told["command"] == "edgemat train qat --recipe qat-symmetric --steps 9"
    assert "student-static_w8c_a8s.safetensors" in capsys.readouterr().err


def test_speed_prints_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: Calls = []
    monkeypatch.setattr(run, "source_of", lambda recipe, data: data)
    monkeypatch.setattr(speed, "measure", recorded(calls, speed.Speed(30.0, 10.0, 2)))
    assert main(["train", "speed", "--workers", "2", "--data", "set", "--rounds", "3"]) == 0
    ((stage, source, rounds), _) = calls[0]
    assert (source, rounds, stage.recipe.workers) == (Path("set"), 3, 2)
    assert not stage.recipe.needs_teacher
    assert "ratio 3.00" in capsys.readouterr().out


class Report:
    """A comparison that says little."""

    def to_json(self) -> dict[str, object]:
        return {"schema_version": 1}

    def markdown(self) -> str:
        return "| arm |"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls: Calls = []
    monkeypatch.setattr(holdout, "samples", lambda split="test", per_face=8: [per_face])
    monkeypatch.setattr(experiment, "ablate", recorded(calls, Report()))
    monkeypatch.setattr(ablation, "failures", lambda report: [])
    return calls


def test_an_ablation_whose_claim_holds_exits_0(
    compared: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablate", "--out", str(tmp_path), "--steps", "9", "--seeds", "4", "--per-face", "2"]) == 0
    (recipe, teacher, out, held), told = compared[0]
    assert recipe == experiment.dataclasses.replace(recipes.student("ablation"), steps=9)
    assert (teacher, out, held) == (weights.shipped_teacher(), tmp_path, [2])
    assert (told["arms"], told["seeds"], told["data"]) == (tuple(experiment.ARMS), 4, None)
    assert json.loads((tmp_path / "ablation.json").read_text()) == {"schema_version": 1}
    assert (tmp_path / "ablation.md").read_text() == "| arm |"
    captured = capsys.readouterr()
    assert captured.out.strip() == "| arm |"
    assert "FAILED" not in captured.err


def test_an_ablation_whose_claim_fails_exits_1_and_says_why(
    compared: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablation, "failures", lambda report: ["it does not help"])
    assert main(["ablate", "--out", str(tmp_path)]) == 1
    assert "FAILED: it does not help" in capsys.readouterr().err
    assert (tmp_path / "ablation.md").exists()


def test_without_the_weighted_arm_nothing_is_claimed(
    compared: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "failures", lambda report: ["it does not help"])
    assert main(["ablate", "--out", str(tmp_path), "--arms", "truth, unweighted"]) == 0
    assert compared[0][1]["arms"] == ("truth", "unweighted")


def test_a_stopped_ablation_exits_130_and_writes_no_report(
    compared: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "ablate", recorded(compared, None))
    assert main(["ablate", "--out", str(tmp_path)]) == 130
    assert "go on with the same command" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_arm_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(holdout, "samples", lambda split="test", per_face=8: [])
    assert main(["ablate", "--out", str(tmp_path), "--arms", "unweighted,sideways"]) == 2
    assert "--arms unweighted, sideways: expected" in capsys.readouterr().err


def test_annotate_takes_the_shipped_teacher_and_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: Calls = []
    monkeypatch.setattr(annotate, "annotate", recorded(calls, 12))
    assert main(["data", "annotate", "--data", "set", "--out", str(tmp_path / "out")]) == 0
    (words, _) = calls[0]
    assert words[:4] == (Path("set"), weights.shipped_teacher(), tmp_path / "out", 256)
    words[4](12, 12)
    said = capsys.readouterr().err
    assert "12 examples, complete" in said
    assert f"--recipe distil --teacher {weights.shipped_teacher()} --data {tmp_path / 'out'}" in said.replace("\n", "")


def test_annotate_exits_2_where_there_is_no_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "annotate", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "found nothing; expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("error", [InputError("the set is gone")])
def test_errors_of_a_run_exit_2(
    error: InputError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise error

    monkeypatch.setattr(run, "train_teacher", fail)
    assert main(["train", "teacher", "--out", str(tmp_path)]) == 2
    assert "the set is gone" in capsys.readouterr().err
