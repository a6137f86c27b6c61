"""Every rule finds what it is for and nothing where that is not; ids and words are whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.verify.lint.facts import HALF, MAY, NEVER
from edgemat.verify.lint.finding import ERROR, NOTE, WARNING, Place, Rule
from edgemat.verify.lint.rule import rule
from edgemat.verify.lint.rules import FAMILIES, family_of, get, rules

from . import cases
from .cases import CASES

RULES = rules()


def found(id_: str, facts: object) -> list[object]:
    return list(get(id_).findings(facts))  # type: ignore[arg-type]


def test_every_rule_has_a_case_that_breaks_it_and_one_that_does_not() -> None:
    assert set(CASES) == {rule.id for rule in RULES}


@pytest.mark.parametrize("id_", sorted(CASES))
def test_a_rule_finds_what_it_is_for(id_: str) -> None:
    findings = list(get(id_).findings(CASES[id_][0]))
    assert findings
    for finding in findings:
        assert finding.rule == id_
        assert finding.found
        assert not finding.found.endswith("."), "sentences are joined by those who show them"
        assert finding.why.endswith(".")
        assert finding.fix.endswith(".")


@pytest.mark.parametrize("id_", sorted(CASES))
def test_a_rule_is_silent_where_nothing_is_wrong(id_: str) -> None:
    assert found(id_, CASES[id_][1]) == []


@pytest.mark.parametrize("each", RULES, ids=lambda r: r.id)
def test_a_sound_graph_breaks_no_rule(each: Rule) -> None:
    assert list(each.findings(cases.PLAIN)) == []


def test_ids_and_names_are_told_apart_and_found() -> None:
    assert len({r.id for r in RULES}) == len({r.name for r in RULES}) == len(RULES)
    assert {family_of(r) for r in RULES} == set(FAMILIES)
    assert get("em010") is get("resize-differs")
    with pytest.raises(InputError, match=r"EM999: no such rule; list them with: edgemat lint --rules"):
        get("EM999")


def test_a_number_cannot_be_given_twice() -> None:
    with pytest.raises(ValueError, match="EM001 is bytes-changed already, found other"):
        rule("EM001", "other", ERROR, "t", why="w", fix="f")(lambda facts: ())
    with pytest.raises(ValueError, match="expected EM and three digits"):
        Rule("E1", "x", ERROR, "t", "w", "f", lambda facts: ())


def test_a_resize_is_judged_by_where_it_samples_not_by_its_name() -> None:
    """Enlarging by a whole factor, nearest with asymmetric coordinates and floor is half-pixel rounded."""
    trunk = cases.resize(how="asymmetric", mode="nearest", nearest_mode="floor")
    same = cases.resize(how="half_pixel", mode="nearest", nearest_mode="round_prefer_floor")
    assert found("EM010", cases.with_trunk(same, trunk)) == []
    (finding,) = found("EM010", cases.with_trunk(cases.resize(how="asymmetric"), cases.resize()))
    assert "up to 0.25 source pixels" in finding.found  # type: ignore[attr-defined]


def test_overflow_is_an_error_where_half_is_stated_a_note_where_a_gpu_may_and_nothing_elsewhere() -> None:
    levels = {half: {f.rule: f.level for r in RULES for f in r.findings(cases.measured(half, 7e4))}
              for half in (HALF, MAY, NEVER)}  # fmt: skip
    assert levels[HALF] == {"EM030": ERROR}
    assert levels[MAY] == {"EM032": NOTE}
    assert levels[NEVER] == {}


def test_nan_on_the_images_is_an_overflow() -> None:
    assert found("EM030", cases.measured(HALF, float("nan")))


def test_headroom_ends_where_overflow_begins() -> None:
    for peak, expected in ((65504 / 8, 0), (9000.0, 1), (65504.0, 1), (65505.0, 0)):
        assert len(found("EM033", cases.measured(HALF, peak, 1.0))) == expected


def test_subnormal_weights_matter_by_what_a_channel_loses() -> None:
    (finding,) = found("EM035", cases.weight([[3e-5, 3e-2]]))
    assert finding.level == WARNING  # type: ignore[attr-defined]
    assert "1 of 1 channels lose up to 0.10%" in finding.found  # type: ignore[attr-defined]
    assert found("EM035", cases.weight([[1e-5, 3e-2]])) == []  # less than half a unit in the last place
    assert [f.level for f in found("EM035", cases.weight([[1e-5]], half=MAY))] == [NOTE]  # type: ignore[attr-defined]


def test_a_scale_of_least_error_is_no_clipping() -> None:
    rng = np.random.default_rng(0)
    original = rng.normal(0, 1, (1, 64)).astype(np.float32)
    end = np.abs(original).max() * 0.97
    assert found("EM067", cases.weight(np.clip(original, -end, end), end / 127, original=original)) == []
    assert found("EM067", cases.weight(np.clip(original, -0.7, 0.7), 0.7 / 127, original=original))


def test_a_scale_may_differ_by_what_the_format_rounds() -> None:
    lenient = dataclasses.replace(cases.on_grid(0.5001), lenience=4.9e-4)
    assert found("EM060", lenient) == []
    assert found("EM060", cases.on_grid(0.5001))
    assert found("EM060", cases.on_grid(0.5, zero=4))


def test_codes_of_a_weight_have_no_zero_point() -> None:
    assert found("EM062", cases.codes([0.5, 0.5], 1, constant=np.zeros((2, 1), np.int8)))
    assert found("EM062", cases.codes(0.5, 300, kind="uint8"))
    assert found("EM062", cases.codes(0.5, 255, kind="uint8")) == []


def test_a_place_says_its_own_level_and_source_over_the_rules() -> None:
    each = Rule("EM999", "x", ERROR, "t", "why.", "fix.", lambda f: [Place("a", level=NOTE, source="s", fix="do.")])
    (finding,) = each.findings(cases.PLAIN)
    assert (finding.level, finding.source, finding.fix) == (NOTE, "s", "do.")
