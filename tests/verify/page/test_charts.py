"""Charts: axes that hold what is drawn, bars where they belong, figures beside them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemat.verify.page import charts
from edgemat.verify.page.charts import Axis, Bar, Block

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: value if abs(value) > 1e-9 else 0.0)


@given(st.lists(NUMBERS, max_size=6), st.booleans())
def test_an_axis_holds_every_value_and_has_round_ticks(values: list[float], zero: bool) -> None:
    found = charts.axis(values, zero=zero)
    assert found.low < found.high
    assert all(found.low <= value <= found.high for value in [*values, *([0.0] if zero else [])])
    assert all(found.low - 1e-9 <= tick <= found.high + 1e-9 * abs(found.high) for tick in found.ticks)
    assert len(found.ticks) <= 8


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert charts.axis([float("nan"), float("inf"), 2.0]).high < 3


def test_a_value_beyond_the_axis_is_drawn_at_its_edge() -> None:
    scale = Axis(0, 10)
    assert [scale.at(value) for value in (-5, 0, 5, 10, 99)] == [0, 0, 50, 100, 100]


def test_a_bar_begins_at_its_start_and_its_interval_has_caps_within_the_chart() -> None:
    bar = Bar("mad", ("1",), end=2.0, start=6.0, low=1.0, high=99.0, limit=8.0, tone="bad")
    drawn = charts.chart("c", ("name", "picture", "figure"), Axis(0, 10, "%", (0.0, 5.0)), [Block("block", [bar])])
    assert '<rect x="20.00%" y="6" width="40.00%" height="12.0" class="bar bad"/>' in drawn.replace('12"', '12.0"')
    assert drawn.count('class="whisker"') == 2  # the line and one cap: the other end lies beyond the edge
    assert '<line x1="80.00%" x2="80.00%" y1="1" y2="23" class="limit"/>' in drawn
    assert 'class="zero"' in drawn
    assert ">5 %</text>" in drawn


def test_a_chart_is_a_table_with_its_figures_as_text() -> None:
    bars = [Bar("a <b>", ("1.5 ms", "-"), 1.5), Bar("none", ("not run", ""))]
    drawn = charts.chart("Latency", ("name", "ms", "median", "p90"), charts.axis([1.5]), [Block("", bars)])
    assert drawn.count('role="row"') == 3
    assert "a &lt;b&gt;" in drawn
    assert "1.5 ms" in drawn
    assert drawn.count("<rect") == 1
    grid = re.search(r'<g id="(\w+)">', drawn)
    assert grid is not None
    assert drawn.count(f'href="#{grid[1]}"') == 2


def test_a_row_has_as_many_figures_as_there_are_heads() -> None:
    with pytest.raises(ValueError, match="zip"):
        charts.chart("c", ("a", "b", "c"), Axis(0, 1), [Block("", [Bar("x", ("1", "2"))])])


def test_a_meter_is_full_at_the_limit_and_beyond() -> None:
    assert 'width="50.00%"' in charts.meter(0.5, "good")
    assert 'width="100.00%"' in charts.meter(float("inf"), "bad")
    assert charts.meter(0, "good").count("<rect") == 1
