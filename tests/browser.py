"""Opens pages in a real browser, and reports whether a person can read them.

``browser()`` is the fixture body: one process for all pages of a test module::

    @pytest.fixture(scope="module")
    def opened() -> Iterator[Browser]:
        with browser.browser() as started:
            yield started

``look(context, url, [Look(width=375, dark=True)], pictures=path)`` opens a page (a ``file:`` or ``http:`` address) in a
context of the browser, writes a screenshot for each look if it has a path, and returns what is wrong, one line each:

- the page scrolls sideways, or an element is wider than the window;
- a text is clipped by its box, a short word is broken, or two texts of a drawing lie on top of each other;
- contrast below WCAG AA, or another fault that axe-core finds; texts of drawings, which it leaves out, are checked
  here;
- an error in the console.

The browser is the one that package.json locks (``@sparticuz/chromium``, Linux on x86-64), else one that is installed. A
test is skipped if there is neither.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright

ROOT = Path(__file__).parents[1]
MODULES = ROOT / "node_modules"
AXE = MODULES / "axe-core" / "axe.min.js"
INSTALLED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The package's own set-up, told to unpack the libraries and fonts that a bare machine lacks.
UNPACK = 'import chromium from "@sparticuz/chromium"; await chromium.executablePath();'
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/fonts</dir><dir>/usr/share/fonts</dir><cachedir>{folder}/fonts-cache</cachedir>
  <match target="pattern">
    <edit name="family" mode="prepend" binding="strong"><string>Open Sans</string></edit>
  </match>
</fontconfig>
"""
"""The same font on every machine, so that a page is laid out alike; other fonts fill in what it lacks."""
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
CONTRAST = ("color-contrast",)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a page is looked at."""

    width: int
    dark: bool = False
    printed: bool = False

    def __str__(self) -> str:
        return f"{self.width}-{'print' if self.printed else 'dark' if self.dark else 'light'}"


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser; skips the test if there is none."""
    if not AXE.exists():
        pytest.skip("node_modules is missing; run 'make node_modules/.installed' first")
    program, environment = _program()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program,
            env={**os.environ, **environment},
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none"],
        )
        yield started
        started.close()


def look(context: BrowserContext, url: str, looks: Sequence[Look], *, pictures: Path | None = None) -> list[str]:
    """Open a page, look at it in each way, and return what is wrong with it; pictures are ``PICTURES-LOOK.png``."""
    errors: list[str] = []
    found: list[str] = []
    themes: set[bool] = set()

    def note(message: ConsoleMessage) -> None:
        # The browser says so of a page that is missing, too.
        if message.type == "error" and "status of 4" not in message.text:
            errors.append(f"console: {message.text}")

    shown = context.new_page()
    try:
        shown.on("console", note)
        shown.on("pageerror", lambda error: errors.append(f"script: {error}"))
        shown.goto(url)
        for how in looks:
            set_look(shown, how)
            if pictures:
                photograph(shown, pictures.with_name(f"{pictures.name}-{how}.png"))
            # Of axe-core's rules, those of contrast alone depend on the theme, and none on the width.
            rules = RULES if not themes else () if how.dark in themes else CONTRAST
            themes.add(how.dark)
            found += [f"{how}: {fault}" for fault in faults(shown, rules)]
        return errors + found
    finally:
        shown.close()


def pictures(name: str) -> Path | None:
    """Where pictures of a page go: to the folder SHOTS. Taking them costs more than the checks: without it, none."""
    if not os.environ.get("SHOTS"):
        return None
    folder = Path(os.environ["SHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def set_look(shown: Page, how: Look) -> None:
    """Let a page be seen in some way."""
    shown.set_viewport_size({"width": how.width, "height": 900})
    shown.emulate_media(media="print" if how.printed else "screen", color_scheme="dark" if how.dark else "light")


def photograph(shown: Page, picture: Path) -> None:
    """Write a picture of the whole page; on a busy machine, Chromium can be unable to capture a long one at once."""
    for left in reversed(range(5)):
        try:
            shown.screenshot(path=picture, full_page=True)
        except Error:
            if not left:
                raise
            shown.wait_for_timeout(500)
        else:
            return


def faults(shown: Page, rules: Sequence[str] = RULES) -> list[str]:
    """What is wrong with the page as it is now."""
    found: list[str] = shown.evaluate((ROOT / "tests" / "browser.js").read_text(encoding="utf-8"))
    if not rules:
        return found
    if not shown.evaluate("'axe' in window"):
        shown.add_script_tag(path=AXE)
    result = shown.evaluate("rules => axe.run({runOnly: rules, resultTypes: ['violations']})", list(rules))
    return found + [
        f"{rule['id']}: {node['html'][:120]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in result["violations"]
        for node in rule["nodes"][:5]
    ]


def _program() -> tuple[str, dict[str, str]]:
    """The browser's file, and the environment that it needs."""
    package = MODULES / "@sparticuz" / "chromium"
    node = shutil.which("node")
    if package.exists() and node and (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return _unpacked(node)
    for name in INSTALLED:
        if program := shutil.which(name):
            return program, {}
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    if Path(mac).exists():
        return mac, {}
    pytest.skip("no browser: install Chromium or Google Chrome")


def _unpacked(node: str) -> tuple[str, dict[str, str]]:
    folder = MODULES / ".cache" / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "fonts.conf").exists():
            unpack = {"TMPDIR": str(folder), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}
            command = [node, "--input-type=module", "--eval", UNPACK]
            subprocess.run(command, cwd=ROOT, env={**os.environ, **unpack}, check=True)
            (folder / "fonts.conf").write_text(FONTS.format(folder=folder), encoding="utf-8")
    environment = {"LD_LIBRARY_PATH": str(folder / "al2023" / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
    return str(folder / "chromium"), environment
