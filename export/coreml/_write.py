"""Write a translated trunk as a Core ML package: image in, alpha out, all described, the same bytes every time."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat import __version__
from edgemat.errors import InputError
from edgemat.export.coreml import _codes, _coremltools, _quantize, _translate
from edgemat.files import sha256

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

FP16_MAX = 65504.0
"""The largest float16."""


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write a trunk as an ML Program for iOS 16 and later, ``w8a8`` for iOS 17 and later.

    Args:
        trunk: The float ONNX trunk; with its integer grid for ``w8`` and ``w8a8``.
        precision: ``fp32`` (output: a float32 array), or one that computes in float16 (output: a half-float grey
            image): ``fp16``, ``w8`` (weights stored as int8) or ``w8a8`` (all tensors between units int8 as well).
        path: The package to write; it does not exist yet.

    Raises:
        InputError: The trunk cannot be read, its grid breaks a rule, or a weight or scale is beyond float16.
        UnsupportedOpError: Nodes cannot be translated, or not quantized; all are listed.
    """
    grid = None
    if precision != "fp32":
        _refuse_fp16_overflow(trunk.path)
    if precision in ("w8", "w8a8"):
        assert trunk.grid is not None  # the frame has seen to it
        grid = trunk.grid
        _quantize.refuse_scales(grid, trunk.path.name, activations=precision == "w8a8")
    program = _translate.translate(trunk.path, grid, precision == "w8a8")
    with _coremltools.no_progress_bars():
        model = _build(trunk, precision, program)
        if precision == "w8a8":
            _note_dropped(model, trunk, program)
        _describe(model, trunk, precision, program)
        model.save(str(path))
    _settle(path)


def _refuse_fp16_overflow(path: Path) -> None:
    """Refuse weights that float16 cannot hold: coremltools would make them infinite, or mix precisions, in silence."""
    large = []
    for name, value in _translate.constants(_translate.read(path)).items():
        peak = float(np.abs(value).max(initial=0)) if value.dtype == np.float32 else 0.0
        if not peak <= FP16_MAX:
            large.append(f"{name!r} (largest magnitude {peak:.3g})")
    if large:
        raise InputError(
            f"{path}: beyond float16's {FP16_MAX:g}: {', '.join(large)}; "
            "export with --precision fp32, or train with weights that fit"
        )


def _build(trunk: Trunk, precision: str, program: _translate.Program) -> Any:
    """Run coremltools' passes and make the model."""
    ct = _coremltools.load()
    half = precision != "fp32"
    passes = ct.PassPipeline()
    passes.remove_passes(_quantize.UNWANTED)
    if half:  # for a MIL program coremltools ignores ``outputs=``; this is the way that it honours
        grey = ct.ImageType(name="alpha", color_layout=ct.colorlayout.GRAYSCALE_FLOAT16)
        program.mil.functions["main"].set_output_types([grey])
    image = ct.ImageType(
        name="image",
        shape=(1, 3, trunk.height, trunk.width),
        color_layout=ct.colorlayout.RGB,
        scale=1.0 / 255.0,
    )
    return ct.convert(
        program.mil,
        source="milinternal",
        convert_to="mlprogram",
        inputs=[image],
        minimum_deployment_target=ct.target.iOS17 if precision == "w8a8" else ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        pass_pipeline=passes,
        skip_model_load=True,
    )


def _note_dropped(model: Any, trunk: Trunk, program: _translate.Program) -> None:
    """Put into the program's facts which tensors have no codes of their own, now that coremltools has cleaned up."""
    assert program.graph is not None
    assert trunk.grid is not None
    function = model.get_spec().mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    names = [op.inputs["input"].arguments[0].name for op in operations if op.type == "quantize"]
    found = {_codes.original(name, program.renamed) for name in names}
    program.facts |= _quantize.without_effect(program.graph, trunk.grid, found, trunk.path.name)


def _describe(model: Any, trunk: Trunk, precision: str, program: _translate.Program) -> None:
    """Fill in what Xcode and the app team read."""
    info, size = trunk.info, f"{trunk.width}x{trunk.height}"
    model.author, model.license, model.version = info.author, info.license, info.version
    model.short_description = info.description
    model.input_description["image"] = f"The face, an RGB image of {size} pixels, 8 bits a channel; scaling is inside."
    model.output_description["alpha"] = (
        f"Skin matte of {size} pixels in [0, 1]: 1 is skin, 0 is an occluder or the background; "
        + ("float32, (1, 1, height, width)." if precision == "fp32" else "a half-float grey image.")
    )
    user = model.user_defined_metadata
    user.pop("com.github.apple.coremltools.conversion_date", None)  # the same trunk gives the same bytes on any day
    user.update(info.extra)
    user["edgemat.version"] = __version__
    user["edgemat.model"] = info.name
    user["edgemat.precision"] = precision
    user["edgemat.colour_order"] = "RGB"
    user["edgemat.alpha"] = "1 = skin, 0 = occluder or background"
    user.update(program.facts)
    if program.renamed:
        user["edgemat.renamed_tensors"] = json.dumps(program.renamed, sort_keys=True)


def _settle(path: Path) -> None:
    """Re-write what coremltools leaves to chance: the order in the specification, the manifest's ids, file modes."""
    root = path / "Data" / "com.apple.CoreML"
    spec = _coremltools.load("coremltools.proto.Model_pb2").Model()
    spec.ParseFromString((root / "model.mlmodel").read_bytes())
    (root / "model.mlmodel").write_bytes(spec.SerializeToString(deterministic=True))
    manifest: dict[str, Any] = {"fileFormatVersion": "1.0.0", "itemInfoEntries": {}}
    for name, text in (("model.mlmodel", "CoreML Model Specification"), ("weights", "CoreML Model Weights")):
        item = root / name
        if not item.exists():
            continue
        identifier = str(uuid.uuid5(uuid.NAMESPACE_OID, sha256(item)))
        manifest["itemInfoEntries"][identifier] = {
            "author": "com.apple.CoreML",
            "description": text,
            "name": name,
            "path": f"com.apple.CoreML/{name}",
        }
        if name == "model.mlmodel":
            manifest["rootModelIdentifier"] = identifier
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")
    for item in [path, *path.rglob("*")]:
        item.chmod(0o755 if item.is_dir() else 0o644)
