"""A student on its integer grid, as one file: the deployed network's weights, every scale, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.scheme import Scheme

if TYPE_CHECKING:
    from edgemat.model.student import Student, StudentConfig

_SCHEME, _KEPT, _PASSPORT = "scheme", "kept", "passport"
_ACTIVATION, _ZERO, _WEIGHT = "activation", "zero_point", "weight"


@dataclass(frozen=True)
class QuantizedStudent:
    """A student as it was read from a file.

    Attributes:
        net: Deployed (`Student.deploy`), float32: the weights before they become codes.
        config: What it was built from.
        info: The card: text to text, at least `edgemat.model.weights.CARD_KEYS`.
        grid: All scales.
    """

    net: Student
    config: StudentConfig
    info: Mapping[str, str]
    grid: Grid


def save(net: Student, grid: Grid, path: Path, card: Mapping[str, object]) -> None:
    """Write a deployed student and its grid, completely or not at all.

    Args:
        net: Of `Student.deploy`.
        grid: All scales, by the trunk's tensor names.
        path: The goal, by habit ``student-SCHEME.safetensors``.
        card: At least `edgemat.model.weights.CARD_KEYS`.

    Raises:
        InputError: The card lacks a key, or a value is NaN or infinite.
        OutputError: The goal cannot be written.
    """
    import numpy as np
    import torch

    tensors = {}
    for name, params in grid.activations.items():
        tensors[f"{_ACTIVATION}.{name}"] = torch.tensor(params.scale, dtype=torch.float32)
        tensors[f"{_ZERO}.{name}"] = torch.tensor(params.zero_point, dtype=torch.int32)
    for name, scales in grid.weights.items():
        tensors[f"{_WEIGHT}.{name}"] = torch.from_numpy(np.ascontiguousarray(scales))
    facts = {
        _SCHEME: grid.scheme.name,
        _KEPT: json.dumps(sorted(grid.kept)),
        _PASSPORT: json.dumps(grid.passport, sort_keys=True),
    }
    weights.save_quantized(net, tensors, path, {**card, **facts})


def load(path: Path) -> QuantizedStudent:
    """Read a quantized student.

    Raises:
        InputError: The file is missing, broken, of another format, or a scale is missing or impossible.
    """
    loaded, tensors = weights.load_quantized(path)
    info = dict(loaded.info)
    try:
        scheme = Scheme.parse(info.pop(_SCHEME))
        kept, passport = json.loads(info.pop(_KEPT)), json.loads(info.pop(_PASSPORT))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: its scheme cannot be read ({error!r}); {_AGAIN}") from error
    activations, scales = {}, {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        if kind == _ACTIVATION:
            zero = tensors.get(f"{_ZERO}.{name}")
            if zero is None or tensor.shape or zero.shape:
                raise InputError(f"{path}: {name}: no whole pair of scale and zero point; {_AGAIN}")
            try:
                activations[name] = QParams(float(tensor), int(zero), *scheme.limits)
            except ValueError as error:
                raise InputError(f"{path}: {name}: {error}; {_AGAIN}") from error
        elif kind == _WEIGHT:
            scales[name] = tensor.numpy()
    if not activations or not scales:
        raise InputError(f"{path}: {len(activations)} activation scales, {len(scales)} weights' scales; {_AGAIN}")
    grid = Grid(scheme, activations, scales, frozenset(kept), passport)
    return QuantizedStudent(loaded.net, loaded.config, info, grid)


_AGAIN = "make it again with: edgemat quantize, or edgemat train qat"
