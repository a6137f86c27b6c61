"""Read and write a student's weights: safetensors with configuration and card inside, never pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import InputError
from edgemat.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from edgemat.model.student import Student, StudentConfig

FORMAT = "edgemat-student"
SCHEMA_VERSION = 1
CARD_KEYS = ("version", "license", "author", "description")
"""What every card states; anything else (seed, command, data, figures) is welcome and kept as text."""

_PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".bin")
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_LISTED = 10


@dataclass(frozen=True)
class LoadedStudent:
    """A student as it was read from a file.

    Attributes:
        net: The network in evaluation mode, float32, on the CPU.
        config: What it was built from.
        info: The card: text to text, at least `CARD_KEYS`.
    """

    net: Student
    config: StudentConfig
    info: Mapping[str, str]


def shipped() -> Path:
    """Return the path of the weights that come with the package."""
    return Path(str(resources.files("edgemat.model") / "weights" / "student.safetensors"))


def save(net: Student, path: str | Path, card: Mapping[str, object]) -> None:
    """Write a student, its configuration and its card, completely or not at all.

    Args:
        net: The network; batch normalisation not folded.
        path: The goal, by habit ``*.safetensors``.
        card: At least `CARD_KEYS`; values that are no text are stored as JSON.

    Raises:
        InputError: The card lacks a key, or a weight is NaN or infinite.
        OutputError: The goal cannot be written.
    """
    from safetensors.torch import save_file

    missing = [key for key in CARD_KEYS if not card.get(key)]
    if missing:
        raise InputError(f"{path}: the card lacks {', '.join(missing)}; expected at least {', '.join(CARD_KEYS)}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    _refuse(path, _not_finite(state), "weights that are NaN or infinite", "train again from the last good checkpoint")
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    metadata |= {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "config": json.dumps(dataclasses.asdict(net.config)),
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)


def load(path: str | Path) -> LoadedStudent:
    """Read a student and check every tensor of it.

    Args:
        path: A file that `save` wrote.

    Raises:
        InputError: The file is missing, truncated, a pickle, of another format or schema, or its tensors are missing,
            unexpected, of another shape or type, NaN or infinite.
    """
    from edgemat.model.student import Student

    metadata, state = _read(Path(path))
    config = _config(path, metadata)
    net = Student(config)
    _refuse(path, _mismatches(net.state_dict(), state), "tensors that do not fit its own configuration", "retrain")
    _refuse(path, _not_finite(state), "weights that are NaN or infinite", "use an earlier checkpoint")
    net.load_state_dict(state)
    info = {key: value for key, value in metadata.items() if key not in ("format", "schema_version", "config")}
    return LoadedStudent(net.eval(), config, info)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .safetensors file of `edgemat train student`")
    with path.open("rb") as stream:
        head = stream.read(4)
    if path.suffix.lower() in _PICKLE_SUFFIXES or head.startswith(_PICKLE_MAGIC):
        raise InputError(
            f"{path}: this is a pickle, which can run any code when it is opened, so edgemat never does. "
            "Where you trust it, convert it once: net.load_state_dict(torch.load(FILE, weights_only=True)), then "
            "edgemat.model.weights.save(net, 'student.safetensors', card)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({path.stat().st_size} bytes; {error}); copy or download it again"
        ) from error


def _config(path: str | Path, metadata: Mapping[str, str]) -> StudentConfig:
    from edgemat.model.student import Normalization, StudentConfig

    found = metadata.get("format")
    if found != FORMAT:
        raise InputError(
            f"{path}: format {found!r} in the metadata, expected {FORMAT!r}; write it with edgemat.model.weights.save, "
            "or export the network to ONNX yourself and give it as --model"
        )
    if metadata.get("schema_version") != str(SCHEMA_VERSION):
        raise InputError(
            f"{path}: schema_version {metadata.get('schema_version')!r}, this edgemat reads {SCHEMA_VERSION}; "
            "pip install --upgrade edgemat"
        )
    try:
        fields: dict[str, Any] = json.loads(metadata["config"])
        normalization = Normalization(**{k: tuple(v) for k, v in fields.pop("normalization").items()})
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        return StudentConfig(**fields, normalization=normalization)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: config {metadata.get('config')!r} is not a student's ({error}); it may come from another version "
            "of edgemat: pip install --upgrade edgemat"
        ) from error


def _mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return one line for each tensor that is missing, unexpected, or of another shape or type."""
    lines = []
    for name, tensor in expected.items():
        other = found.get(name)
        if other is None:
            lines.append(f"{name}: missing, expected {_kind(tensor)}")
        elif other.shape != tensor.shape or other.dtype != tensor.dtype:
            lines.append(f"{name}: found {_kind(other)}, expected {_kind(tensor)}")
    lines += [f"{name}: unexpected, {_kind(found[name])}" for name in sorted(set(found) - set(expected))]
    return lines


def _not_finite(state: Mapping[str, Tensor]) -> list[str]:
    import torch

    counts = {name: int((~torch.isfinite(tensor)).sum()) for name, tensor in state.items()}
    return [f"{name}: {n} of {state[name].numel()} values NaN or infinite" for name, n in counts.items() if n]


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _refuse(path: str | Path, lines: list[str], what: str, remedy: str) -> None:
    if lines:
        more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
        raise InputError("\n  ".join([f"{path}: {len(lines)} {what}; {remedy}", *lines[:_LISTED], *more]))
