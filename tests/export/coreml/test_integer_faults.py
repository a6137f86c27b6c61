"""A fault planted in an integer package is caught, with the tensor's name: by its scales, its codes, or its pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.export import _compare
from edgemat.export._target import IntegerGate, Trunk
from edgemat.export.coreml import TARGET, _codes, _package
from edgemat.quantize import graph as graphs
from edgemat.quantize.reference import Reference

Damage = Callable[[Path, Callable[[Any, Any], None]], Path]
GATE = TARGET.gates["w8a8"]
assert isinstance(GATE, IntegerGate)
LSB, SCALES = GATE.lsb, GATE.scales


@pytest.fixture(scope="module")
def reference(int_trunk: Trunk) -> Reference:
    assert int_trunk.grid is not None
    return Reference(graphs.of(onnx.load(int_trunk.path)), int_trunk.grid, "float16")


def off(reference: Reference, path: Path, image: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Return the tensors whose codes are further from the reference's, made of the same codes, than the gate allows."""
    with TARGET.load(path) as runner:
        codes = runner.codes(image)
    worst = {u.output: int(np.abs(reference.step(u, codes) - codes[u.output]).max()) for u in reference.units}
    return {tensor: lsb for tensor, lsb in worst.items() if lsb > LSB}


def differing(trunk: Trunk, path: Path) -> set[str]:
    """Return the tensors whose scale or zero point is not the grid's."""
    assert trunk.grid is not None
    return {line.split(":")[0] for line in _compare.scale_differences(TARGET, trunk.grid, path, SCALES)[0]}


def constants(operations: Any) -> dict[str, Any]:
    return {op.outputs[0].name: op.attributes["val"].immediateValue.tensor for op in operations if op.type == "const"}


def steps(package: Path, operations: Any, tensor: str, kinds: tuple[str, ...]) -> Iterator[Any]:
    """Yield the protobuf of a tensor's quantize and dequantize."""
    read = _package.read(package)
    codes = _codes.quantized(read)[tensor].op.output.name
    names = {codes: "quantize"} | {
        step.op.output.name: "dequantize" for step in _codes.dequantized(read) if step.source == codes
    }
    for op in operations:
        if names.get(op.outputs[0].name) in kinds:
            yield op


def rewrite(
    operations: Any, op: Any, key: str, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], dtype: Any
) -> None:
    """Change a constant parameter of an operation."""
    tensor = constants(operations)[op.inputs[key].arguments[0].name]
    field = tensor.WhichOneof("value")
    stored = getattr(tensor, field)
    if field == "bytes":
        stored.values = change(np.frombuffer(stored.values, dtype)).astype(dtype).tobytes()
    else:
        stored.values[:] = change(np.array(stored.values, dtype)).tolist()


BOTH = ("quantize", "dequantize")


@pytest.fixture(scope="module")
def tensor(reference: Reference) -> str:
    """Return an inner tensor of a convolution with a Relu."""
    return next(u.output for u in reference.units[1:] if u.weight and u.activation is not None)


def test_nothing_planted(int_trunk: Trunk, packages: dict[str, Path], reference: Reference, images: Any) -> None:
    assert TARGET.check(packages["w8a8"]) == ()
    assert differing(int_trunk, packages["w8a8"]) == set()
    assert off(reference, packages["w8a8"], images[0]) == {}


def test_a_scale_times_1_01(int_trunk: Trunk, packages: dict[str, Path], damaged: Damage, tensor: str) -> None:
    def fault(_: Any, operations: Any) -> None:
        seen: set[str] = set()
        for op in steps(packages["w8a8"], operations, tensor, BOTH):
            name = op.inputs["scale"].arguments[0].name
            if name not in seen:  # both may read one constant
                rewrite(operations, op, "scale", lambda v: v * np.float16(1.01), np.float16)
            seen.add(name)

    path = damaged(packages["w8a8"], fault)
    assert TARGET.check(path) == ()
    assert differing(int_trunk, path) == {tensor}


def test_a_scale_times_1_01_on_one_side(packages: dict[str, Path], damaged: Damage, tensor: str) -> None:
    def fault(_: Any, operations: Any) -> None:
        (op,) = steps(packages["w8a8"], operations, tensor, ("dequantize",))
        binding = op.inputs["scale"].arguments[0]  # both may read one constant: state the value here
        const = next(o for o in operations if o.outputs[0].name == binding.name)
        binding.value.CopyFrom(const.attributes["val"])
        stored = binding.value.immediateValue.tensor.bytes
        stored.values = (np.frombuffer(stored.values, np.float16) * np.float16(1.01)).tobytes()

    (complaint,) = TARGET.check(damaged(packages["w8a8"], fault))
    assert f"{tensor}: quantized on scale" in complaint


