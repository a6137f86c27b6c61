"""Read and write a network's weights: safetensors with configuration and card inside, never pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgemat.errors import InputError
from edgemat.model.tensorfile import write_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgemat.model.student import Student, StudentConfig
    from edgemat.model.teacher import Teacher, TeacherConfig

FORMAT = "edgemat-student"
TEACHER_FORMAT = "edgemat-teacher"
QUANTIZED_FORMAT = "edgemat-quantized-student"
SCHEMA_VERSION = 1
CARD_KEYS = ("version", "license", "author", "description")
"""What every card states; anything else (seed, command, data, figures) is welcome and kept as text."""

_PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".bin")
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_LISTED = 10
_C = TypeVar("_C")
_REMEDY = {
    FORMAT: "write it with edgemat.model.weights.save, or export the network to ONNX yourself and give it as --model",
    TEACHER_FORMAT: "train one with: edgemat train teacher --out runs/teacher",
    QUANTIZED_FORMAT: "make one with: edgemat quantize, or edgemat train qat",
}


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


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher as it was read from a file.

    Attributes:
        net: The network in evaluation mode, float32, on the CPU.
        config: What it was built from.
        info: The card: text to text, at least `CARD_KEYS`.
    """

    net: Teacher
    config: TeacherConfig
    info: Mapping[str, str]


def shipped() -> Path:
    """Return the path of the student's weights that come with the package."""
    return Path(str(resources.files("edgemat.model") / "weights" / "student.safetensors"))


def shipped_teacher() -> Path:
    """Return the path of the teacher's weights that come with the package."""
    return Path(str(resources.files("edgemat.model") / "weights" / "teacher.safetensors"))


def shipped_quantized(scheme: str) -> Path:
    """Return the path of the quantized student that comes with the package for a scheme, such as ``static_w8c_a8``.

    Raises:
        InputError: None comes with the package for that scheme.
    """
    path = shipped().with_name(f"student-{scheme}.safetensors")
    if not path.is_file():
        raise InputError(f"scheme {scheme}: no student comes with the package; make one with: edgemat quantize")
    return path


def file_format(path: str | Path) -> str:
    """Return what a weights file says it is: one of the formats above, or another's word, empty if none.

    Raises:
        InputError: The file is missing, truncated or a pickle.
    """
    return _read(Path(path), tensors=False)[0].get("format", "")


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
    _save(net.state_dict(), dataclasses.asdict(net.config), FORMAT, path, card)


def save_teacher(net: Teacher, path: str | Path, card: Mapping[str, object]) -> None:
    """Write a teacher, its configuration and its card, completely or not at all.

    The convolutions' weights are stored as float16, which halves the file; `load_teacher` gives float32 again.

    Args:
        net: The network.
        path: The goal, by habit ``*.safetensors``.
        card: At least `CARD_KEYS`; values that are no text are stored as JSON.

    Raises:
        InputError: The card lacks a key, or a weight is NaN or infinite, or becomes so in float16.
        OutputError: The goal cannot be written.
    """
    state = {name: tensor.half() if tensor.ndim == 4 else tensor for name, tensor in net.state_dict().items()}
    _save(state, dataclasses.asdict(net.config), TEACHER_FORMAT, path, card)


def save_quantized(net: Student, scales: Mapping[str, Tensor], path: str | Path, card: Mapping[str, object]) -> None:
    """Write a deployed student with the scales of its integer grid; `edgemat.quantize.checkpoint` says what they are.

    Args:
        net: Of `Student.deploy`: batch normalisation and normalisation folded.
        scales: By name.
        path: The goal.
        card: At least `CARD_KEYS`.

    Raises:
        InputError: The card lacks a key, or a value is NaN or infinite.
        OutputError: The goal cannot be written.
    """
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    state |= {f"grid.{name}": tensor for name, tensor in scales.items()}
    _save(state, dataclasses.asdict(net.config), QUANTIZED_FORMAT, path, card)


