"""Write the IR: a folder with the graph (model.xml) and its numbers (model.bin)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgemat.export import _isolated
from edgemat.export._target import Trunk
from edgemat.export.openvino._adapt import adapt
from edgemat.quantize import qdq

GRAPH, NUMBERS = "model.xml", "model.bin"
FACTS = ("edgemat", "facts")
"""Where the IR's ``rt_info`` holds what `facts_of` returns, as JSON."""
BACKEND = "edgemat.export.openvino._backend"


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write a trunk as IR.

    Raises:
        InputError: The grid breaks a rule.
        UnsupportedOpError: An operator cannot be quantized, or OpenVINO does not know it.
        IsolatedError: OpenVINO crashed.
    """
    model, grid = onnx.load(trunk.path), None
    if precision == "int8":
        assert trunk.grid is not None  # the frame has seen to it
        grid = trunk.grid
        model = qdq.insert(model, grid, trunk.path.name)
    content = np.frombuffer(adapt(model, grid).SerializeToString(deterministic=True), np.uint8)
    path.mkdir(parents=True)
    arguments = {"path": str(path / GRAPH), "facts": json.dumps(facts_of(trunk, precision)), "origin": trunk.path.name}
    _isolated.call(f"{BACKEND}:to_ir", arguments, {"model": content})
    graph = path / GRAPH
    graph.write_text(shorter(graph.read_text(encoding="utf-8")), encoding="utf-8")


def facts_of(trunk: Trunk, precision: str) -> dict[str, Any]:
    """Return what the file says of itself, JSON-ready; the scales as exact decimals of float32."""
    info, size = trunk.info, f"{trunk.height}x{trunk.width}"
    facts: dict[str, Any] = {
        **info.extra,
        "name": info.name,
        "version": info.version,
        "author": info.author,
        "license": info.license,
        "description": info.description,
        "input": f"image: RGB, float32, 1x3x{size}, in [0, 1]; normalisation is inside",
        "output": f"alpha: float32, 1x1x{size}, in [0, 1]; skin is 1",
        "precision": precision,
    }
    if precision == "int8":
        assert trunk.grid is not None
        facts["scheme"], facts["kept"] = trunk.grid.scheme.name, sorted(trunk.grid.kept)
        # a FakeQuantize states bounds, whose rounding leaves the scale's last bit open
        facts["scales"] = {
            n: [float(str(np.float32(p.scale))), p.zero_point] for n, p in trunk.grid.activations.items()
        }
    return facts


def shorter(text: str) -> str:
    """Return an IR's XML without the white space between elements and without defaults: a quarter of it."""
    return re.sub(r">\s+<", "><", text).replace(' auto_broadcast="numpy"', "")
