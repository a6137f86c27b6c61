"""The GitHub Action: it is well-formed, its inputs reach the commands unharmed, and it gates."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgemat.cli import app

ROOT = Path(__file__).resolve().parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
BASH = shutil.which("bash")
RECORD = """#!/bin/bash
printf '%s\\0' "{name}" "$@" $'\\n' >> "$RECORD"
{more}
"""

pytestmark = pytest.mark.skipif(BASH is None or os.name == "nt", reason="the action's steps are written for bash")


def step(name: str) -> dict[str, Any]:
    return next(step for step in STEPS if step.get("name") == name)


class Runner:
    """Runs the shell steps as GitHub does, with commands that only note what they were given."""

    def __init__(self, home: Path) -> None:
        self.home, self.record, self.output = home, home / "record", home / "output"
        (home / "bin").mkdir()
        for name in ("python", "edgemat"):
            self.command(name, "")
        self.output.touch()

    def command(self, name: str, more: str) -> None:
        place = self.home / "bin" / name
        place.write_text(RECORD.format(name=name, more=more))
        place.chmod(place.stat().st_mode | stat.S_IEXEC)

    def run(self, name: str, **inputs: str) -> int:
        given = {key: str(about.get("default", "")) for key, about in ACTION["inputs"].items()}
        given |= {key.replace("_", "-"): value for key, value in inputs.items()}
        chosen = step(name)
        environment = {
            key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], value)
            for key, value in chosen.get("env", {}).items()
        }
        script = self.home / "script.sh"
        script.write_text(chosen["run"])
        environment |= {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "RECORD": str(self.record),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(self.output),
        }
        command = [str(BASH), "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        return subprocess.run(command, env=environment, cwd=self.home, check=False).returncode

    def calls(self) -> list[list[str]]:
        if not self.record.exists():
            return []
        return [line.strip("\0").split("\0") for line in self.record.read_text().split("\n") if line.strip("\0")]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_every_step_is_complete_and_every_reference_resolves() -> None:
    ids = {step["id"] for step in STEPS if "id" in step}
    for one in STEPS:
        assert ("uses" in one) != ("run" in one)
        assert "uses" in one or one["shell"] == "bash"
        assert "uses" not in one or re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", one["uses"])
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert set(re.findall(r"steps\.(\w+)\.", text)) <= ids
    assert all(about.get("description") for about in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))


def test_no_value_becomes_part_of_a_script() -> None:
    assert all("${{" not in one["run"] for one in STEPS if "run" in one)


def test_it_installs_edgemat_from_its_own_path_and_torch_first(runner: Runner) -> None:
    assert runner.run("Install edgemat", extra="eval,coreml") == 0
    torch, edgemat = runner.calls()
    assert torch[:5] == ["python", "-m", "pip", "install", "--index-url"]
    assert torch[-1].startswith("torch==")
    assert edgemat[-1] == f"{ROOT}[eval,coreml]"
    runner.record.unlink()
    assert runner.run("Install edgemat", torch_index="") == 0
    assert "--index-url" not in runner.calls()[0]


def test_the_extras_that_it_names_are_there() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert ACTION["inputs"]["extra"]["default"] in extras


def test_inputs_reach_parity_one_word_each_and_empty_ones_are_left_out(runner: Runner) -> None:
    nasty = 'my out"; touch owned; $(touch owned) `touch owned`'
    assert runner.run("Parity", folder=nasty, require="coreml,tflite", config="a b.toml") == 0
    (call,) = runner.calls()
    assert call[:3] == ["edgemat", "parity", nasty]
    assert call[3:] == ["--require", "coreml,tflite", "--images", "holdout", "--limit", "32", "--config", "a b.toml"]
    assert not (runner.home / "owned").exists()


@pytest.mark.parametrize("name", ["Fetch the hold-out", "Parity", "Lint", "Report"])
def test_the_commands_are_such_as_edgemat_takes(runner: Runner, name: str) -> None:
    every = {key: "x" for key in ("targets", "require", "images", "config", "baseline")}
    place = runner.home / "out" / "proof"
    place.mkdir(parents=True)
    (place / "parity.json").touch()
    assert runner.run(name, folder="out", limit="8", **every) == 0
    for call in runner.calls():
        command, rest = app, call[1:]
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(command.name, list(rest), resilient_parsing=False)


def test_a_failed_gate_fails_the_step_and_the_report_is_made_nevertheless(runner: Runner) -> None:
    runner.command("edgemat", "exit 1")
    assert runner.run("Parity", folder="out") == 1
    runner.command("edgemat", "")
    for name in ("Lint", "Report", "Keep the proof"):
        assert step(name)["if"].startswith("always() &&")
    place = runner.home / "out" / "proof"
    place.mkdir(parents=True)
    (place / "parity.json").touch()
    (place / "lint.sarif").touch()
    assert runner.run("Report", folder="out") == 0
    outputs = dict(line.split("=", 1) for line in runner.output.read_text().splitlines())
    assert outputs == {
        "page": "out/proof/report.html", "junit": "out/proof/junit.xml", "sarif": "out/proof/lint.sarif"
    }  # fmt: skip
    assert {f"steps.report.outputs.{key}" for key in outputs} == {
        about["value"].strip("${} ") for about in ACTION["outputs"].values()
    }


def test_where_parity_could_not_begin_nothing_is_claimed(runner: Runner) -> None:
    assert runner.run("Report", folder="out") == 0
    assert runner.calls() == []
    assert runner.output.read_text() == ""


def test_the_readme_shows_how_it_is_used() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (used,) = [one for one in yaml.safe_load(block) if "edgemat" in one.get("uses", "")]
    assert set(used["with"]) <= set(ACTION["inputs"])
    assert {key for key, about in ACTION["inputs"].items() if about.get("required")} <= set(used["with"])
    assert len(shlex.split(block)) < 20
