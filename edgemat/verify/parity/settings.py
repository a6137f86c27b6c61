"""What a project asks of parity: read from TOML, checked, and merged for each artefact.

The table ``[tool.edgemat.parity]`` of ``pyproject.toml``, or ``[parity]`` of ``edgemat.toml``::

    [tool.edgemat.parity]
    require = ["coreml", "tflite"]     # not being able to run them is a failure
    timeout_seconds = 120

    [tool.edgemat.parity.quality]      # over all images, per cent worse than the float network
    grad = 3.0
    conn = false                       # shown, not judged

    [tool.edgemat.parity.strata]       # the same in any stratum
    mad = 8.0

    [tool.edgemat.parity.targets.tflite.int8.conversion]
    within_one = 0.999

The sections are ``conversion``, ``quality``, ``strata``, ``composite`` and ``ratchet``; see
`edgemat.verify.parity.limits`. What is nearest to an artefact wins: its target's precision, its target, the
project, the defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgemat.errors import InputError
from edgemat.metrics import METRICS
from edgemat.verify.parity.composite import CompositeLimits
from edgemat.verify.parity.limits import ConversionLimits, Limits, RatchetLimits
from edgemat.verify.parity.quality import STRATA, WHOLE, QualityLimits

PYPROJECT, OWN = "pyproject.toml", "edgemat.toml"
ALL = "all"
_FLAT = {"conversion": ConversionLimits, "composite": CompositeLimits, "ratchet": RatchetLimits}
_METRICS = {"quality": WHOLE, "strata": STRATA}
SECTIONS = ("conversion", "quality", "strata", "composite", "ratchet")
_SHARES = ("differ", "within_one", "relative")
Number = int | float | None
Table = Mapping[str, Mapping[str, Number]]
"""Section to name to limit; None: not judged."""


@dataclass(frozen=True)
class Settings:
    """What one run of parity asks.

    Attributes:
        tables: From the most general to the nearest: whom it is for (``""`` for all, a target's name, or ``target
            precision``), and its limits.
        require: Targets that must be run; ``all`` for every artefact of the folder.
        timeout_seconds: What an artefact's process may take for one answer: to open, for 8 images, for one image's
            inner tensors. The slowest simulators take ten seconds; five minutes is a process that hangs.
        origin: The file that it was read from; empty for none.
    """

    tables: tuple[tuple[str, Table], ...] = ()
    require: tuple[str, ...] = ()
    timeout_seconds: float = 300.0
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be kept or means nothing."""
        if not (math.isfinite(self.timeout_seconds) and self.timeout_seconds > 0):
            raise InputError(f"{self._where}timeout_seconds = {self.timeout_seconds}, expected seconds, more than 0")
        for _, table in self.tables:
            for section, values in table.items():
                _refuse(section, values, self._where)
        for whom, _ in self.tables:
            target, _, precision = whom.partition(" ")
            try:
                self.limits(target, precision)
            except InputError as error:
                raise InputError(f"{self._where}{error}") from error

    @property
    def _where(self) -> str:
        return f"{self.origin}: " if self.origin else ""

    def limits(self, target: str, precision: str) -> Limits:
        """Return the limits of one artefact.

        Args:
            target: Its target's name.
            precision: One of the target's.

        Example:
            >>> Settings().limits("onnx", "fp16").conversion.psnr
            60.0
        """
        merged: dict[str, dict[str, Number]] = {section: {} for section in SECTIONS}
        for whom, table in self.tables:
            if whom in ("", target, f"{target} {precision}"):
                for section, values in table.items():
                    merged[section] |= values
        return Limits(
            ConversionLimits(**merged["conversion"]),  # type: ignore[arg-type]  # checked when they were made
            QualityLimits(_judged(WHOLE, merged["quality"]), _judged(STRATA, merged["strata"])),
            CompositeLimits(**merged["composite"]),  # type: ignore[arg-type]
            RatchetLimits(**merged["ratchet"]),  # type: ignore[arg-type]
        )

    def override(self, words: Iterable[str]) -> Settings:
        """Return the settings with limits over all others.

        Args:
            words: Such as ``quality.grad=3`` or ``conversion.psnr=off``.

        Raises:
            InputError: One is no limit.

        Example:
            >>> Settings().override(["quality.grad=3"]).limits("onnx", "int8").quality.whole["grad"]
            3.0
        """
        table: dict[str, dict[str, Number]] = {}
        for word in words:
            name, equals, text = word.partition("=")
            section, dot, key = name.strip().partition(".")
            if not (equals and dot):
                raise InputError(f"--gate {word}: expected SECTION.NAME=NUMBER or =off, such as quality.grad=3")
            table.setdefault(section, {})[key] = _number(text.strip(), word)
        return dataclasses.replace(self, tables=(*self.tables, *((("", table),) if table else ())))

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values: what holds for all, and what was asked for some."""
        return {
            "origin": Path(self.origin).name,
            "require": list(self.require),
            "timeout_seconds": self.timeout_seconds,
            "limits": dataclasses.asdict(self.limits("", "")),
            "targets": [{"for": whom, **table} for whom, table in self.tables if whom],
        }


def _judged(defaults: Mapping[str, float], values: Mapping[str, Number]) -> dict[str, float]:
    return {name: float(limit) for name, limit in (dict(defaults) | dict(values)).items() if limit is not None}


def _number(text: str, word: str) -> Number:
    if text in ("off", "false"):
        return None
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError as error:
        raise InputError(f"--gate {word}: {text!r} is no number, and not off") from error


def _refuse(section: str, values: Mapping[str, Number], where: str) -> None:
    """Raise where a section, a name or a number is impossible."""
    known = [metric for metric in METRICS] if section in _METRICS else []
    if section in _FLAT:
        known = [f.name for f in dataclasses.fields(_FLAT[section])]
    if not known:
        raise InputError(f"{where}[{section}]: {_unknown(section, SECTIONS)}")
    for name, value in values.items():
        full = f"{where}{section}.{name}"
        if name not in known:
            raise InputError(f"{full}: {_unknown(name, known)}")
        if value is None:
            if section not in _METRICS and not _may_be_off(_FLAT[section], name):
                raise InputError(f"{full} = false: this limit cannot be left out; give a number")
            continue
        _refuse_number(full, name, value)


def _refuse_number(full: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise InputError(f"{full} = {value!r}, expected a number of 0 or more, or false to judge nothing")
    if name in _SHARES and value > 1:
        raise InputError(f"{full} = {value}, expected a share in [0, 1]")
    if name == "lsb" and (value != int(value) or value > 7):
        raise InputError(f"{full} = {value}, expected whole codes, 0 to 7")


def _may_be_off(kind: type[Any], name: str) -> bool:
    return any(f.name == name and "None" in str(f.type) for f in dataclasses.fields(kind))


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"unknown; did you mean {near[0]!r}? " if near else "unknown; ") + f"known: {', '.join(known)}"


def read(path: Path) -> Settings:
    """Read a project's settings.

    Args:
        path: A ``pyproject.toml`` (table ``[tool.edgemat.parity]``), or any other TOML file (table ``[parity]``).

    Raises:
        InputError: It cannot be read, has no such table, or a name or a number in it is impossible.
    """
    table = _table(path)
    if table is None:
        heading = "[tool.edgemat.parity]" if path.name == PYPROJECT else "[parity]"
        raise InputError(f"{path}: no table {heading}; add it, or give another --config")
    return _settings(table, path)


def find(folder: Path) -> Settings:
    """Return the settings nearest to a folder, in it or above it; the defaults where there are none.

    In each folder ``edgemat.toml`` comes before ``pyproject.toml``; a file without the table is passed by.

    Raises:
        InputError: As `read`.
    """
    start = folder.resolve()
    for place in (start, *start.parents):
        for name in (OWN, PYPROJECT):
            if (place / name).is_file() and (table := _table(place / name)) is not None:
                return _settings(table, place / name)
    return Settings()


def _table(path: Path) -> Mapping[str, Any] | None:
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({error})") from error
    for key in ("tool", "edgemat", "parity") if path.name == PYPROJECT else ("parity",):
        if not isinstance(found, dict):
            raise InputError(f"{path}: {key} stands in no table")
        if key not in found:
            return None
        found = found[key]
    if not isinstance(found, dict):
        raise InputError(f"{path}: parity = {found!r}, expected a table")
    return found


def _settings(table: Mapping[str, Any], path: Path) -> Settings:
    values = dict(table)
    targets, require = values.pop("targets", {}), values.pop("require", [])
    timeout = values.pop("timeout_seconds", Settings.timeout_seconds)
    if isinstance(require, str):
        require = [require]
    if not isinstance(require, list) or not all(isinstance(name, str) for name in require):
        raise InputError(f"{path}: require = {require!r}, expected names of targets")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InputError(f"{path}: timeout_seconds = {timeout!r}, expected seconds")
    known = ("require", "timeout_seconds", "targets", *SECTIONS)
    tables = [("", _sections(values, known, str(path))), *_targets(targets, path)]
    return Settings(tuple(tables), tuple(require), float(timeout), str(path))


def _targets(tables: Any, path: Path) -> Iterable[tuple[str, Table]]:
    """Yield each target's own limits, then those of its precisions."""
    from edgemat import export

    if not isinstance(tables, dict):
        raise InputError(f"{path}: targets = {tables!r}, expected tables such as [targets.tflite.int8.quality]")
    own, precise = [], []
    for name, table in tables.items():
        if name.replace("-", "_") not in export.names():
            raise InputError(f"{path}: targets.{name}: {_unknown(name, export.names())}")
        target = export.get(name)
        if not isinstance(table, dict):
            raise InputError(f"{path}: targets.{name} = {table!r}, expected a table")
        inner = {key: value for key, value in table.items() if key in target.gates}
        rest = {key: value for key, value in table.items() if key not in target.gates}
        where = f"{path}: targets.{name}"
        own.append((target.name, _sections(rest, (*SECTIONS, *target.gates), where)))
        for precision, sections in inner.items():
            if not isinstance(sections, dict):
                raise InputError(f"{where}.{precision} = {sections!r}, expected a table")
            precise.append((f"{target.name} {precision}", _sections(sections, SECTIONS, f"{where}.{precision}")))
    return [*own, *precise]


def _sections(values: Mapping[str, Any], known: Sequence[str], where: str) -> Table:
    """Return tables of limits; TOML's ``false`` is None."""
    for name, table in values.items():
        if name not in SECTIONS:
            raise InputError(f"{where}: {name}: {_unknown(name, known)}")
        if not isinstance(table, dict):
            raise InputError(f"{where}: {name} = {table!r}, expected a table")
    return {name: {k: None if v is False else v for k, v in table.items()} for name, table in values.items()}
