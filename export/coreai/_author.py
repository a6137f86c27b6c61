"""Make a Core AI program of an ONNX graph, with the graph's own names in it; runs in a process of its own.

coreai-onnx translates; what is added here is that every operation says which tensor of the graph it helps to make, and
that the same graph gives the same bytes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from coreai.authoring import AIProgram, DebugInfo
from coreai.runtime import AIModelAssetMetadata
from coreai_onnx import errors as theirs
from coreai_onnx._ir import mlir_module_of
from coreai_onnx.converter import OnnxConverter

from edgemat.errors import UnsupportedOpError

NAME = "onnx:"
"""Before a tensor's name, in the debug information of the operations that make it."""
_RESOURCE = re.compile(r"\bresource_\d+")


class _Named(OnnxConverter):
    """Tells every operation whose tensor it helps to make."""

    def _lower_node(self, values_map: dict[str, Any], node: onnx.NodeProto, loc: Any) -> None:
        named = DebugInfo.metadata_only([NAME + node.output[0]])._to_mlir()
        with named:
            super()._lower_node(values_map, node, named)


def program(source: Path) -> AIProgram:
    """Return the program of an ONNX file.

    Args:
        source: Float, or with QuantizeLinear and DequantizeLinear of 8 bits.

    Raises:
        UnsupportedOpError: coreai-onnx has no translation of a node; all are listed.
    """
    converter = _Named()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of float16, which the gate judges by what it computes
            converter.add_onnx_model(onnx.load(source))
            made = converter.to_coreai()
    except theirs.UnsupportedOpError as error:
        nodes = [f"{name} ({kind})" for kind, names in sorted(error.missing.items()) for name in names]
        raise UnsupportedOpError(f"{source.name}: Core AI has no counterpart of {', '.join(nodes)}") from error
    except theirs.ConversionError as error:
        raise UnsupportedOpError(f"{source.name}: {error}") from error
    return _reproducible(made)


def _reproducible(made: AIProgram) -> AIProgram:
    """Return the same program with its weights numbered: Core AI names each one at random."""
    module = mlir_module_of(made)
    text = str(module.operation.get_asm(enable_debug_info=True))
    numbers: dict[str, int] = {}
    for name in _RESOURCE.findall(text):
        numbers.setdefault(name, len(numbers))
    named = _RESOURCE.sub(lambda found: f"weight_{numbers[found[0]]}", text)
    return AIProgram._from_mlir_module(type(module).parse(named, module.context))


def metadata(facts: Mapping[str, str]) -> AIModelAssetMetadata:
    """Return an asset's metadata; what it has no field for goes under the fact's own name."""
    made = AIModelAssetMetadata()
    fields = {"author": "author", "license": "license", "description": "model_description"}
    for name, value in facts.items():
        if name in fields:
            setattr(made, fields[name], value)
        else:
            made.set_custom(name, value)
    return made
