"""What artefacts were made from, kept beside them, so that a folder can be judged by itself, later and elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.errors import InputError
from edgemat.export._target import ModelInfo, Trunk, Trunks
from edgemat.files import atomic_path, sha256
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.scheme import Scheme

SCHEMA_VERSION = 1
FOLDER = "reference"
"""Name of the folder beside the artefacts."""
_INDEX, _PLAIN = "reference.json", "float"
_AGAIN = "export again with: edgemat export"


def save(trunks: Trunks, folder: Path) -> None:
    """Write the trunks as ``float.onnx``, one ``SCHEME.onnx`` a grid, and ``reference.json`` with every scale.

    Args:
        trunks: What an export starts from.
        folder: The goal; what stood there goes.

    Raises:
        OutputError: It cannot be written.
    """
    named = {**({} if trunks.plain is None else {_PLAIN: trunks.plain}), **trunks.on_grid}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, trunk in named.items():
            shutil.copyfile(trunk.path, temporary / f"{name}.onnx")
        index = {"schema_version": SCHEMA_VERSION, "trunks": {name: _facts(trunk) for name, trunk in named.items()}}
        text = json.dumps(index, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (temporary / _INDEX).write_text(text, encoding="utf-8")


def load(folder: Path) -> Trunks:
    """Read the trunks of a folder that `save` wrote.

    Raises:
        InputError: The folder is missing or incomplete, a graph is not the one that was written, or a scale is
            impossible.
    """
    place = folder / _INDEX
    try:
        index = json.loads(place.read_text(encoding="utf-8"))
        version = index["schema_version"]
        if version != SCHEMA_VERSION:
            raise InputError(f"{place}: schema version {version}, expected {SCHEMA_VERSION}; {_AGAIN}")
        found = {name: _trunk(folder / f"{name}.onnx", facts) for name, facts in index["trunks"].items()}
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: missing, so nothing to judge artefacts by; {_AGAIN}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{place}: cannot be read ({type(error).__name__}: {error}); {_AGAIN}") from error
    if not found:
        raise InputError(f"{place}: names no graph; {_AGAIN}")
    return Trunks(found.pop(_PLAIN, None), found)


def _facts(trunk: Trunk) -> dict[str, object]:
    return {
        "sha256": sha256(trunk.path),
        "height": trunk.height,
        "width": trunk.width,
        "info": {**asdict(trunk.info), "extra": dict(trunk.info.extra)},
        "grid": None if trunk.grid is None else _plain(trunk.grid),
    }


def _plain(grid: Grid) -> dict[str, object]:
    """Return a grid as JSON values; a float32 survives the way over a double's shortest decimal."""
    return {
        "scheme": grid.scheme.name,
        "kept": sorted(grid.kept),
        "passport": dict(grid.passport),
        "activations": {name: [p.scale, p.zero_point, p.low, p.high] for name, p in grid.activations.items()},
        "weights": {name: scales.astype(np.float64).tolist() for name, scales in grid.weights.items()},
    }


def _trunk(path: Path, facts: Mapping[str, Any]) -> Trunk:
    if sha256(path) != facts["sha256"]:
        raise InputError(f"{path}: not the graph that the export wrote (its SHA-256 differs); {_AGAIN}")
    info, stated = ModelInfo(**facts["info"]), facts["grid"]
    return Trunk(path, facts["height"], facts["width"], info, None if stated is None else _grid(stated))


def _grid(stated: Mapping[str, Any]) -> Grid:
    return Grid(
        Scheme.parse(stated["scheme"]),
        {name: QParams(*values) for name, values in stated["activations"].items()},
        {name: np.array(scales, np.float32) for name, scales in stated["weights"].items()},
        frozenset(stated["kept"]),
        stated["passport"],
    )
