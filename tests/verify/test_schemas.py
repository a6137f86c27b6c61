"""The JSON Schemas that are shipped: they say what the documents are, no more and no less."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from edgemat.verify.bench.ratio import Gate, Ratio, judge
from edgemat.verify.bench.report import SCHEMA_VERSION as BENCH
from edgemat.verify.bench.report import BenchReport
from edgemat.verify.bench.roofline import Bound
from edgemat.verify.bench.row import Row
from edgemat.verify.bench.runtimes import Untimed
from edgemat.verify.bootstrap import Interval
from edgemat.verify.lint.finding import SCHEMA_VERSION as LINT
from edgemat.verify.lint.finding import Finding, Linted, LintReport
from edgemat.verify.parity.report import QUESTIONS, STATES, Figure, Outcome, ParityReport
from edgemat.verify.parity.report import SCHEMA_VERSION as PARITY
from edgemat.verify.waterfall import SCHEMA_VERSION as WATERFALL
from edgemat.verify.waterfall import Step, Waterfall
from edgemat.verify.waterfall_chain import KINDS
from edgemat.verify.waterfall_scores import Figure as StepFigure

NAMES = {"parity": PARITY, "waterfall": WATERFALL, "bench": BENCH, "lint": LINT}


def schema(name: str) -> dict[str, Any]:
    place = resources.files("edgemat.verify").joinpath("schemas", f"{name}.schema.json")
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def documents() -> dict[str, dict[str, object]]:
    """Return one document of each kind in which every part is filled."""
    judged = Figure("quantization", "mad", 1.0, "%", "skin: tan", 0.5, 1.5, 5.0, detail="2 faces")
    shown = Figure("conversion", "psnr", None, "dB")
    outcome = Outcome("tflite", "int8", "a.tflite", "00ff", "passed", figures=(judged, shown), findings=("none",))
    facts = {"name": "hold-out", "count": 2, "faces": 2, "clips": 0, "truth": True}
    report = ParityReport((outcome,), facts, {}, {}, {}, ("no GPU",), {}, "edgemat parity", {"total": 1.5})
    interval = Interval(1.0, 0.5, 1.5)
    figure = StepFigure("mad", "frame", 2, interval, interval, interval, interval)
    start = Step(name="torch", chain="float", figures=(StepFigure("mad", "frame", 2, interval),))
    step = Step(name="onnx", chain="float", after="torch", kind="conversion", figures=(figure,), moved=0.1)
    ratio = Ratio("a int8", "a fp32", "1 thread", 0.5, 0.4, 0.6, (0.5,), 5, 5)
    row = Row(
        "a int8", "LiteRT", "this machine", "1 thread", 10, 5, 1.0, bound=Bound(0.5, 1, 1, 0.5), placement={"CPU": 1}
    )
    gates, untimed = judge([Gate("a int8", "a fp32", 0.6)], [ratio]), (Untimed("b", "no Mac"),)
    bench = BenchReport((row,), (ratio,), gates, untimed, untimed, {"a": ("b",)}, None, {}, {"a Mac": {}}, {}, "c")
    finding = Finding("EM001", "name", "note", "a.onnx", "onnx fp32", "op", "t", "found", "why", "fix")
    return {
        "parity": report.to_json(),
        "waterfall": Waterfall((start, step), ("mad",), facts).to_json(),
        "bench": bench.to_json(),
        "lint": LintReport((Linted("a.onnx", "onnx fp32", 2, ("b",)),), (finding,), {"EM002": 1}).to_json(),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_of_the_documents_version(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["properties"]["schema_version"] == {"const": NAMES[name]}
    assert {f"{n}.schema.json" for n in NAMES} == {
        place.name for place in resources.files("edgemat.verify").joinpath("schemas").iterdir()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_document_is_valid_also_after_it_was_written_and_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(documents()[name], allow_nan=False))
    Draft202012Validator(schema(name)).validate(json.loads((tmp_path / "a.json").read_text()))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every mapping whose form a schema fixes."""
    free = {"images", "network", "gates", "machine", "baseline", "timings", "settings", "devices", "reasons", "ignored"}
    if isinstance(value, dict):
        yield at
        for key, item in value.items():
            if key not in free | {"placement", "difference", "metrics", "counts"} or isinstance(item, list):
                yield from places(item, (*at, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from places(item, (*at, place))


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_is_missing_unknown_or_of_another_type_is_found(name: str) -> None:
    check, whole = Draft202012Validator(schema(name)), documents()[name]
    whole = json.loads(json.dumps(whole))
    tried = 0
    for path in places(whole):
        for fault in ("unknown", "missing", "type"):
            broken = copy.deepcopy(whole)
            part = broken
            for key in path:
                part = part[key]
            first = next(iter(part))
            if fault == "unknown":
                part["surprise"] = 1
            elif fault == "missing":
                del part[first]
            else:
                part[first] = {"no": "such type"}
            with pytest.raises(ValidationError):
                check.validate(broken)
            tried += 1
    assert tried >= 6


def test_the_fields_are_those_of_the_values() -> None:
    """A field that is added to a value has to be added to its schema, and its version considered."""
    parity, bench, lint = schema("parity"), schema("bench"), schema("lint")
    for found, value, more in (
        (parity, ParityReport, {"schema_version", "passed"}),
        (parity["$defs"]["outcome"], Outcome, set()),
        (parity["$defs"]["figure"], Figure, set()),
        (bench["$defs"]["row"], Row, {"iqr", "attained"}),
        (bench["$defs"]["ratio"], Ratio, {"verdict"}),
        (lint["$defs"]["finding"], Finding, set()),
        (schema("waterfall")["$defs"]["step"], Step, {"what"}),
        (schema("waterfall")["$defs"]["figure"], StepFigure, {"verdict"}),
    ):
        fields = {field.name for field in dataclasses.fields(value)} | more
        assert set(found["properties"]) == set(found["required"]) == fields, value.__name__
        assert found["additionalProperties"] is False


def test_the_words_are_those_of_the_values() -> None:
    defs = schema("parity")["$defs"]
    assert tuple(defs["outcome"]["properties"]["state"]["enum"]) == STATES
    assert tuple(defs["figure"]["properties"]["question"]["enum"]) == QUESTIONS
    assert set(schema("waterfall")["$defs"]["step"]["properties"]["kind"]["enum"]) == set(KINDS)
