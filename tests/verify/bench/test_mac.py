"""The Mac script against a coremltools that the test plays, and its result read back, whole and broken."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemat import export
from edgemat.errors import InputError
from edgemat.export._target import Trunks
from edgemat.verify.bench import mac
from edgemat.verify.bench.ratio import Gate
from edgemat.verify.bench.report import from_json
from edgemat.verify.exported import Entry, Exported

from . import fake_coremltools

pytest.importorskip("coremltools")
GATE = Gate("coreml fp16", "coreml fp32", 0.7)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks) -> Exported:
    """Return a folder with three real packages of the small student."""
    target, out = export.get("coreml"), tmp_path_factory.mktemp("out")
    entries = []
    for precision in ("fp32", "fp16", "w8a8"):
        trunk, path = trunks.get(target, precision), out / f"s-{precision}.mlpackage"
        target.convert(trunk, precision, path)
        entries.append(Entry(target, precision, path, trunk))
    return Exported(out, tuple(entries), trunks, (), {})


@pytest.fixture(scope="module")
def script(found: Exported, images: np.ndarray) -> Path:
    """Return the script, written beside the packages."""
    place, golden = mac.write_script(found, images[:2], found.folder / "mac_bench.py")
    assert golden.name == "mac_bench.npz"
    return place


def run(script: Path, tmp_path: Path, *words: str, **environment: str) -> dict[str, Any]:
    """Run the script where coremltools is the fake one; return what it wrote."""
    fake_coremltools.write(tmp_path / "fake")
    out = tmp_path / "mac.json"
    names = {"PYTHONPATH": str(tmp_path / "fake"), "FAKE_GOLDEN": str(script.with_suffix(".npz")), **environment}
    command = [sys.executable, str(script), "--out", str(out), "--rounds", "6", "--starts", "2", *words]
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(out.read_text())
    return document


@pytest.fixture(scope="module")
def document(script: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what an untroubled Mac writes."""
    return run(script, tmp_path_factory.mktemp("mac"), "--units", "CPU_ONLY", "CPU_AND_NE")


def merged(found: Exported, document: dict[str, Any], tmp_path: Path, *gates: Gate) -> Any:
    (tmp_path / "mac.json").write_text(json.dumps(document))
    return mac.merge(found, tmp_path / "mac.json", gates)


def test_the_script_needs_no_edgemat_and_no_new_python() -> None:
    tree = ast.parse(mac.script(), feature_version=(3, 9))
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
             for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}  # fmt: skip
    assert not any(str(name).startswith("edgemat") for name in names)
    compile(mac.script(), "mac_bench.py", "exec")


def test_the_fake_has_the_signatures_of_the_real_one() -> None:
    pytest.importorskip("coremltools.models.ml_program.experimental", reason="the script needs a newer coremltools")
    from coremltools.models.compute_plan import MLComputePlan
    from coremltools.models.ml_program.experimental.debugging_utils import MLModelComparator
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    def takes(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    assert {"inputs", "iterations", "warmup"} <= takes(MLModelBenchmarker.benchmark_predict)
    assert {"iterations"} <= takes(MLModelBenchmarker.benchmark_load)
    assert {"reference_model", "target_model"} <= takes(MLModelComparator)
    assert {"inputs", "compare_outputs"} <= takes(MLModelComparator.find_failing_ops)
    assert {"path", "compute_units"} <= takes(MLComputePlan.load_from_path)


def test_the_golden_file_has_the_alpha_that_each_package_owes(
    found: Exported, script: Path, images: np.ndarray
) -> None:
    with np.load(script.with_suffix(".npz"), allow_pickle=False) as golden:
        assert (golden["images"] == images[:2]).all()
        gates = {p["file"]: p["gate"] for p in json.loads(str(golden["index"]))["packages"]}
        assert gates["s-w8a8.mlpackage"] == {"within_one": 0.99}
        assert gates["s-fp32.mlpackage"] == {"max_abs": 1e-5, "mean_abs": 1e-6}
        for entry in found.entries:
            with entry.target.load(entry.path) as runner:
                apart = np.abs(runner.run(images[:2]) - golden[f"alpha:{entry.path.name}"])
            assert apart.max() <= (1.001 / 255 if entry.precision == "w8a8" else entry.gate.max_abs)  # type: ignore[union-attr]


def test_an_untroubled_mac_is_merged_with_placement(found: Exported, document: dict[str, Any], tmp_path: Path) -> None:
    report = merged(found, document, tmp_path, GATE)
    assert len(report.rows) == 6
    row = next(r for r in report.rows if (r.name, r.where) == ("coreml fp16", "CPU_AND_NE"))
    assert (row.median, row.calls, row.load_ms, row.settled) == (1.0, 36, 12.5, True)
    assert row.placement == {"CPU": 1, "NE": 2}
    assert row.operators[-1] == {
        "name": "alpha", "op": "resize_bilinear", "device": "CPU", "supported": ["CPU"], "cost": None,
    }  # fmt: skip
    assert row.difference["max_abs"] == 0
    ratio = next(r for r in report.ratios if (r.name, r.where) == ("coreml fp16", "CPU_AND_NE"))
    assert (ratio.value, ratio.verdict, ratio.device) == (0.5, "faster", row.device)
    assert [judged.state for judged in report.gates] == ["passed", "passed"]
    assert report.exit_code == 0
    assert from_json(json.loads(json.dumps(report.to_json()))) == report


def test_alpha_far_from_the_reference_fails_with_the_operation(found: Exported, script: Path, tmp_path: Path) -> None:
    document = run(script, tmp_path, "--units", "CPU_ONLY", "CPU_AND_NE", FAKE_WRONG="s-fp16.mlpackage CPU_AND_NE")
    report = merged(found, document, tmp_path)
    assert [one.name for one in report.broken] == ["coreml fp16, CPU_AND_NE"]
    assert "beyond its gate (max_abs 0.01" in report.broken[0].reason
    row = next(r for r in report.rows if (r.name, r.where) == ("coreml fp16", "CPU_AND_NE"))
    assert "it parts from the CPU at conv_3" in row.note
    assert report.exit_code == 1


def test_what_a_mac_cannot_open_fails_and_the_others_are_there(found: Exported, script: Path, tmp_path: Path) -> None:
    document = run(script, tmp_path, "--units", "CPU_ONLY", FAKE_REFUSES="s-w8a8.mlpackage")
    report = merged(found, document, tmp_path)
    assert [row.name for row in report.rows] == ["coreml fp32", "coreml fp16"]
    assert [one.name for one in report.broken] == ["coreml w8a8, CPU_ONLY"]
    assert report.exit_code == 1


def test_a_start_that_dies_ends_the_script_with_its_number(script: Path, tmp_path: Path) -> None:
    fake_coremltools.write(tmp_path / "fake")
    (tmp_path / "fake" / "coremltools" / "models" / "__init__.py").write_text("import os\nos._exit(7)\n")
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path / "mac.json")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "fake")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "start 1 ended with exit code 7" in done.stderr
    assert not (tmp_path / "mac.json").exists()