def load_quantized(path: str | Path) -> tuple[LoadedStudent, dict[str, Tensor]]:
    """Read what `save_quantized` wrote: the deployed student, and the scales by name.

    Raises:
        InputError: As `load`.
    """
    from edgemat.model.student import Student, StudentConfig

    metadata, state = _read(Path(path))
    config = _config(path, metadata, QUANTIZED_FORMAT, StudentConfig)
    net = Student(config).deploy()
    _fill(net, path, {k.removeprefix("net."): v for k, v in state.items() if not k.startswith("grid.")})
    scales = {k.removeprefix("grid."): v for k, v in state.items() if k.startswith("grid.")}
    _refuse(path, _not_finite(scales), "scales that are NaN or infinite", "quantize it again")
    return LoadedStudent(net.eval(), config, _card(metadata)), scales


def _save(
    state: Mapping[str, Tensor], config: dict[str, Any], kind: str, path: str | Path, card: Mapping[str, object]
) -> None:
    missing = [key for key in CARD_KEYS if not card.get(key)]
    if missing:
        raise InputError(f"{path}: the card lacks {', '.join(missing)}; expected at least {', '.join(CARD_KEYS)}")
    _refuse(path, _not_finite(state), "weights that are NaN or infinite", "train again from the last good checkpoint")
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    metadata |= {"format": kind, "schema_version": str(SCHEMA_VERSION), "config": json.dumps(config)}
    write_tensors(state, path, metadata)


def load(path: str | Path) -> LoadedStudent:
    """Read a student and check every tensor of it.

    Args:
        path: A file that `save` wrote.

    Raises:
        InputError: The file is missing, truncated, a pickle, of another format or schema, or its tensors are missing,
            unexpected, of another shape or type, NaN or infinite.
    """
    from edgemat.model.student import Student, StudentConfig

    metadata, state = _read(Path(path))
    config = _config(path, metadata, FORMAT, StudentConfig)
    net = Student(config)
    _fill(net, path, state)
    return LoadedStudent(net.eval(), config, _card(metadata))


def load_teacher(path: str | Path) -> LoadedTeacher:
    """Read a teacher and check every tensor of it.

    Args:
        path: A file that `save_teacher` wrote.

    Raises:
        InputError: As `load`.
    """
    from edgemat.model.teacher import Teacher, TeacherConfig

    metadata, state = _read(Path(path))
    config = _config(path, metadata, TEACHER_FORMAT, TeacherConfig)
    net = Teacher(config)
    _fill(net, path, {name: tensor.float() if tensor.ndim == 4 else tensor for name, tensor in state.items()})
    return LoadedTeacher(net.eval(), config, _card(metadata))


def _fill(net: nn.Module, path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Load checked tensors."""
    _refuse(path, _mismatches(net.state_dict(), state), "tensors that do not fit its own configuration", "retrain")
    _refuse(path, _not_finite(state), "weights that are NaN or infinite", "use an earlier checkpoint")
    net.load_state_dict(state)


def _card(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key not in ("format", "schema_version", "config")}


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .safetensors file of `edgemat train`")
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
            names = file.keys() if tensors else ()
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({path.stat().st_size} bytes; {error}); copy or download it again"
        ) from error


def _config(path: str | Path, metadata: Mapping[str, str], kind: str, build: Callable[..., _C]) -> _C:
    from edgemat.model.student import Normalization

    found = metadata.get("format")
    if found != kind:
        raise InputError(f"{path}: format {found!r} in the metadata, expected {kind!r}; {_REMEDY[kind]}")
    if metadata.get("schema_version") != str(SCHEMA_VERSION):
        raise InputError(
            f"{path}: schema_version {metadata.get('schema_version')!r}, this edgemat reads {SCHEMA_VERSION}; "
            "pip install --upgrade edgemat"
        )
    try:
        fields: dict[str, Any] = json.loads(metadata["config"])
        normalization = Normalization(**{k: tuple(v) for k, v in fields.pop("normalization").items()})
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        return build(**fields, normalization=normalization)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: config {metadata.get('config')!r} is not that of {kind} ({error}); it may come from another "
            "version of edgemat: pip install --upgrade edgemat"
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
