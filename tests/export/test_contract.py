"""What every target owes: a light listing, good artefacts, honest failures, nothing half-written."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat import export
from edgemat.errors import InputError
from edgemat.export import _compare
from edgemat.export._target import IntegerGate, Target, Trunk, Trunks

from .exporting import export_

Images = npt.NDArray[np.uint8]
CASES = [(target.name, precision) for target in export.targets() for precision in target.gates]


def available(name: str) -> Target:
    target = export.get(name)
    missing = target.unavailable()
    if missing is not None:
        pytest.skip(missing.reason)
    return target


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks, images: Images) -> dict[tuple[str, str], Path]:
    """Return every artefact that can be made here, converted directly, without the frame."""
    folder = tmp_path_factory.mktemp("artefacts")
    made = {}
    for name, precision in CASES:
        target = export.get(name)
        if target.unavailable() is None:
            path = folder / f"{name}-{precision}{target.suffix}"
            target.convert(trunks.get(target, precision), precision, path)
            made[name, precision] = path
    return made


def test_listing_is_light() -> None:
    heavy = "numpy torch onnx onnxruntime coremltools ai_edge_litert PIL rich"
    code = (
        "import sys, edgemat.export as e; [(t.missing(), t.default_precision) for t in e.targets()]; "
        f"print(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_the_modules() -> None:
    assert [target.name for target in export.targets()] == list(export.names())
    assert len({target.suffix for target in export.targets()}) == len(export.targets())


def test_a_misspelt_target_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="--target onxn: no such target; did you mean 'onnx'"):
        export.get("onxn")


@pytest.mark.parametrize("name", export.names())
def test_the_value_is_complete(name: str) -> None:
    target = export.get(name)
    assert target.title
    assert target.proves
    assert re.fullmatch(r"(\.[a-z_]+)+", target.suffix)
    assert target.default_precision in target.gates


@pytest.mark.parametrize("name", export.names())
def test_unavailable_is_honest(name: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    target = dataclasses.replace(export.get(name), requires=("no_such_package",))
    report = export_(trunks, [target], None, tmp_path, images)
    assert report.results[0].state == "unavailable"
    assert "pip install 'edgemat[" in report.results[0].message
    assert report.exit_code == 3


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_export_passes_its_gate(name: str, precision: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    target = available(name)
    report = export_(trunks, [target], precision, tmp_path, images)
    (result,) = report.results
    assert report, result.message
    path = tmp_path / f"{trunks.any().info.name}-{precision}{target.suffix}"
    assert result.path == str(path)
    assert path.exists()
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "report.json", "preview.png", "reference"}


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_one_image_or_many(name: str, precision: str, images: Images, artefacts: dict[tuple[str, str], Path]) -> None:
    target = available(name)
    with target.load(artefacts[name, precision]) as runner:
        together = runner.run(images)
        alone = np.concatenate([runner.run(images[i : i + 1]) for i in range(len(images))])
    assert together.dtype == np.float32
    assert together.shape == images.shape[:3]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_traced_tensors_are_the_trunks(
    name: str, precision: str, trunks: Trunks, images: Images, artefacts: dict[tuple[str, str], Path]
) -> None:
    target = available(name)
    gate = target.gates[precision]
    if isinstance(gate, IntegerGate):
        pytest.skip("integers are compared code by code")
    with (
        export.get("onnx").load(trunks.get(target, precision).path) as reference,
        target.load(artefacts[name, precision]) as runner,
    ):
        expected, found = reference.trace(images[0]), runner.trace(images[0])
    if not found:
        pytest.skip(f"{name} shows no inner tensors")
    shared = set(expected) & set(found)
    assert shared
    for tensor in shared:
        assert found[tensor].shape == expected[tensor].shape, tensor
        limit = max(50 * gate.max_abs, 1e-4) * np.abs(expected[tensor]).max()
        assert np.abs(found[tensor] - expected[tensor]).max() <= limit, tensor


INTEGER = [(n, p) for n, p in CASES if isinstance(export.get(n).gates[p], IntegerGate)]


@pytest.mark.parametrize(("name", "precision"), INTEGER)
def test_every_code_is_shown(
    name: str, precision: str, trunks: Trunks, images: Images, artefacts: dict[tuple[str, str], Path]
) -> None:
    target = available(name)
    trunk = trunks.get(target, precision)
    assert trunk.grid is not None
    with target.load(artefacts[name, precision]) as runner:
        codes = runner.codes(images[1])
    assert set(trunk.grid.activations) <= set(codes)
    for tensor, params in trunk.grid.activations.items():
        assert codes[tensor].dtype == np.int32, tensor
        assert params.low <= codes[tensor].min() <= codes[tensor].max() <= params.high, tensor
    low = trunk.grid.activations["image"].low
    np.testing.assert_array_equal(codes["image"][0].transpose(1, 2, 0) - low, images[1])


@pytest.mark.parametrize(("name", "precision"), INTEGER)
def test_scales_are_the_grids(
    name: str, precision: str, trunks: Trunks, artefacts: dict[tuple[str, str], Path]
) -> None:
    target = available(name)
    gate, trunk = target.gates[precision], trunks.get(target, precision)
    assert isinstance(gate, IntegerGate)
    assert trunk.grid is not None
    lines, largest = _compare.scale_differences(target, trunk.grid, artefacts[name, precision], gate.scales)
    assert lines == []
    assert largest <= gate.scales


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_file_says_what_it_computes_in(name: str, precision: str, artefacts: dict[tuple[str, str], Path]) -> None:
    found = available(name).inspect(artefacts[name, precision])
    assert found.ops
    assert found.is_integer == ((name, precision) in INTEGER)
    assert found.islands == ()
    assert ("int8" in found.weight_bytes()) == export.get(name).needs_grid(precision)


@pytest.mark.parametrize("fault", ["truncated", "emptied", "missing", "text"])
@pytest.mark.parametrize("name", export.names())
def test_a_corrupt_artefact_is_an_input_error(name: str, fault: str, tmp_path: Path, trunks: Trunks) -> None:
    target = available(name)
    path = tmp_path / f"broken{target.suffix}"
    if fault == "text":
        path.write_text("no model at all")
    elif fault != "missing":
        target.convert(trunks.get(target, target.default_precision), target.default_precision, path)
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 if fault == "truncated" else 0])
    with pytest.raises(InputError, match="broken"):
        target.load(path)


@pytest.mark.parametrize("name", export.names())
def test_an_interrupted_conversion_leaves_nothing(name: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    target = available(name)

    def convert(trunk: Trunk, precision: str, path: Path) -> None:
        target.convert(trunk, precision, path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_(trunks, [dataclasses.replace(target, convert=convert)], None, tmp_path, images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_conversion_is_reproducible(
    name: str, precision: str, trunks: Trunks, tmp_path: Path, artefacts: dict[tuple[str, str], Path]
) -> None:
    from edgemat.files import sha256

    target = available(name)
    again = tmp_path / artefacts[name, precision].name
    target.convert(trunks.get(target, precision), precision, again)
    assert sha256(again) == sha256(artefacts[name, precision])
