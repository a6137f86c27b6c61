"""Read a saved .mlpackage back: description, metadata and MIL operations, through the file formats alone.

Only the protobuf schema comes from coremltools; weights are parsed here, and none of the code that writes packages is
used, so that a fault of the writer cannot hide itself.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.export.coreml import _coremltools

Value = npt.NDArray[Any] | str

_DTYPES: dict[int, type[np.generic]] = {
    1: np.bool_, 10: np.float16, 11: np.float32, 12: np.float64,
    21: np.int8, 22: np.int16, 23: np.int32, 24: np.int64, 31: np.uint8, 32: np.uint16, 33: np.uint32,
}  # fmt: skip
"""MIL's DataType enumeration (MIL.proto)."""
_STRING = 2
_BLOB_DTYPES: dict[int, type[np.generic]] = {1: np.float16, 2: np.float32, 3: np.uint8, 4: np.int8}
"""The data type codes of weight.bin's blob headers."""
_BLOB_MAGIC = 0xDEADBEEF


@dataclass(frozen=True)
class Tensor:
    """A named MIL value.

    Attributes:
        name: MIL variable.
        dtype: numpy's name for its type, such as ``float16``.
        shape: Its dimensions.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One MIL operation that computes.

    Attributes:
        kind: Operator, such as ``conv``.
        output: What it makes.
        inputs: Parameter to its arguments: the names of variables, or constant values. A ``constexpr_`` operator, whose
            parameters the format states as attributes, has them here likewise.
    """

    kind: str
    output: Tensor
    inputs: Mapping[str, tuple[Value | Tensor, ...]]


@dataclass(frozen=True)
class Feature:
    """An input or output as an app sees it.

    Attributes:
        name: Feature name.
        kind: ``image`` or ``array``.
        layout: Colour space of an image (``RGB``, ``GRAYSCALE_FLOAT16``, ...), element type of an array (``FLOAT32``).
        shape: (height, width) of an image, all dimensions of an array.
        description: Text for the app team.
    """

    name: str
    kind: str
    layout: str
    shape: tuple[int, ...]
    description: str


@dataclass(frozen=True)
class Package:
    """All that a package says.

    Attributes:
        path: Where it was read.
        specification: Core ML specification version; 7 is iOS 16, 8 is iOS 17.
        opset: MIL opset, such as ``CoreML6``.
        inputs: Inputs of the model.
        outputs: Outputs of the model.
        metadata: ``author``, ``license``, ``version``, ``description``.
        user: User-defined metadata.
        arguments: The MIL function's inputs.
        operations: In order of execution, constants left out.
        constants: MIL constants by name.
    """

    path: Path
    specification: int
    opset: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    metadata: Mapping[str, str]
    user: Mapping[str, str]
    arguments: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    constants: Mapping[str, Value]


def spec_path(path: Path) -> Path:
    """Return where the manifest of a package says its model specification lies.

    Raises:
        InputError: The folder is no Core ML package.
    """
    try:
        manifest = json.loads((path / "Manifest.json").read_text(encoding="utf-8"))
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        return path / "Data" / str(entry["path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a Core ML package ({error}); export it again") from error


def read(path: Path) -> Package:
    """Read a package.

    Raises:
        InputError: The folder is no Core ML package, is cut short, or holds something other than an ML Program.
    """
    spec = _coremltools.load("coremltools.proto.Model_pb2").Model()
    file = spec_path(path)
    try:
        spec.ParseFromString(file.read_bytes())
        if spec.WhichOneof("Type") != "mlProgram":
            raise InputError(f"{path}: holds {spec.WhichOneof('Type')}, expected an ML Program; export it again")
        return _package(path, spec, _Reader(file.parent))
    except InputError:
        raise
    except Exception as error:  # protobuf, struct and numpy each have their own for a file cut short
        raise InputError(f"{path}: damaged Core ML package ({error}); export it again") from error


def _package(path: Path, spec: Any, reader: _Reader) -> Package:
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    constants: dict[str, Value] = {}
    operations: list[Operation] = []
    for op in block.operations:
        output = _tensor(op.outputs[0])
        if op.type == "const":
            constants[output.name] = reader.value(op.attributes["val"])
        else:
            inputs = {
                key: tuple(_argument(reader, constants, b) for b in arg.arguments) for key, arg in op.inputs.items()
            }
            if op.type.startswith("constexpr_"):
                inputs |= {key: (reader.value(value),) for key, value in op.attributes.items() if key != "name"}
            operations.append(Operation(op.type, output, inputs))
    meta = spec.description.metadata
    return Package(
        path=path,
        specification=spec.specificationVersion,
        opset=function.opset,
        inputs=tuple(_feature(f) for f in spec.description.input),
        outputs=tuple(_feature(f) for f in spec.description.output),
        metadata={
            "author": meta.author,
            "license": meta.license,
            "version": meta.versionString,
            "description": meta.shortDescription,
        },
        user=dict(meta.userDefined),
        arguments=tuple(_tensor(i) for i in function.inputs),
        operations=tuple(operations),
        constants=constants,
    )


def _tensor(value: Any) -> Tensor:
    kind = value.type.tensorType
    dtype = "str" if kind.dataType == _STRING else np.dtype(_DTYPES[kind.dataType]).name
    return Tensor(value.name, dtype, tuple(d.constant.size for d in kind.dimensions))


def _argument(reader: _Reader, constants: Mapping[str, Value], binding: Any) -> Value | Tensor:
    if binding.WhichOneof("binding") == "value":
        return reader.value(binding.value)
    return constants.get(binding.name, Tensor(binding.name, "", ()))


def _feature(feature: Any) -> Feature:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        layout = image.DESCRIPTOR.enum_types_by_name["ColorSpace"].values_by_number[image.colorSpace].name
        return Feature(feature.name, "image", layout, (image.height, image.width), feature.shortDescription)
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
        layout = array.DESCRIPTOR.enum_types_by_name["ArrayDataType"].values_by_number[array.dataType].name
        return Feature(feature.name, "array", layout, tuple(array.shape), feature.shortDescription)
    return Feature(feature.name, str(kind), "", (), feature.shortDescription)


class _Reader:
    """Decodes MIL values, those in weight.bin too."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs: dict[Path, bytes] = {}

    def value(self, value: Any) -> Value:
        """Return one MIL value."""
        kind = value.type.tensorType
        shape = tuple(d.constant.size for d in kind.dimensions)
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue.fileName, value.blobFileValue.offset).reshape(shape)
        tensor = value.immediateValue.tensor
        field = tensor.WhichOneof("value")
        if kind.dataType == _STRING:
            return str(tensor.strings.values[0])
        dtype = _DTYPES[kind.dataType]
        if field is None:
            return np.zeros(shape, dtype)
        stored = getattr(tensor, field).values
        flat = np.frombuffer(stored, dtype) if field == "bytes" else np.array(stored, dtype)
        return flat.reshape(shape)

    def _blob(self, name: str, offset: int) -> npt.NDArray[Any]:
        """Return one blob of weight.bin: 64 bytes of header (magic, type, size, offset), then the data."""
        file = self._root / name.removeprefix("@model_path/")
        if file not in self._blobs:
            self._blobs[file] = file.read_bytes()
        magic, code, size, start = struct.unpack_from("<IIQQ", self._blobs[file], offset)
        if magic != _BLOB_MAGIC:
            raise InputError(f"{file}: no weights at byte {offset}; the package is damaged, export it again")
        dtype = np.dtype(_BLOB_DTYPES[code])
        return np.frombuffer(self._blobs[file], dtype, size // dtype.itemsize, start)
