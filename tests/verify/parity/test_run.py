"""Every artefact gets its turn, whatever becomes of the others, and what went wrong is called by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.verify.exported import Entry, Exported, Failed
from edgemat.verify.parity import job, run
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.parity.report import Figure, Outcome, ParityReport
from edgemat.verify.parity.settings import Settings

Fakes = Callable[[Exported, dict[str, str]], Exported]
# the small network is random, and int8 costs it more than a trained one: what is judged here is who fails, not how much
LOOSE = Settings((("", {"quality": dict.fromkeys(("mad", "mse", "grad", "conn", "iou"), None),
                        "strata": dict.fromkeys(("mad", "grad", "conn"), None),
                        "composite": {"share": 99.0, "worst": 99.0}}),), timeout_seconds=120.0)  # fmt: skip


def outcome(report: ParityReport, name: str) -> Outcome:
    return next(found for found in report.outcomes if found.target == name)


@pytest.fixture(scope="module")
def clean(parity_folder: Path, parity_set: ParitySet) -> ParityReport:
    from edgemat.verify import exported

    return run.judge(exported.read(parity_folder), parity_set, LOOSE)[0]


def test_untouched_artefacts_pass(clean: ParityReport) -> None:
    assert [found.name for found in clean.outcomes] == ["onnx fp32", "onnx fp16", "onnx int8", "tflite int8"]
    assert [found.message for found in clean.outcomes] == [""] * 4
    assert clean.exit_code == 0
    for found in clean.outcomes:
        names = {figure.name for figure in found.figures if figure.limit is not None}
        judged = {"max_abs", "mean_abs", "psnr", "layer_rounding"} if "fp" in found.precision else {
            "layer_lsb", "layer_differ", "layers_hidden", "within_one", "wrong_scales"
        }  # fmt: skip
        assert judged | {"broken_promises"} <= names
        assert {figure.question for figure in found.figures} == {"conversion", "quantization", "composite"}
        assert found.proves
        assert len(found.sha256) == 64


def test_the_same_run_twice_is_the_same_but_for_timings(
    clean: ParityReport, found: Exported, parity_set: ParitySet
) -> None:
    again = run.judge(found, parity_set, LOOSE)[0]
    one, other = (json.dumps(dataclasses.replace(r, timings={}).to_json()) for r in (clean, again))
    assert one == other
    assert set(again.timings) == {"reference", "total", *(o.name for o in again.outcomes)}
    assert ParityReport.from_json(json.loads(json.dumps(again.to_json()))) == again


def test_whatever_a_back_end_does_the_others_finish(found: Exported, parity_set: ParitySet, fakes: Fakes) -> None:
    kinds = {
        "segfaults": "fp32", "nan": "fp32", "shape": "fp32", "double": "fp32", "range": "fp32", "raises": "fp32",
        "unpackable": "fp32", "refuses": "fp32", "dies_late": "int8",
    }  # fmt: skip
    report = run.judge(fakes(found, kinds), parity_set, LOOSE)[0]
    states = {o.target: o.state for o in report.outcomes}
    assert states == {
        **dict.fromkeys(kinds, "error"), "segfaults": "crashed", "dies_late": "crashed", "onnx": "passed"
    }  # fmt: skip
    assert report.exit_code == 1
    said = {o.target: o.message for o in report.outcomes}
    assert "crashed with SIGSEGV" in said["segfaults"]
    assert "1 of 16384 output values are NaN" in said["nan"]
    assert "the output is float32 (4, 63, 64), expected float32 (4, 64, 64)" in said["shape"]
    assert "the output is float64" in said["double"]
    assert "expected [0, 1]" in said["range"]
    assert "ZeroDivisionError: by zero" in said["raises"]
    assert "no model in it" in said["refuses"]
    assert "exit code 7" in said["dies_late"]


def test_a_hang_ends_and_the_others_finish(found: Exported, parity_set: ParitySet, fakes: Fakes) -> None:
    settings = dataclasses.replace(LOOSE, timeout_seconds=15.0)
    report = run.judge(fakes(found, {"hangs": "fp32"}), parity_set, settings)[0]
    assert [(o.target, o.state) for o in report.outcomes] == [("hangs", "timeout"), ("onnx", "passed")]
    assert "no answer within 15 s" in outcome(report, "hangs").message
    assert report.exit_code == 1


def test_a_tensor_that_is_hidden_and_alpha_two_codes_off_are_no_pass(
    found: Exported, parity_set: ParitySet, fakes: Fakes
) -> None:
    report = run.judge(fakes(found, {"hides": "int8", "shifts": "int8"}), parity_set, LOOSE)[0]
    broken = {o.target: {f.name for f in o.figures if not f.passed} for o in report.outcomes}
    assert broken == {"hides": {"layers_hidden"}, "shifts": {"within_one"}, "onnx": set()}
    assert "a conversion bug" in outcome(report, "hides").message
    assert "edgemat bisect" in outcome(report, "shifts").message


@pytest.mark.parametrize(
    ("require", "code", "failed"), [((), 0, False), (("absent",), 1, True), (("all",), 1, True)], ids=str
)
def test_what_cannot_run_here_is_no_pass_and_fails_only_where_required(
    require: tuple[str, ...], code: int, failed: bool, found: Exported, parity_set: ParitySet, fakes: Fakes
) -> None:
    folder = fakes(found, {"absent": "fp32", "lacks": "fp32"})
    gone = dataclasses.replace(folder.entries[0].target, requires=("no_such_module",), extra="absent")
    entries = (dataclasses.replace(folder.entries[0], target=gone), *folder.entries[1:])
    report = run.judge(dataclasses.replace(folder, entries=entries), parity_set, LOOSE, require=require)[0]
    assert [(o.target, o.state) for o in report.outcomes] == [
        ("absent", "unavailable"), ("lacks", "unavailable"), ("onnx", "passed")
    ]  # fmt: skip
    assert (report.exit_code, outcome(report, "absent").failed) == (code, failed)
    assert "no_such_module not installed; pip install 'edgemat[absent]'" in outcome(report, "absent").message
    assert any(sentence.startswith("absent fp32 was not run") for sentence in report.not_proven)


def test_nothing_that_can_run_is_exit_code_3(found: Exported, parity_set: ParitySet, fakes: Fakes) -> None:
    folder = fakes(found, {"lacks": "fp32"})
    assert run.judge(folder, parity_set, LOOSE, only=("lacks",))[0].exit_code == 3


def test_a_required_target_that_the_folder_lacks_fails(found: Exported, parity_set: ParitySet) -> None:
    report = run.judge(found, parity_set, LOOSE, require=("coreml",), only=("tflite",))[0]
    assert [(o.name, o.state, o.failed) for o in report.outcomes] == [
        ("tflite int8", "passed", False), ("coreml fp16", "unavailable", True)
    ]  # fmt: skip
    assert "edgemat export --target coreml" in report.outcomes[1].message
    with pytest.raises(InputError, match="did you mean 'coreml'"):
        run.judge(found, parity_set, LOOSE, require=("coremll",))[0]


def test_what_the_export_could_not_make_is_an_outcome(found: Exported, parity_set: ParitySet) -> None:
    failed = (Failed("tflite", "fp16", "gate", "too far"), Failed("coreml", "fp16", "unavailable", "no coremltools"))
    folder = dataclasses.replace(found, entries=found.entries[:1], failed=failed)
    report = run.judge(folder, parity_set, LOOSE)[0]
    assert [o.state for o in report.outcomes] == ["passed", "error", "unavailable"]
    assert "the export made no artefact: too far" in report.outcomes[1].message
    assert report.exit_code == 1


def test_a_loss_is_told_from_a_bug(found: Exported, parity_set: ParitySet) -> None:
    settings = LOOSE.override(["composite.share=0", "composite.worst=0"])
    report = run.judge(found, parity_set, settings, only=("tflite",))[0]
    assert [o.state for o in report.outcomes] == ["gate"]
    assert {f.question for f in report.outcomes[0].figures if not f.passed} == {"composite"}
    assert report.outcomes[0].message.startswith("converted rightly, but its precision costs too much")
    assert report.outcomes[0].tensor == ""


def test_without_the_float_network_that_is_said(found: Exported, parity_set: ParitySet) -> None:
    folder = dataclasses.replace(
        found, entries=found.entries[-1:], trunks=dataclasses.replace(found.trunks, plain=None)
    )
    report = run.judge(folder, parity_set, LOOSE)[0]
    assert report
    assert any("float network was not exported" in sentence for sentence in report.not_proven)


def test_images_of_another_size_are_refused(found: Exported, parity_set: ParitySet) -> None:
    small = dataclasses.replace(
        parity_set,
        images=parity_set.images[:, :32],
        truth=None,
        clips=parity_set.clips[:, :, :32],
        clip_truth=parity_set.clip_truth[:, :, :32],
    )
    with pytest.raises(InputError, match=r"the images are 32x64, the artefacts of .* take 64x64"):
        run.judge(found, small)[0]
    with pytest.raises(InputError, match=r"--targets coreml: .* holds onnx, tflite"):
        run.judge(found, parity_set, only=("coreml",))[0]


def test_a_limit_that_cannot_fail_is_refused_before_anything_runs(found: Exported, parity_set: ParitySet) -> None:
    with pytest.raises(InputError, match=r"onnx fp32: gate needs .*; the target's own: 1e-05, 1e-06"):
        run.judge(found, parity_set, Settings().override(["conversion.max_abs=2"]))[0]


def test_equal_alphas_are_measured_once(parity_set: ParitySet) -> None:
    class Counted:
        calls = 0

        def figures(self, alphas: np.ndarray, limits: object) -> tuple[()]:
            self.calls += 1
            return ()

    quality, composite = Counted(), Counted()
    measures = job.Measures(quality, composite)  # type: ignore[arg-type]
    limits = Settings().limits("onnx", "fp32")
    alpha = np.zeros((1, 4, 4), np.float32)
    for given in (alpha, alpha.copy(), alpha + 1):
        measures.figures(given, limits)
    measures.figures(alpha, Settings().override(["quality.mad=9"]).limits("onnx", "fp32"))
    assert (quality.calls, composite.calls) == (3, 3)


def test_an_oracle_is_asked_about_what_gave_an_answer(found: Exported, parity_set: ParitySet, fakes: Fakes) -> None:
    asked: list[tuple[list[str], int]] = []

    def oracle(entries: Sequence[Entry], images: np.ndarray, say: Callable[[str], None]) -> list[Outcome]:
        asked.append(([entry.name for entry in entries], len(images)))
        broken = Figure("conversion", "max_abs", 0.5, limit=0.1, passed=False)
        return [Outcome("onnx in an oracle", "fp32", "a.onnx", "", "gate", "they disagree", figures=(broken,))]

    report = run.judge(
        fakes(found, {"segfaults": "fp32"}), parity_set, LOOSE, oracle=oracle, only=("segfaults", "onnx")
    )[0]
    assert asked == [(["onnx fp32"], 4)]
    assert [o.target for o in report.outcomes] == ["segfaults", "onnx", "onnx in an oracle"]
    assert report.exit_code == 1