def test_only_what_every_start_timed_is_put_together(script: Path) -> None:
    spec = importlib.util.spec_from_file_location("mac_bench", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def part(*units: str) -> dict[str, Any]:
        facts = {"samples": [[1.0]], "load_ms": 1.0, "warmup_calls": 20, "settled": True}
        return {"artefacts": [{"name": "a", "unit": unit, **facts} for unit in units], "errors": []}

    found = module.together([part("ALL", "CPU_ONLY"), part("CPU_ONLY")])
    assert [(one["unit"], one["samples"]) for one in found["artefacts"]] == [("CPU_ONLY", [[[1.0]], [[1.0]]])]
    assert found["errors"] == [{"name": "a", "unit": "ALL", "error": "not every start could run it"}]


def test_a_package_that_was_swapped_is_not_timed(script: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(script.parent, tmp_path / "copy")
    (tmp_path / "copy" / "s-fp16.mlpackage" / "Manifest.json").write_text("{}")
    document = run(tmp_path / "copy" / script.name, tmp_path, "--units", "CPU_ONLY")
    assert [one["name"] for one in document["artefacts"]] == ["coreml fp32", "coreml w8a8"]
    assert "is not the one exported" in document["errors"][0]["error"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 0}, "expected 'mac-bench', version 1"),
        ({"schema_version": 2}, "expected 'mac-bench', version 1"),
        ({"kind": "bench"}, "found 'bench'"),
        ({"artefacts": None}, "not whole"),
        ({"artefacts": [], "errors": []}, "timed nothing"),
        ({"device": {}}, "not whole"),
    ],
)
def test_another_document_is_refused(
    changes: dict[str, Any], said: str, found: Exported, document: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        merged(found, {**document, **changes}, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "timed another s-fp32.mlpackage than the folder holds"),
        ({"name": "coreml int4"}, "timed another"),
        ({"samples": []}, r"expected \(starts, rounds, calls\)"),
        ({"samples": [[[1.0, -1.0]]]}, "milliseconds above 0"),
        ({"samples": [[[1.0], [1.0, 2.0]]]}, "not whole"),
        ({"plan": [{"name": "x"}]}, "not whole"),
    ],
)
def test_an_artefact_that_cannot_be_is_refused(
    changes: dict[str, Any], said: str, found: Exported, document: dict[str, Any], tmp_path: Path
) -> None:
    wrong = {**document, "artefacts": [{**document["artefacts"][0], **changes}]}
    with pytest.raises(InputError, match=said):
        merged(found, wrong, tmp_path)


def test_no_file_and_no_package_are_refused(found: Exported, tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        mac.merge(found, tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"ends in \.py"):
        mac.write_script(found, images, tmp_path / "script")
    empty = Exported(found.folder, (), found.trunks, (), {})
    with pytest.raises(InputError, match=r"no \.mlpackage in it; make one with: edgemat export --target coreml"):
        mac.write_script(empty, images, tmp_path / "mac.py")
