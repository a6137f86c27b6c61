"""Facts of the machine, and shares of its time."""

from __future__ import annotations

import json

from edgemat.verify.bench import machine


def test_facts_are_json_and_name_the_processor() -> None:
    facts = json.loads(json.dumps(machine.facts()))
    assert facts["processor"]
    assert facts["cores"] >= 1
    assert facts["packages"]["numpy"]


def test_shares_of_the_time_between_two_readings() -> None:
    before = (100, 0, 50, 1000, 10, 0, 0, 5)
    after = (160, 10, 70, 1005, 15, 0, 0, 5)
    assert machine.load(before, after) == {"busy": 0.9, "stolen": 0.0}
    assert machine.load(None, after) == {"busy": None, "stolen": None}
    assert machine.load(after, after) == {"busy": None, "stolen": None}
