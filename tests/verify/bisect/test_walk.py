"""An artefact and its trunk part where a fault was planted, and nowhere where none was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat import export
from edgemat.errors import InputError
from edgemat.export._target import Gate, IntegerGate, Trunks
from edgemat.export.onnx import OnnxRunner
from edgemat.verify.bisect import bisect

from .planting import PLANTED, edit, entry

Images = npt.NDArray[np.uint8]
FLOAT = [(target, precision) for target in ("onnx", "coreml", "tflite") for precision in ("fp32", "fp16")]
INTEGER = [("onnx", "int8"), ("coreml", "w8a8"), ("tflite", "int8")]
CLEAN = [*FLOAT, *INTEGER, ("coreml", "w8"), ("openvino", "fp32"), ("openvino", "int8"), ("tflite", "int8_float_io")]


@pytest.mark.parametrize(("target", "precision"), CLEAN)
def test_nothing_parts_in_an_untouched_artefact(
    target: str, precision: str, trunks: Trunks, images: Images, tmp_path: Path
) -> None:
    made = export.get(target)
    found = bisect(entry(target, precision, trunks.get(made, precision), tmp_path), images)
    assert found, str(found)
    assert found.compared > 15
    assert found.closest <= 0.75, "the limit leaves room for other machines"
    assert found.first is None
    assert found.end is None


@pytest.mark.parametrize(("target", "precision"), [*FLOAT, ("coreml", "w8"), *INTEGER])
@pytest.mark.parametrize("fault", ["resize", "scale", "bias"])
def test_a_planted_fault_is_named_at_its_tensor(
    fault: str, target: str, precision: str, trunks: Trunks, images: Images, tmp_path: Path
) -> None:
    tensor, says, plant = PLANTED[fault]
    trunk = trunks.get(export.get(target), precision)
    found = bisect(entry(target, precision, trunk, tmp_path, plant), images[:2])
    assert not found
    assert found.first is not None
    # where an activation is fused, its tensor is the first that is shown
    assert found.first.tensor in (tensor, f"{tensor}.relu"), str(found)
    assert says in found.first.hint, str(found)
    assert tensor in found.first.node
    assert len(found.parts) == 1, "later tensors are right, given what came before them"
    assert found.evidence is not None
    assert f"parts at {found.first.tensor}" in str(found)


@pytest.mark.parametrize(("target", "precision"), [("onnx", "fp16"), ("tflite", "fp32"), ("onnx", "int8")])
@pytest.mark.parametrize("fault", ["channel", "bgr", "padding"])
def test_other_faults_are_named(
    fault: str, target: str, precision: str, trunks: Trunks, images: Images, tmp_path: Path
) -> None:
    tensor, says, plant = PLANTED[fault]
    trunk = trunks.get(export.get(target), precision)
    first = bisect(entry(target, precision, trunk, tmp_path, plant), images[:2]).first
    assert first is not None
    assert first.tensor in (tensor, f"{tensor}.relu")
    assert says in first.hint


def test_two_faults_are_both_listed_and_the_first_one_named(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    def both(model: object) -> None:
        PLANTED["bias"][2](model)  # type: ignore[arg-type]
        PLANTED["scale"][2](model)  # type: ignore[arg-type]

    assert trunks.plain is not None
    found = bisect(entry("onnx", "fp32", trunks.plain, tmp_path, both), images[:1])
    assert [part.tensor for part in found.parts] == ["stages.1.0.first", "decoders.1.body"]
    assert "1 further tensors" in str(found)
    assert found.end is not None
    assert found.end.tensor == "stages.1.0.first"


def test_a_fault_too_small_for_the_gate_is_found_all_the_same(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    small = edit("stages.1.0.first.weight", lambda w: w * (1 + 3e-5))
    faulty = entry("onnx", "fp32", trunks.plain, tmp_path, small)
    assert isinstance(faulty.gate, Gate)
    found = bisect(faulty, images[:1])
    assert found.first is not None
    assert found.first.tensor == "stages.1.0.first"


def test_an_overflow_of_halves_is_told(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    from ...export.faults import overflowing

    assert trunks.plain is not None
    large = overflowing(trunks.plain, tmp_path / "large.onnx")
    found = bisect(entry("onnx", "fp16", large, tmp_path), images[:2])
    assert found.first is not None
    assert found.first.tensor == "large"
    assert "an overflow" in found.first.hint
    assert json.dumps(found.to_json(), allow_nan=False)


def test_a_scale_that_is_only_a_label_is_read_from_the_file(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    import onnx

    made = entry("onnx", "int8", trunks.on_grid["static_w8c_a8"], tmp_path)
    model = onnx.load(made.path)
    edit("alpha#scale", lambda s: s * 1.02)(model)
    onnx.save(model, made.path)
    found = bisect(made, images[:1])
    assert not found
    assert found.parts[-1].tensor == "alpha"
    assert "the scale in the file" in found.parts[-1].hint


def test_an_open_runner_is_used_and_stays_open(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    made = entry("tflite", "fp32", trunks.plain, tmp_path)
    with made.target.load(made.path) as runner:
        assert bisect(made, images[:1], runner=runner)
        assert runner.run(images[:1]).shape == (1, 64, 64)


def test_the_same_artefact_gives_the_same_document(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    made = entry("tflite", "int8", trunks.on_grid["static_w8c_a8"], tmp_path, PLANTED["bias"][2])
    first, second = (json.dumps(bisect(made, images[:2]).to_json()) for _ in range(2))
    assert first == second
    document = json.loads(first)
    assert document["schema_version"] == 1
    assert document["passed"] is False
    assert document["first"]["tensor"] == "decoders.1.body.relu"
    assert document["end_to_end"]["tensor"] == "decoders.1.body.relu"


def test_images_of_another_size_are_refused(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert trunks.plain is not None
    made = entry("onnx", "fp32", trunks.plain, tmp_path)
    for wrong in (images[:, :32], images[:0], images.astype(np.float32)):
        with pytest.raises(InputError, match="expected uint8"):
            bisect(made, wrong)


def test_a_tensor_of_another_shape_parts(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    class Cropped(OnnxRunner):
        def trace(self, image: Images) -> Mapping[str, npt.NDArray[np.float32]]:
            found = dict(super().trace(image))
            return found | {"laterals.0": found["laterals.0"][:, :, 1:]}

    assert trunks.plain is not None
    made = entry("onnx", "fp32", trunks.plain, tmp_path)
    with Cropped(made.path) as runner:
        found = bisect(made, images[:1], runner=runner)
    assert [part.tensor for part in found.parts] == ["laterals.0"]
    assert "its shape is" in found.parts[0].hint


class Broken(OnnxRunner):
    """Right inside, no number outside."""

    def run(self, images: Images) -> npt.NDArray[np.float32]:
        return np.full_like(super().run(images), np.nan)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_output_that_is_no_number_parts(precision: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    made = entry("onnx", precision, trunks.get(export.get("onnx"), precision), tmp_path)
    with Broken(made.path) as runner:
        found = bisect(made, images[:1], runner=runner)
    assert [part.tensor for part in found.parts] == ["alpha"]
    assert json.dumps(found.to_json(), allow_nan=False)


def test_single_codes_that_grow_are_a_note_and_no_fault(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    made = entry("onnx", "int8", trunks.on_grid["static_w8c_a8"], tmp_path)

    class Otherwise(OnnxRunner):
        rounding = "htp"  # so that the reference rounds otherwise than the runtime

    strict = replace(made.target, gates={"int8": IntegerGate(lsb=3, within_one=1.0, differ=1.0)})
    with Otherwise(made.path) as runner:
        found = bisect(replace(made, target=strict), images, runner=runner)
    assert found, str(found)
    assert "differences of single codes grow" in found.notes[-1]
