"""The pages in a real browser: whatever the verdict, at each width, light and dark, a person can read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from ml_pipeline.reports import batch_report
from ml_pipeline.reports.rendering import render
from tests import browser
from tests.browser import Look
from tests.ml_pipeline.reports import cards

pytestmark = pytest.mark.slow

LOOKS = [Look(width=width, dark=dark) for width in (375, 768, 1280) for dark in (False, True)]
PAPER = Look(width=718, printed=True)
"""The width of A4 within its margins, at 96 pixels an inch."""
NAMES = [*cards.scorecards(), "batch-failed", "batch-passed"]


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser.browser() as started:
        yield started


@pytest.fixture(scope="module")
def context(opened: Browser) -> BrowserContext:
    return opened.new_context()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    texts = {name: render("report.html", card=card) for name, card in cards.scorecards().items()}
    for name, passed in (("batch-failed", False), ("batch-passed", True)):
        texts[name] = batch_report.render(cards.batch(passed=passed))["batch_report.html"]
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_readable_at_each_width_and_in_print(context: BrowserContext, pages: Path, name: str) -> None:
    url = (pages / f"{name}.html").as_uri()
    assert browser.look(context, url, [*LOOKS, PAPER], pictures=browser.pictures(name)) == []


@pytest.mark.parametrize("name", ["passed", "25-classes", "40-branch-runs", "batch-failed"])
def test_a_page_is_readable_at_any_width_between(context: BrowserContext, pages: Path, name: str) -> None:
    looks = [Look(width=width) for width in range(320, 1600, 64)]
    assert browser.look(context, (pages / f"{name}.html").as_uri(), looks) == []


def test_a_page_is_used_with_the_keyboard_alone(opened: Browser, pages: Path) -> None:
    context = opened.new_context()
    page = context.new_page()
    page.goto((pages / "40-branch-runs.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Why"
    page.keyboard.press("Enter")
    assert page.url.endswith("#why")
    details = page.locator("#branch details")
    assert details.get_attribute("open") is None
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.get_attribute("open") is not None
    context.close()


def test_paper_has_what_the_screen_folds_away(opened: Browser, pages: Path) -> None:
    context = opened.new_context()
    page = context.new_page()
    page.goto((pages / "40-branch-runs.html").as_uri())
    row = page.locator("#branch details tbody tr").last
    assert not row.is_visible()
    browser.set_look(page, PAPER)
    assert row.is_visible()
    context.close()


def test_a_screen_reader_gets_what_the_drawing_shows(opened: Browser, pages: Path) -> None:
    context = opened.new_context()
    page = context.new_page()
    page.goto((pages / "failed-on-test.html").as_uri())
    picture = page.locator("#why").aria_snapshot()
    assert "test: this run 0.8620" in picture
    assert "test: the champion, version 7" in picture
    browser.set_look(page, Look(width=375))
    # In a narrow window a table is laid out as cards, and stays a table.
    tree = context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = Counter(node["role"]["value"] for node in tree if not node["ignored"])
    assert roles["table"] == page.locator("table:visible").count()
    assert roles["row"] == page.locator("tr:visible").count() > 20
    context.close()
