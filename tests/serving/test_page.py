"""The page to try models by hand, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

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
    assert opened.locator(".task h2").all_inner_texts() == ["sentiment", "ner", "charlm", "speech"]
    assert task(opened, "charlm").locator(".generate").is_visible()
    assert not task(opened, "ner").locator(".generate").is_visible()
    assert not task(opened, "ner").locator(".stream").is_visible()
    assert task(opened, "speech").locator("input[type=file]").is_visible()
    assert not task(opened, "speech").locator("textarea").is_visible()


def test_predictions_are_shown_and_input_stays_text(page: tuple[Any, list[str]]) -> None:
    opened, messages = page
    section = task(opened, "sentiment")
    section.locator("textarea").fill("a wonderful film\n<img src=x onerror=alert(1)> bad")
    section.locator(".predict button").click()
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


def test_a_refusal_is_shown(page: tuple[Any, list[str]]) -> None:
    opened, _ = page
    section = task(opened, "ner")
    section.locator("textarea").fill(" ")
    section.locator(".predict button").click()
    assert section.locator(".error").inner_text() == "There is no input yet."
