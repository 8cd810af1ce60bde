"""The checks of pages find the faults that they are there for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests import browser
from tests.browser import Look

pytestmark = pytest.mark.slow
SOUND = "<h1>Title</h1><p>Text</p>"


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser.browser() as started:
        yield started


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (SOUND, ""),
        (f'{SOUND}<div style="width: 500px; height: 1px"></div>', "the page scrolls sideways: "),
        (
            f'{SOUND}<div style="width: 2rem; overflow: hidden; white-space: nowrap">clipped text</div>',
            "text is clipped",
        ),
        (f'{SOUND}<div style="overflow: auto"><p style="width: 500px">wide</p></div>', ""),
        (
            f'{SOUND}<table><tr><td style="max-width: 2rem">Aufenthaltsgenehmigung</td></tr></table>',
            "text is wider than",
        ),
        (
            f'{SOUND}<p style="width: 3rem; overflow-wrap: anywhere">the champion</p>',
            'the word "champion" is broken: ',
        ),
        (f'{SOUND}<p style="color: #999">faint</p>', "color-contrast: "),
        (f'{SOUND}<svg height="20"><text y="12" fill="#999">faint</text></svg>', "contrast 2.85 is below 4.5: "),
        (f'{SOUND}<svg height="20"><text y="12">one</text><text x="9" y="12">two</text></svg>', "texts overlap"),
        (f'{SOUND}<p style="font-size: 8px">small</p>', "text is 8 px high"),
        (f'{SOUND}<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt: "),
        (f"{SOUND}<script>missing()</script>", "script: missing is not defined"),
    ],
)
def test_a_fault_is_found(opened: Browser, tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        f'<!doctype html><html lang="en"><title>page</title><main>{content}</main></html>', encoding="utf-8"
    )

    found = browser.look(opened.new_context(), file.as_uri(), [Look(width=375)], pictures=tmp_path / "page")

    assert (tmp_path / "page-375-light.png").read_bytes().startswith(b"\x89PNG")
    assert any(line.startswith((fault, f"375-light: {fault}")) for line in found) if fault else found == []
