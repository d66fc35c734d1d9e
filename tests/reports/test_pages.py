"""The report and the comparison as pages, in a browser: nothing is loaded, nothing runs, everything is there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import seqkit
from seqkit.cli import main
from seqkit.reports.charts import Bar, Line, bar_chart, drawing, heat_map, line_chart, picture
from seqkit.runs.tensorboard import Board
from tests.helpers.run_folders import give_predictions, make_run
from tests.reports.conftest import HOSTILE, RIGHT_TO_LEFT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the hostile run."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    result = call("report", str(trained), "--out", str(path), "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}\n"
    return path


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(path: Path) -> Tags:
    parser = Tags()
    parser.feed(path.read_text("utf-8"))
    return parser


def test_no_tag_loads_or_runs_anything(page: Path) -> None:
    tags = parse(page).tags
    assert {name for name, _ in tags}.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "form", "b"})
    links = [value for _, attributes in tags for key, value in attributes.items() if key in ("src", "href", "data")]
    assert all(value is not None and value.startswith("#") for value in links)
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on")]
    assert "url(" not in page.read_text("utf-8")


def test_hostile_names_are_shown_as_they_are(page: Path) -> None:
    text = parse(page).text
    assert all(name in text for name in HOSTILE)
    assert RIGHT_TO_LEFT[0] not in page.read_text("utf-8"), "a mark that turns the text is shown as an escape"
    assert "\\u202e" in text


def test_everything_that_a_report_has_is_there(page: Path) -> None:
    text = parse(page).text
    for words in (
        "mood/test/accuracy is",
        "the promise (at least 0.999) is NOT met",
        "mood/dev/accuracy is",
        "(at most 1) is met",
        "95 % interval",
        "mood: loss, train and dev",
        "confusion, in examples",
        "expected calibration error",
        "accuracy by length",
        "Examples to look at",
        "inputs also in train",
        "sequence steps a second",
        "encoder: {use: gru, dim: 8, hidden: 8}",
        "torch version",
    ):
        assert words in text, words
    assert len(re.findall("<svg", page.read_text("utf-8"))) > 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_page(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """The page, what it asked for beside itself, and what it complained of."""
    page = browser.new_page(**options)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri(), wait_until="networkidle")
    return page, [url for url in asked if url != path.as_uri()], complaints


def test_in_a_browser_nothing_is_asked_for_and_nothing_runs(browser: Any, page: Path) -> None:
    opened, asked, complaints = open_page(browser, page)
    assert (asked, complaints) == ([], [])
    assert opened.locator("script, img, iframe").count() == 0
    assert opened.locator("td", has_text=HOSTILE[0]).count() > 0
    opened.close()


def test_it_fits_a_phone_follows_the_theme_and_prints(browser: Any, page: Path, tmp_path: Path) -> None:
    opened, _, _ = open_page(browser, page, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    opened.emulate_media(color_scheme="light")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    opened.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    opened.close()


def test_a_comparison_is_a_page(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, lr, share in (("first", 0.1, 0.6), ("second", 0.2, 0.9)):
        give_predictions(make_run(tmp_path / name, lr=lr), rng.random(300) < share)
    out = tmp_path / "comparison.html"
    result = call("compare", str(tmp_path / "first"), str(tmp_path / "second"), "--html", str(out))
    assert result.exit_code == 0, result.output
    opened, asked, complaints = open_page(browser, out)
    assert (asked, complaints) == ([], [])
    assert "second is better than first by" in opened.locator("body").inner_text()
    assert opened.locator("svg").count() == 2
    opened.close()


def test_reports_of_several_runs_begin_with_their_comparison(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, lr in (("first", 0.1), ("second", 0.2)):
        give_predictions(make_run(tmp_path / name, lr=lr), rng.random(100) < 0.7)
    result = call("report", str(tmp_path), "--quiet")
    assert result.exit_code == 0, result.output
    text = parse(tmp_path / "report.html").text
    assert "Report of 2 runs" in text
    assert text.index("no difference is shown") < text.index("Scores")


def test_runs_that_cannot_be_compared_are_reported_all_the_same(tmp_path: Path) -> None:
    give_predictions(make_run(tmp_path / "a"), np.ones(20, dtype=bool))
    make_run(tmp_path / "b", state="failed", reason="no luck")
    assert call("report", str(tmp_path), "--quiet").exit_code == 0
    text = parse(tmp_path / "report.html").text
    assert "Not compared: " in text
    assert "no luck" in text


def test_a_program_writes_the_same_page(trained: Path, page: Path, tmp_path: Path) -> None:
    path = seqkit.Run(trained).report(tmp_path / "page.html")
    assert path.read_bytes() == page.read_bytes()


def test_a_folder_without_runs_is_one_sentence(tmp_path: Path) -> None:
    result = call("report", str(tmp_path))
    assert result.exit_code == 2
    assert "no run" in result.stderr


# ---- charts


def test_points_that_are_not_finite_are_left_out_and_no_points_give_no_chart() -> None:
    nan = float("nan")
    assert line_chart([Line("a", [1, 2], [nan, nan])], x="x", y="y") == ""
    assert bar_chart([Bar("a", nan)], x="x", y="y") == ""
    chart = str(line_chart([Line("a", [1, 2, 3], [0.5, nan, 0.7])], x="x", y="y"))
    (points,) = re.findall('points="([^"]*)"', chart)
    assert len(points.split()) == 2
    assert re.search(r"\bnan\b", chart) is None


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e-9, 1e9], [-1.0, 1.0]])
def test_any_range_has_axes(values: list[float]) -> None:
    chart = str(line_chart([Line("a", list(range(len(values))), values)], x="x", y="y"))
    assert "polyline" in chart
    assert re.search(r"\bnan\b", chart) is None
    assert len(re.findall('class="tick"', chart)) >= 2


def test_text_in_charts_is_escaped() -> None:
    name = "<i>&\u202e"
    for chart in (
        line_chart([Line(name, [1, 2], [1, 2]), Line("b", [1, 2], [2, 1])], x=name, y=name),
        bar_chart([Bar(name, 1.0)], x=name, y=name),
        heat_map([name], [name], [[1.0]], [["3"]], title=name),
    ):
        assert "<i>" not in chart
        assert "\u202e" not in chart
        assert "&lt;i&gt;&amp;" in chart


@pytest.mark.parametrize("values", [[1.16735, 1.16738], [0.003, 0.003], [1.0, 1.0], [10_000.2, 10_000.3], [0.0, 0.0]])
def test_no_two_ticks_of_an_axis_have_the_same_number(values: list[float]) -> None:
    chart = line_chart([Line("a", [40.0, 50.0], values)], x="step", y="a")
    ticks = re.findall(r'<text class="tick" x="57"[^>]*>([^<]*)</text>', chart)
    assert len(ticks) >= 2
    assert len(set(ticks)) == len(ticks)


def test_the_axis_of_a_constant_is_around_it() -> None:
    chart = line_chart([Line("lr", [1.0, 2.0], [0.003, 0.003])], x="step", y="lr")
    ticks = [float(text) for text in re.findall(r'<text class="tick" x="57"[^>]*>([^<]*)</text>', chart)]
    assert all(0.002 < tick < 0.004 for tick in ticks)


@pytest.mark.parametrize(("values", "least"), [([1.3, 8.0], 3), ([0.9, 30.0], 4), ([1e-9, 10.0], 4)])
def test_a_logarithmic_axis_of_few_decades_has_more_than_two_numbers(values: list[float], least: int) -> None:
    chart = line_chart([Line("a", [0.0, 1.0], values)], x="unit", y="steps", logarithmic=True)
    assert len(re.findall(r'<text class="tick" x="57"', chart)) >= least


def test_a_drawing_is_small_and_keeps_its_proportions() -> None:
    svg = drawing([[(0, 0), (10, 0), (10, 5)], [(3, 3)]], side=72)
    assert 'width="72.0" height="40.0"' in svg
    assert "4.0,4.0 68.0,4.0 68.0,36.0" in svg
    assert "<circle" in svg, "a stroke of one point is a dot"
    assert drawing([]) == drawing([[]]) == ""


def test_a_run_that_has_not_finished_shows_its_scores_and_what_its_model_drew(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", state="interrupted", reason="stopped")
    board = Board(folder / "tb")
    for step in (10, 20):
        board.picture("pictures/mood/dev/drawn", np.full((40, 60 + step, 3), 255, np.uint8), step)
    board.picture("pictures/mood/dev/reliability", np.zeros((40, 40, 3), np.uint8), 20)
    board.close()
    result = CliRunner().invoke(main, ["report", str(folder), "--out", str(tmp_path / "page.html"), "--quiet"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count('<image width="80" height="40" href="data:image/png;base64,') == 1, "the last of these alone"
    assert page.count("<image") == 1
    assert "drawn at step 20" in page
    assert re.search(r"mood/dev/accuracy</bdi></td><td class=\"n\">0\.5000", page)
    assert picture(b"no picture") == ""
