"""The page to try models by hand, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

import seqkit
from tests.serving.conftest import RunningServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(server: RunningServer) -> Iterator[tuple[Any, list[str]]]:
    """The page, open, and what its console says."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1000, "height": 1200})
        messages: list[str] = []
        opened.on("console", lambda message: messages.append(message.text))
        opened.on("pageerror", lambda error: messages.append(str(error)))
        opened.on("request", lambda request: request.url.startswith(server.url) or messages.append(request.url))
        opened.goto(server.url)
        opened.wait_for_selector(".task")
        yield opened, messages
        browser.close()


def task(page: Any, name: str) -> Any:
    return page.locator(".task").filter(has=page.get_by_role("heading", name=name, exact=True))


def test_every_model_has_its_forms(page: tuple[Any, list[str]]) -> None:
    opened, _ = page
    assert opened.locator(".task h2").all_inner_texts() == ["sentiment", "ner", "charlm", "speech", "adding"]
    assert task(opened, "charlm").locator(".generate").is_visible()
    assert not task(opened, "ner").locator(".generate").is_visible()
    assert not task(opened, "ner").locator(".stream").is_visible()
    assert task(opened, "speech").locator("input[type=file]").is_visible()
    assert not task(opened, "speech").locator("textarea").is_visible()


def test_predictions_are_shown_and_input_stays_text(page: tuple[Any, list[str]]) -> None:
    opened, messages = page
    section = task(opened, "sentiment")
    section.locator("textarea").fill("a wonderful film\n<img src=x onerror=alert(1)> bad")
    section.get_by_role("button", name="Predict").click()
    section.locator(".result").nth(1).wait_for()
    assert section.locator(".value").first.inner_text() in ("positive", "negative")
    assert section.locator("meter").count() == 4
    assert section.locator("img").count() == 0
    assert section.locator(".input").nth(1).inner_text() == "<img src=x onerror=alert(1)> bad"
    assert messages == []


def test_a_stream_is_shown_as_one_types(page: tuple[Any, list[str]]) -> None:
    opened, messages = page
    section = task(opened, "charlm")
    section.locator(".stream input").type("The seq", delay=20)
    section.get_by_text("after 8 steps").wait_for()  # the start symbol is one of them
    assert messages == []


def test_text_is_generated(page: tuple[Any, list[str]]) -> None:
    opened, messages = page
    section = task(opened, "charlm")
    section.locator(".prompt").fill("The ")
    section.locator(".length").fill("20")
    section.locator(".generate button").click()
    section.locator(".value", has_text="The ").wait_for()
    assert messages == []


@pytest.mark.parametrize("typed", ["0.5 1\n0.25, 0\n0.125 1", "[[0.5, 1], [0.25, 0], [0.125, 1]]"])
def test_numbers_are_typed_as_rows_or_as_json(typed: str, page: tuple[Any, list[str]], server: RunningServer) -> None:
    opened, messages = page
    section = task(opened, "adding")
    assert "reads steps of 2 numbers" in section.locator(".facts").inner_text()
    section.locator("textarea").fill(typed)
    section.get_by_role("button", name="Predict").click()
    section.get_by_text("[[0.5,1],[0.25,0],[0.125,1]]").wait_for()
    (expected,) = seqkit.load(server.folders["adding"]).predict([[[0.5, 1], [0.25, 0], [0.125, 1]]])
    assert float(section.locator(".value").inner_text()) == pytest.approx(expected.value, rel=1e-4)
    assert messages == []


def test_an_example_is_filled_in_and_a_word_among_numbers_is_named(page: tuple[Any, list[str]]) -> None:
    opened, messages = page
    section = task(opened, "adding")
    section.locator(".example").click()
    section.get_by_role("button", name="Predict").click()
    section.locator(".value").wait_for()
    section.locator("textarea").fill("0.5 one")
    section.get_by_role("button", name="Predict").click()
    section.locator(".error").wait_for()
    assert section.locator(".error").inner_text() == "“one” is not a number."
    assert messages == []


def test_a_forecast_is_drawn_behind_what_was_given(page: tuple[Any, list[str]]) -> None:
    opened, messages = page
    quantiles = {"0.05": [1, 1], "0.5": [2, 3], "0.95": [4, 5]}
    record = {"prediction": [2, 3], "scores": {"quantiles": quantiles}}
    opened.evaluate("record => document.body.append(shown('a series', record, [[0], [1], [2]]))", record)
    drawn = opened.locator("body > .result")
    assert drawn.locator(".past").get_attribute("points").count(",") == 3
    assert drawn.locator(".future").get_attribute("points").count(",") == 2
    assert drawn.locator(".band").get_attribute("points").count(",") == 4
    drawn.evaluate("node => node.remove()")
    assert messages == []


def test_the_most_probable_labels_come_first_also_if_they_are_numbers(page: tuple[Any, list[str]]) -> None:
    opened, _ = page
    record = {"prediction": "9", "probabilities": {"9": 0.5, "10": 0.3, "1": 0.2}}
    labels = (
        "record => [...shown('x', record).querySelectorAll('.bars > span:nth-child(3n+1)')].map(s => s.textContent)"
    )
    assert opened.evaluate(labels, record) == ["9", "10", "1"]


def test_a_refusal_is_shown(page: tuple[Any, list[str]]) -> None:
    opened, _ = page
    section = task(opened, "ner")
    section.locator("textarea").fill(" ")
    section.get_by_role("button", name="Predict").click()
    assert section.locator(".error").inner_text() == "There is no input yet."
