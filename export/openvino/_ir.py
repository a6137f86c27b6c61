"""Read an IR without OpenVINO: its layers, their constants, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.export.openvino._write import FACTS, GRAPH, NUMBERS

_TYPES = {"f32": "<f4", "f16": "<f2", "i8": "<i1", "u8": "<u1", "i32": "<i4", "i64": "<i8"}


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: Friendly name.
        kind: Type, such as ``Convolution``.
        data: What it states.
        inputs: Identities of the layers that it reads, by port.
        output: Shape and type of its first output, such as ``((1, 3, 4, 4), "FP32")``; None without one.
        names: Names of its first output's tensor.
    """

    name: str
    kind: str
    data: Mapping[str, str]
    inputs: tuple[int, ...]
    output: tuple[tuple[int, ...], str] | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ir:
    """A whole file.

    Attributes:
        path: The folder.
        layers: By identity, in the file's order: each after what it reads.
        facts: What `edgemat.export.openvino._write.facts_of` put there; empty in a file of another tool.
        numbers: The content of the file beside it.
    """

    path: Path
    layers: Mapping[int, Layer]
    facts: Mapping[str, Any]
    numbers: bytes

    def constant(self, identity: int) -> npt.NDArray[Any] | None:
        """Return a constant's value; None for another layer."""
        layer = self.layers[identity]
        if layer.kind != "Const":
            return None
        data = layer.data
        shape = tuple(int(size) for size in data["shape"].split(",") if size.strip())
        content = self.numbers[int(data["offset"]) : int(data["offset"]) + int(data["size"])]
        return np.frombuffer(content, _TYPES[data["element_type"]]).reshape(shape)

    def readers(self, identity: int) -> tuple[int, ...]:
        """Return the layers that read one."""
        return tuple(i for i, layer in self.layers.items() if identity in layer.inputs)


def read(path: Path) -> Ir:
    """Read a folder that `edgemat.export.openvino._write.convert` wrote.

    Raises:
        InputError: A file is missing, no IR, or shorter than its constants.
    """
    graph, numbers = path / GRAPH, path / NUMBERS
    try:
        root = ElementTree.fromstring(graph.read_bytes())
        found = _layers(root)
        stated = root.find("./rt_info/" + "/".join(FACTS))
        facts = {} if stated is None else json.loads(stated.attrib["value"])
        ir = Ir(path, found, facts, numbers.read_bytes())
        for identity in found:
            ir.constant(identity)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}: {error.filename}); expected a folder with {GRAPH} and {NUMBERS}"
        ) from error
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a whole OpenVINO IR ({error}); export or copy it again") from error
    return ir


def _layers(root: ElementTree.Element) -> dict[int, Layer]:
    sources: dict[int, dict[int, int]] = {}
    for edge in root.iterfind("./edges/edge"):
        to, port = int(edge.attrib["to-layer"]), int(edge.attrib["to-port"])
        sources.setdefault(to, {})[port] = int(edge.attrib["from-layer"])
    found = {}
    for layer in root.iterfind("./layers/layer"):
        identity, data = int(layer.attrib["id"]), layer.find("data")
        inputs = tuple(source for _, source in sorted(sources.get(identity, {}).items()))
        made = layer.find("./output/port")
        output = None if made is None else (_shape(made), made.attrib["precision"])
        names = () if made is None else tuple(name for name in made.attrib.get("names", "").split(",") if name)
        found[identity] = Layer(
            layer.attrib["name"], layer.attrib["type"], {} if data is None else data.attrib, inputs, output, names
        )
    if not found or not all(source in found for layer in found.values() for source in layer.inputs):
        raise ValueError("its layers are missing")
    return found


def _shape(port: ElementTree.Element) -> tuple[int, ...]:
    return tuple(int(dim.text or "") for dim in port.iterfind("dim"))
