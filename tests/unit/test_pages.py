"""Pages and charts: everything lies in one file, and what is filled in is text and never markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jinja2 import ChoiceLoader, DictLoader, UndefinedError

from jomold_dist.showing.pages import page
from jomold_dist.showing.pages.charts import Axis, Chart, Line, Mark, area_chart, line_chart, tick_text, ticks
from tests.browser import THEMES, WIDTHS, browser

EPOCH, LOSS = Axis("epoch", whole=True), Axis("loss", low=0)
TEMPLATE = """{% extends "base.html" %}
{% block title %}Run {{ name }}{% endblock %}
{% block lead %}{{ parts.contents([("end", "End")]) }}{% endblock %}
{% block content %}
{% call parts.section("curves", "Curves", "How it went.") %}
<div class="charts">{% for chart in charts %}{{ parts.chart(chart) }}{% endfor %}</div>
{% endcall %}
{% call parts.table("Scores by category", 30, 10) %}
<thead><tr><th>category</th><th>videos</th><th>score</th></tr></thead>
<tbody>{% for n in range(30) %}<tr><td>Category {{ n }}</td><td>{{ 37 * n % 31 }}</td>
<td data-v="{{ "" if n == 3 else n }}">{{ parts.bar(none if n == 3 else n / 30, "audio", n) }}</td></tr>
{% endfor %}</tbody>
{% endcall %}
<p id="end">That was all.</p>
{% endblock %}"""


@pytest.fixture
def with_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's own template beside those of the package."""
    environment = page._environment()
    loader = ChoiceLoader([DictLoader({"try.html": TEMPLATE}), environment.loader])  # type: ignore[list-item]
    monkeypatch.setattr(environment, "loader", loader)


def charts() -> list[Chart]:
    steps = [(float(n), 1 / n) for n in range(1, 9)]
    return [
        line_chart("Loss", "It falls from 1 to 0.1.", [Line("audio", steps, "audio")], EPOCH, LOSS, [Mark(5, "best")]),
        area_chart("Time", "Half of it waits.", [Line("wait", steps, "bad"), Line("rest", steps, "good")], EPOCH, LOSS),
    ]


@pytest.mark.usefixtures("with_template")
def test_a_value_is_text_and_never_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    chart = line_chart(hostile, '"><img src=x>', [Line("a", [(1, 1)])], Axis("<b>", whole=True), LOSS, [Mark(1, "&<")])
    page.write_page(tmp_path / "page.html", "try.html", name=hostile, charts=[chart], simulated=None)
    text = (tmp_path / "page.html").read_text()
    assert hostile not in text
    assert "<img" not in text
    assert "<b>" not in text
    assert text.count("<script") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.usefixtures("with_template")
def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="name"):
        page.render("try.html", charts=[])


@pytest.mark.usefixtures("with_template")
def test_simulated_data_are_said_at_the_top() -> None:
    text = page.render("try.html", name="x", charts=[], simulated="llp")
    assert "<strong>Simulated data</strong> (llp)" in text.partition("<main")[0]
    assert "Simulated" not in page.render("try.html", name="x", charts=[], simulated=None)


@pytest.mark.usefixtures("with_template")
def test_a_chart_has_words_and_colours_of_the_theme() -> None:
    text = page.render("try.html", name="x", charts=charts(), simulated=None)
    assert "<title>Loss</title><desc>It falls from 1 to 0.1.</desc>" in text
    assert re.findall(r"(?:fill|stroke)=\"#", text) == []
    assert text.count("<svg") == text.count('role="img"') == 2


def test_ticks_are_round_numbers() -> None:
    assert ticks(0, 1, 4) == pytest.approx([0, 0.5, 1])
    assert ticks(1, 8, 6, whole=True) == [2, 4, 6, 8]
    assert ticks(0.5, 1.5, 6, whole=True) == [1]
    assert ticks(0.2, 0.3, 6, whole=True) == [0.2]
    assert [tick_text(value) for value in (0, 0.00005, 0.25, 12345)] == ["0", "5e-5", "0.25", "12,345"]


def test_many_points_are_drawn_as_few_and_numbers_that_are_none_not_at_all() -> None:
    points = [(float(n), float("nan") if n == 7 else 1.0) for n in range(100_000)]
    assert len(line_chart("Loss", "Flat.", [Line("loss", points)], EPOCH, LOSS).svg) < 20_000
    with pytest.raises(ValueError, match="nothing to draw"):
        line_chart("Loss", "None.", [Line("loss", [(1, float("inf"))])], EPOCH, LOSS)


@pytest.mark.lengthy
@pytest.mark.usefixtures("with_template")
def test_a_page_in_a_browser(tmp_path: Path) -> None:
    """No complaint, no request, nothing beyond the window's edge; its table sorts, filters and unfolds."""
    path = tmp_path / "page.html"
    page.write_page(path, "try.html", name="x" * 300, charts=charts(), simulated="llp")
    with browser() as chromium:
        for width in WIDTHS:
            for theme in THEMES:
                seen = chromium.open(path, width, theme)
                assert (seen.complaints, seen.requests, seen.overflow) == ([], [], 0)
        rows = (
            "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden).map(row => row.cells[0].innerText)"
        )
        assert len(chromium.evaluate(rows)) == 10
        chromium.evaluate("document.querySelectorAll('th button')[2].click()")
        assert chromium.evaluate(rows)[:2] == ["Category 29", "Category 28"]
        chromium.evaluate("document.querySelectorAll('th button')[2].click()")
        assert chromium.evaluate(rows)[:4] == [f"Category {n}" for n in (0, 1, 2, 4)]
        chromium.evaluate("document.querySelector('.tools button').click()")
        assert chromium.evaluate(rows)[-1] == "Category 3"  # without a value, last either way
        chromium.evaluate(
            "(f => {f.value = 'y 12'; f.dispatchEvent(new Event('input'))})(document.querySelector('input'))"
        )
        assert chromium.evaluate(rows) == ["Category 12"]


@pytest.mark.lengthy
@pytest.mark.usefixtures("with_template")
def test_a_link_within_a_page_in_a_frame(tmp_path: Path) -> None:
    """The page itself goes where the link leads: in a sandboxed frame, as MLflow's, the browser refuses to."""
    page.write_page(tmp_path / "page.html", "try.html", name="x", charts=charts(), simulated=None)
    frame = json.dumps((tmp_path / "page.html").read_text())
    (tmp_path / "outer.html").write_text("<!doctype html><iframe height=300></iframe>")
    with browser() as chromium:
        chromium.open(tmp_path / "outer.html")
        chromium.evaluate(
            "new Promise(done => { window.frame = document.querySelector('iframe'); frame.onload = () => done(1);"
            f"frame.srcdoc = {frame}; }})"
        )
        followed = (
            "new Promise(done => { const inner = frame.contentDocument;"
            "inner.documentElement.style.scrollBehavior = 'auto';"
            "frame.contentWindow.addEventListener('click', event => { const own = event.defaultPrevented;"
            "event.preventDefault(); done(own && inner.scrollingElement.scrollTop > 0); });"
            "inner.querySelector('nav a').click(); })"
        )
        assert chromium.evaluate(followed)


@pytest.mark.lengthy
def test_the_browser_sees_errors_requests_and_pages_that_are_too_wide(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><img src="http://127.0.0.1:9/x.png"><div style="width:3000px">x</div><script>nothing()</script>'
    )
    with browser() as chromium:
        seen = chromium.open(bad)
    assert any("nothing is not defined" in text for text in seen.complaints)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert seen.overflow > 1000