def test_a_zero_point_off_by_one(
    int_trunk: Trunk, packages: dict[str, Path], damaged: Damage, reference: Reference
) -> None:
    assert int_trunk.grid is not None
    tensor = next(n for n, p in int_trunk.grid.activations.items() if p.zero_point not in (0, 128))

    def fault(_: Any, operations: Any) -> None:
        seen: set[str] = set()
        for op in steps(packages["w8a8"], operations, tensor, BOTH):
            name = op.inputs["zero_point"].arguments[0].name
            if name not in seen:
                rewrite(operations, op, "zero_point", lambda v: v + 1, np.uint8)
            seen.add(name)

    assert differing(int_trunk, damaged(packages["w8a8"], fault)) == {tensor}


def test_weights_scales_rolled_by_a_channel(
    int_trunk: Trunk, packages: dict[str, Path], damaged: Damage, reference: Reference, images: Any, tensor: str
) -> None:
    weight = next(u.weight for u in reference.units if u.output == tensor)
    read = _package.read(packages["w8a8"])

    def fault(_: Any, operations: Any) -> None:
        for op in operations:
            if op.type == _codes.CONSTANT and _codes.trunk_name(read, op.outputs[0].name) == weight:
                stored = op.attributes["scale"].immediateValue.tensor.bytes
                if stored.values:
                    stored.values = np.roll(np.frombuffer(stored.values, np.float16), 1).tobytes()
                    return
                value = next(o for o in read.operations if o.output.name == op.outputs[0].name).inputs["scale"][0]
                op.attributes["scale"].ClearField("blobFileValue")
                op.attributes["scale"].immediateValue.tensor.bytes.values = np.roll(np.asarray(value), 1).tobytes()

    path = damaged(packages["w8a8"], fault)
    assert differing(int_trunk, path) == {weight}
    assert set(off(reference, path, images[0])) == {tensor}


def test_a_dropped_bias(
    packages: dict[str, Path], damaged: Damage, reference: Reference, images: Any, tensor: str
) -> None:
    read = _package.read(packages["w8a8"])

    def fault(_: Any, operations: Any) -> None:
        conv = next(op for op in operations if _codes.trunk_name(read, op.outputs[0].name) == tensor)
        del conv.inputs["bias"]

    assert set(off(reference, damaged(packages["w8a8"], fault), images[0])) == {tensor}


def test_a_float_island(packages: dict[str, Path], damaged: Damage, reference: Reference, tensor: str) -> None:
    """A tensor whose pair is cut out: the convolution before it and the reader after it are named."""
    read = _package.read(packages["w8a8"])

    def fault(_: Any, operations: Any) -> None:
        real = [op.outputs[0].name for op in steps(packages["w8a8"], operations, tensor, ("dequantize",))]
        before = _codes.quantized(read)[tensor].source
        for op in operations:
            for argument in op.inputs.values():
                for binding in argument.arguments:
                    binding.name = before if binding.name in real else binding.name
        for op in list(steps(packages["w8a8"], operations, tensor, BOTH)):
            operations.remove(op)

    path = damaged(packages["w8a8"], fault)
    complaints = "\n".join(TARGET.check(path))
    assert f"{tensor}: conv computes on, or makes, values that are not quantized" in complaints
    found = TARGET.inspect(path)
    assert not found.is_integer
    assert tensor in {op.name for op in found.islands}
    assert tensor not in _codes.scales(path).activations


def test_weights_that_are_not_stored_as_int8(packages: dict[str, Path], damaged: Damage) -> None:
    def fault(spec: Any, _: Any) -> None:
        spec.description.metadata.userDefined["edgemat.precision"] = "w8"

    found = "\n".join(TARGET.check(damaged(packages["fp16"], fault)))
    assert "w8 was asked for, weights:" in found
    assert "in float16; expected int8 throughout" in found


def test_an_older_opset(packages: dict[str, Path], damaged: Damage) -> None:
    def fault(spec: Any, _: Any) -> None:
        spec.specificationVersion = 7

    assert (
        "specification 7, opset CoreML7; expected 8 and CoreML7, iOS 17"
        in TARGET.check(damaged(packages["w8a8"], fault))[0]
    )


def test_a_scale_for_each_channel_of_a_tensor_is_refused(
    packages: dict[str, Path], damaged: Damage, tensor: str
) -> None:
    from edgemat.errors import InputError

    def fault(_: Any, operations: Any) -> None:
        for op in steps(packages["w8a8"], operations, tensor, ("quantize",)):
            rewrite(operations, op, "scale", lambda v: np.repeat(v, 8), np.float16)
            const = next(o for o in operations if o.outputs[0].name == op.inputs["scale"].arguments[0].name)
            for kind in (const.outputs[0].type.tensorType, const.attributes["val"].type.tensorType):
                kind.rank = 1
                kind.dimensions.add().constant.size = 8

    with pytest.raises(InputError, match="8 values of scale, expected one"):
        _codes.scales(damaged(packages["w8a8"], fault))
