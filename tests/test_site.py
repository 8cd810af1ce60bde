"""The site of the documents: built strictly, with working links, a search and diagrams that need no network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-docs" / "bin" / "python"
MERMAID = ROOT / "node_modules" / "@mermaid-js" / "tiny"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PYTHON.exists() and MERMAID.exists()), reason="the generator is not installed: make docs installs it"
    ),
]


def build(project: Path) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, project / "docs" / "site" / "build.py", project / "site"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents in a folder of their own, with the built site."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "docs", project / "docs")
    (project / ".github").mkdir()
    for name in ("CHANGELOG.md", ".github/CONTRIBUTING.md"):
        shutil.copy(ROOT / name, project / name)
    (project / "node_modules").symlink_to(ROOT / "node_modules")
    done = build(project)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return project


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x](absent.md)", "absent.md"),
        ("[x](commands.md#absent)", "absent"),
        ("![x](images/absent.png)", "images/absent.png"),
        ("```{no-such-directive}\n```", "Unknown directive"),
    ],
)
def test_a_mistake_in_a_document_fails_the_build(project: Path, text: str, message: str, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "broken", symlinks=True)
    with (tmp_path / "broken" / "docs" / "jobs.md").open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    done = build(tmp_path / "broken")
    assert done.returncode == 1
    assert message in done.stderr


def test_a_document_that_the_index_lacks_fails_the_build(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "broken", symlinks=True)
    (tmp_path / "broken" / "docs" / "lost.md").write_text("# Lost\n")
    done = build(tmp_path / "broken")
    assert done.returncode == 1
    assert "isn't included in any toctree" in done.stderr


def test_every_link_within_the_site_leads_to_a_page_and_an_anchor(project: Path) -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in (project / "site").glob("*.html")}
    anchors = {file: set(re.findall(r'\bid="([^"]+)"', text)) for file, text in texts.items()}
    links = [(file, unquote(link)) for file, text in texts.items() for link in re.findall(r'href="([^"]+)"', text)]
    assert len(links) > 500
    for file, link in links:
        if re.match(r"\w+:|\.\./", link):
            continue
        name, _, anchor = link.partition("#")
        target = file.parent / name.partition("?")[0] if name else file
        assert target.exists(), (file.name, link)
        assert not anchor or target.suffix != ".html" or anchor in anchors[target], (file.name, link)


def test_the_site_needs_no_network(project: Path) -> None:
    loads = [
        address
        for file in (project / "site").glob("*.html")
        for address in re.findall(r'(?:src="|<link [^>]*href=")([^"]+)"', file.read_text(encoding="utf-8"))
    ]
    assert loads
    assert [address for address in loads if re.match(r"(\w+:)?//", address)] == []


def browsed(page: Path, query: str = "") -> str:
    """A page after its scripts have run."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom")
    command = [str(CHROMIUM), *options, f"{page.as_uri()}{query}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_search_finds_a_page_without_a_server(project: Path) -> None:
    page = browsed(project / "site" / "search.html", "?q=quarantine")
    assert re.search(r"found [1-9][0-9]* pages", page)
    assert 'href="batch-inference.html' in page


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("name", ["architecture", "git-flow"])
def test_every_diagram_is_drawn(project: Path, name: str) -> None:
    source = (project / "docs" / f"{name}.md").read_text(encoding="utf-8")
    page = browsed(project / "site" / f"{name}.html")
    assert page.count('<pre class="mermaid" data-processed="true"><svg') == source.count("```mermaid") > 0
    assert "Syntax error" not in re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
