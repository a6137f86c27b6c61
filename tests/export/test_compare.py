"""The gates of an integer artefact: each has a fault here that makes it, and what it says, fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.errors import InputError
from edgemat.export import _compare, get
from edgemat.export._target import IntegerGate, Runner, Scales, Target, Trunk, Trunks
from edgemat.quantize.grid import Codes
from edgemat.quantize.reference import Reference

Images = npt.NDArray[np.uint8]
Alphas = npt.NDArray[np.float32]
TENSOR = "laterals.0.relu"
ROUNDING = "ideal"


class Faulty(Runner):
    """The reference itself, with a fault in its codes or in its alpha."""

    rounding = ROUNDING

    def __init__(self, reference: Reference, fault: Callable[[dict[str, Codes]], object] = len) -> None:
        self.reference, self.fault = reference, fault

    def run(self, images: Images) -> Alphas:
        return self.reference.run(images)

    def codes(self, image: Images) -> Mapping[str, Codes]:
        codes = {name: code.copy() for name, code in self.reference.codes(image).items()}
        self.fault(codes)
        return codes


def stating(trunk: Trunk, change: Callable[[dict[str, tuple[float, int]]], object] = len, roll: int = 0) -> Target:
    """Return a target whose files state the grid's scales, but for a change."""
    assert trunk.grid is not None
    activations = {name: (params.scale, params.zero_point) for name, params in trunk.grid.activations.items()}
    change(activations)
    weights = {name: np.roll(scales, roll) for name, scales in trunk.grid.weights.items()}
    return dataclasses.replace(get("onnx"), scales=lambda path: Scales(activations, weights))


@pytest.fixture
def references(images: Images, tmp_path: Path) -> _compare.References:
    return _compare.References(images, tmp_path)


def verdict(
    trunk: Trunk,
    references: _compare.References,
    fault: Callable[[dict[str, Codes]], object] = len,
    target: Target | None = None,
    shift: float = 0.0,
    share: float = 1.0,
) -> _compare.Verdict:
    runner = Faulty(references.integer(trunk, ROUNDING), fault)
    alpha = runner.run(references.images)
    few = np.arange(alpha.size).reshape(alpha.shape) < share * alpha.size
    alpha = np.where(few, np.where(alpha > 0.5, alpha - shift, alpha + shift), alpha).astype(np.float32)
    made = target or stating(trunk)
    return _compare.judge(made, "int8", trunk, Path("none"), runner, alpha, references)


def test_the_reference_itself_passes(int_trunk: Trunk, references: _compare.References) -> None:
    found = verdict(int_trunk, references)
    assert found.wrong == ()
    assert found.on_grid is not None
    assert (found.on_grid.lsb, found.on_grid.identical, found.on_grid.scales) == (0, 1.0, 0.0)


def test_two_codes_at_one_place_are_found(int_trunk: Trunk, references: _compare.References) -> None:
    def fault(codes: dict[str, Codes]) -> None:
        where = codes[TENSOR][0, 0, 3]
        where[5] = where[5] + 2 if where[5] < 128 else where[5] - 2

    assert any(line.startswith(f"{TENSOR}: 2 LSB") for line in verdict(int_trunk, references, fault).wrong)


def test_one_code_at_too_many_places_is_found(int_trunk: Trunk, references: _compare.References) -> None:
    def fault(codes: dict[str, Codes]) -> None:
        code = codes[TENSOR]
        code[:, :, ::4] += np.where(code[:, :, ::4] < 128, 1, -1).astype(np.int32)

    assert any(line.startswith(f"{TENSOR}: 1 LSB") for line in verdict(int_trunk, references, fault).wrong)


def test_a_tensor_that_is_not_shown_is_no_pass(int_trunk: Trunk, references: _compare.References) -> None:
    found = verdict(int_trunk, references, lambda codes: codes.pop(TENSOR))
    assert any("not shown, so not compared" in line and TENSOR in line for line in found.wrong)


@pytest.mark.parametrize(("shift", "share", "passes"), [(1 / 255, 1.0, True), (2 / 255, 0.02, False)])
def test_alpha_beyond_one_code(
    shift: float, share: float, passes: bool, int_trunk: Trunk, references: _compare.References
) -> None:
    found = verdict(int_trunk, references, shift=shift, share=share)
    assert (not any("within one code" in line for line in found.wrong)) == passes


@pytest.mark.parametrize(
    ("change", "roll", "line"),
    [
        (lambda a: a.update({TENSOR: (a[TENSOR][0] * 1.01, a[TENSOR][1])}), 0, f"{TENSOR}: the file states scale"),
        (lambda a: a.update({TENSOR: (a[TENSOR][0], a[TENSOR][1] + 1)}), 0, f"{TENSOR}: the file states zero point"),
        (lambda a: a.pop(TENSOR), 0, f"{TENSOR}: the file states no scale"),
        (len, 1, "laterals.0.weight: "),
    ],
    ids=["scale", "zero point", "missing", "rolled"],
)
def test_a_file_that_states_other_scales(
    change: Callable[[dict[str, tuple[float, int]]], object],
    roll: int,
    line: str,
    int_trunk: Trunk,
    references: _compare.References,
) -> None:
    found = verdict(int_trunk, references, target=stating(int_trunk, change, roll))
    assert any(text.startswith(line) for text in found.wrong)


def test_a_grid_that_was_not_given_is_asked_for(trunks: Trunks, trunk: Trunk) -> None:
    with pytest.raises(InputError, match="needs the grid static_w8c_a8s, found float weights alone; make it with"):
        Trunks(trunk).get(get("tensorrt"), "int8")
    with pytest.raises(InputError, match="starts from float weights, found quantized ones"):
        Trunks(None, trunks.on_grid).get(get("onnx"), "fp32")


@pytest.mark.parametrize("limits", [{"lsb": 8}, {"within_one": 0.5}, {"scales": 0.01}, {"differ": 0.0}])
def test_a_gate_that_cannot_fail_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="gate needs"):
        IntegerGate(**limits)  # type: ignore[arg-type]
