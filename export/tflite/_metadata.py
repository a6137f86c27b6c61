"""The metadata inside a .tflite file: TFLite's own metadata schema, written and read by field number.

Source of the field numbers: ``metadata_schema.fbs`` of TFLite (file identifier M001). No package that ships the
generated classes is maintained, and a handful of tables needs none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

from edgemat.errors import InputError

if TYPE_CHECKING:
    from edgemat.export._target import ModelInfo

NAME = "TFLITE_METADATA"
EXTRA = "EDGEMAT_METADATA"
RUNTIME = "min_runtime_version"

_RGB = 1  # ColorSpaceType
_IMAGE_PROPERTIES = 2  # ContentProperties
_NORMALIZATION_OPTIONS = 1  # ProcessUnitOptions
_MODEL = {"name": 0, "description": 1, "version": 2, "author": 4, "license": 5}


_AS_REALS = ("(pixel - mean) / std of 8-bit pixels: float values in [0, 1].", "in [0, 1]")
_AS_CODES = (
    "int8 codes of (pixel - mean) / std of 8-bit pixels at the tensor's scale and zero point: pixel - 128.",
    "int8 codes at the tensor's scale and zero point: code + 128 is 8-bit alpha, (code + 128) / 255 in [0, 1]",
)
"""What the descriptions say of an input and an output."""


@dataclass(frozen=True)
class Metadata:
    """What a .tflite file says about itself.

    Attributes:
        name: Of the model.
        description: For the app team.
        version: Of the weights.
        author: Of the weights.
        license: Of the weights.
        mean: Subtracted from 8-bit R, G and B before the first operator.
        std: Divided by afterwards.
        input_description: What the input means.
        output_description: What the output means.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_description: str
    output_description: str


def build(info: ModelInfo, height: int, width: int, min_runtime: str, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the metadata entries of a file, name to content.

    Args:
        info: Of the trunk.
        height: Rows of the input.
        width: Columns of the input.
        min_runtime: First TFLite runtime that runs the file.
        facts: What else the file says of itself, JSON-ready: its precision, and of an integer one its grid. ``input``
            and ``output`` there hold scale and zero point of ends that are codes.
    """
    codes = "input" in facts
    fed, made = _AS_CODES if codes else _AS_REALS
    low, high = (-128, 127) if codes else (0, 1)
    image: dict[int, Any] = {
        0: "image",
        1: f"RGB image of one face, NHWC. {fed}",
        3: {0: _Byte(_IMAGE_PROPERTIES), 1: {0: _Byte(_RGB), 1: {0: width, 1: height}}},  # Content
        4: [{0: _Byte(_NORMALIZATION_OPTIONS), 1: {0: _Floats(0, 0, 0), 1: _Floats(255, 255, 255)}}],
        5: {0: _Floats(high, high, high), 1: _Floats(low, low, low)},  # Stats: max, min
    }
    alpha: dict[int, Any] = {
        0: "alpha",
        1: f"Skin matte, NHWC, {made}: 1 is skin, 0 is whatever lies before or beside it.",
        5: {0: _Floats(high), 1: _Floats(low)},
    }
    model: dict[int, Any] = {slot: getattr(info, field) for field, slot in _MODEL.items()}
    model[3] = [{0: "main", 2: [image], 3: [alpha]}]
    model[7] = "1.0.0"  # min_parser_version: every field used here is as old as the schema
    builder = flatbuffers.Builder(1024)
    builder.Finish(_pack(builder, model), b"M001")
    extra = {**facts, **dict(sorted(info.extra.items()))}
    return {
        RUNTIME: min_runtime.encode().ljust(16, b"\0"),
        NAME: bytes(builder.Output()),
        EXTRA: json.dumps(extra, ensure_ascii=False).encode(),
    }


class _Byte(int):
    """An enum or union type field: one byte."""


class _Floats(tuple[float, ...]):
    """A vector of float32."""

    def __new__(cls, *values: float) -> _Floats:
        return super().__new__(cls, values)


def _pack(builder: Any, table: Mapping[int, Any]) -> int:
    """Write a table of field number to value; children first, as FlatBuffers wants them."""
    placed = {slot: v if isinstance(v, int) else _child(builder, v) for slot, v in table.items()}
    builder.StartObject(max(table) + 1)
    for slot, value in table.items():
        if isinstance(value, _Byte):
            builder.PrependUint8Slot(slot, value, 0)
        elif isinstance(value, int):
            builder.PrependUint32Slot(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, placed[slot], 0)
    return int(builder.EndObject())


def _child(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, dict):
        return _pack(builder, value)
    size, prepend = 4, builder.PrependUOffsetTRelative
    if isinstance(value, _Floats):
        items: list[Any] = list(value)
        prepend = builder.PrependFloat32
    else:
        items = [_pack(builder, item) for item in value]
    builder.StartVector(size, len(items), size)
    for item in reversed(items):
        prepend(item)
    return int(builder.EndVector())


def parse(entries: Mapping[str, bytes], file: str) -> Metadata:
    """Read the metadata entries of a file.

    Args:
        entries: Name to content, as in the file.
        file: For the error.

    Raises:
        InputError: The file has no TFLite metadata, or a field that an app needs is missing.
    """
    content = entries.get(NAME)
    if content is None:
        raise InputError(f"{file}: no {NAME}; expected one that states the normalisation: export the model again")
    try:
        root = _root(content)
        subgraph = _tables(root, 3)[0]
        image, alpha = _tables(subgraph, 2)[0], _tables(subgraph, 3)[0]
        unit = _tables(image, 4)[0]
        options = _table(unit, 1)
        return Metadata(
            **{field: _text(root, slot) for field, slot in _MODEL.items()},
            mean=_floats(options, 0),
            std=_floats(options, 1),
            input_description=_text(image, 1),
            output_description=_text(alpha, 1),
        )
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{file}: {NAME} cannot be read ({error}); export the model again") from error


def _root(content: bytes) -> Any:
    if content[4:8] != b"M001":
        raise ValueError(f"identifier {content[4:8]!r}, expected b'M001'")
    return Table(content, int.from_bytes(content[:4], "little"))


def _field(table: Any, slot: int) -> int:
    """Return the position of a field in the buffer."""
    offset = table.Offset(4 + 2 * slot)
    if offset == 0:
        raise LookupError(f"field {slot} is missing")
    return int(offset + table.Pos)


def _text(table: Any, slot: int) -> str:
    return str(table.String(_field(table, slot)).decode())


def _table(table: Any, slot: int) -> Any:
    return Table(table.Bytes, table.Indirect(_field(table, slot)))


def _tables(table: Any, slot: int) -> list[Any]:
    offset = _field(table, slot) - table.Pos
    start = table.Vector(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(offset))]


def _floats(table: Any, slot: int) -> tuple[float, ...]:
    offset = _field(table, slot) - table.Pos
    start, flags = table.Vector(offset), number_types.Float32Flags
    return tuple(table.Get(flags, start + 4 * i) for i in range(table.VectorLen(offset)))
