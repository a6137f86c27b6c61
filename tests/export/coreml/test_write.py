"""The package is described, complete, the same every time, readable by all, and made without noise."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgemat import __version__
from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._target import Trunk, Trunks
from edgemat.export.coreml import TARGET, _coremltools, _package
from edgemat.files import sha256

Damage = Callable[[Path, Callable[[Any, Any], None]], Path]


@pytest.mark.parametrize("precision", list(TARGET.gates))
def test_check_has_nothing_to_complain_about(precision: str, packages: dict[str, Path]) -> None:
    assert TARGET.check(packages[precision]) == ()


@pytest.mark.parametrize("precision", list(TARGET.gates))
def test_two_conversions_give_the_same_bytes(
    precision: str, packages: dict[str, Path], trunks: Trunks, tmp_path: Path
) -> None:
    TARGET.convert(trunks.get(TARGET, precision), precision, tmp_path / "again.mlpackage")
    assert sha256(tmp_path / "again.mlpackage") == sha256(packages[precision])


def test_file_modes(packages: dict[str, Path]) -> None:
    for path in [packages["fp16"], *packages["fp16"].rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_manifest_can_be_followed(packages: dict[str, Path]) -> None:
    root = packages["fp16"]
    manifest = json.loads((root / "Manifest.json").read_text())
    entries = manifest["itemInfoEntries"]
    assert {e["name"] for e in entries.values()} == {"model.mlmodel", "weights"}
    assert all((root / "Data" / e["path"]).exists() for e in entries.values())
    assert entries[manifest["rootModelIdentifier"]]["name"] == "model.mlmodel"


def test_coremltools_itself_reads_the_package(packages: dict[str, Path]) -> None:
    model = _coremltools.load().models.MLModel(str(packages["fp16"]), skip_model_load=True)
    assert model.get_spec().specificationVersion == 7


def test_package_carries_the_model_card(packages: dict[str, Path], trunk: Trunk) -> None:
    package = _package.read(packages["fp16"])
    info = trunk.info
    assert package.metadata == {
        "author": info.author,
        "license": info.license,
        "version": info.version,
        "description": info.description,
    }
    assert package.user.items() >= dict(info.extra).items()
    assert package.user["edgemat.version"] == __version__
    assert package.user["edgemat.alpha"].startswith("1 = skin")
    assert package.inputs[0].layout == "RGB"
    assert package.outputs[0].layout == "GRAYSCALE_FLOAT16"
    assert "64x64" in package.inputs[0].description


def test_conversion_is_silent(trunk: Trunk, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgemat.export._target import ModelInfo, Trunk;"
        "from edgemat.export.coreml import TARGET; source, goal = map(Path, sys.argv[1:]);"
        f"trunk = Trunk(source, {trunk.height}, {trunk.width}, ModelInfo('s', '1', 'a', 'l', 'd'));"
        "TARGET.convert(trunk, 'fp16', goal); TARGET.load(goal)"
    )
    command = [sys.executable, "-c", code, str(trunk.path), str(tmp_path / "quiet.mlpackage")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_unexpected_messages_are_not_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    with _coremltools.no_progress_bars():
        sys.stderr.write("\rRunning MIL default pipeline: 100%|##########| 95/95\nsomething broke\n")
    assert capsys.readouterr().err == "something broke\n"


def test_target_is_listed_without_numpy_or_backend() -> None:
    code = (
        "import sys, edgemat.export.coreml; print(sorted({'numpy', 'coremltools', 'onnx', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _older_target(spec: Any, operations: Any) -> None:
    spec.specificationVersion = 6


def _bgr(spec: Any, operations: Any) -> None:
    image = spec.description.input[0].type.imageType
    image.colorSpace = image.ColorSpace.Value("BGR")


def _wrong_size(spec: Any, operations: Any) -> None:
    spec.description.input[0].type.imageType.width = 32


def _eight_bit_output(spec: Any, operations: Any) -> None:
    image = spec.description.output[0].type.imageType
    image.colorSpace = image.ColorSpace.Value("GRAYSCALE")


def _no_description(spec: Any, operations: Any) -> None:
    spec.description.output[0].shortDescription = ""


def _no_author(spec: Any, operations: Any) -> None:
    spec.description.metadata.author = ""


def _no_alpha_meaning(spec: Any, operations: Any) -> None:
    del spec.description.metadata.userDefined["edgemat.alpha"]


def _says_fp32(spec: Any, operations: Any) -> None:
    spec.description.metadata.userDefined["edgemat.precision"] = "fp32"


def _one_operation_in_fp32(spec: Any, operations: Any) -> None:
    conv = next(op for op in operations if op.type == "conv")
    conv.outputs[0].type.tensorType.dataType = 11


def _infinite_bias(spec: Any, operations: Any) -> None:
    conv = next(op for op in operations if op.type == "conv")
    bias = next(op for op in operations if op.outputs[0].name == conv.inputs["bias"].arguments[0].name)
    value, size = bias.attributes["val"], bias.outputs[0].type.tensorType.dimensions[0].constant.size
    value.ClearField("blobFileValue")
    value.immediateValue.tensor.bytes.values = b"\x00\x7c" * size


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (_older_target, "specification 6"),
        (_bgr, "'BGR'"),
        (_wrong_size, r"\(64, 32\)"),
        (_eight_bit_output, "'GRAYSCALE'"),
        (_no_description, "alpha has no description"),
        (_no_author, "metadata lacks author"),
        (_no_alpha_meaning, r"metadata lacks edgemat\.alpha"),
        (_says_fp32, "fp32 was asked for, operations: .* in float16"),
        (_one_operation_in_fp32, "operations: .* 1 in float32"),
        (_infinite_bias, "not finite"),
    ],
)
def test_check_sees_a_planted_fault(
    fault: Callable[[Any, Any], None], complaint: str, packages: dict[str, Path], damaged: Damage
) -> None:
    import re

    found = "\n".join(TARGET.check(damaged(packages["fp16"], fault)))
    assert re.search(complaint, found), found


def test_unknown_mil_operator_is_named(packages: dict[str, Path], damaged: Damage) -> None:
    def edit(spec: Any, operations: Any) -> None:
        next(op for op in operations if op.type == "relu").type = "gelu"

    with pytest.raises(UnsupportedOpError, match=r"damaged\.mlpackage: MIL operators .* \(gelu\)"):
        TARGET.load(damaged(packages["fp16"], edit))


def test_unusable_packages_are_refused(packages: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a Core ML package"):
        TARGET.load(tmp_path / "absent.mlpackage")
    for name, size in (("model.mlmodel", 1000), ("weights/weight.bin", 300), ("model.mlmodel", 0)):
        copy = tmp_path / f"cut-{size}.mlpackage"
        shutil.copytree(packages["fp16"], copy)
        file = copy / "Data" / "com.apple.CoreML" / name
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(InputError, match=rf"cut-{size}\.mlpackage.*export it again"):
            TARGET.load(copy)
