from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_pipeline import report

if TYPE_CHECKING:
    from tests.ml_pipeline.conftest import Outcome, State

EXPERIMENT, MODEL = "/Shared/test", "local.test.model"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


def written(folder: Path, run_id: str | None = None) -> tuple[str, str]:
    paths = report.write(report.collect(EXPERIMENT, MODEL, run_id=run_id), folder / "a report")
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["report.html", "report.md"]
    markdown, html = (path.read_text(encoding="utf-8") for path in paths)
    return markdown, html


def test_the_report_of_a_passed_run(flown: State, tmp_path: Path) -> None:
    run = flown.newest()
    for text in written(tmp_path):
        assert f"{MODEL}: passed" in text
        assert run.data.tags["test.reason"] in text
        assert run.info.run_id in text
        assert "Champion: version 1, this run" in text
        for metric in ("validation_accuracy", "cv_accuracy", "test_accuracy"):
            assert re.search(rf"{metric}\W.*?{run.data.metrics[metric]:.6g}", text, re.DOTALL)
        assert "There is no champion, and no other finished run" in text
        assert "Validation on the test table" in text
        for provenance in ("git commit", "c1", "local.test.test", "max_depth", "DecisionTreeClassifier"):
            assert provenance in text


def test_the_report_of_a_refused_run(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    run = refused[0].newest()
    for text in written(tmp_path):
        assert f"{MODEL}: failed" in text
        assert run.data.tags["validate.reason"] in text
        assert "Champion: version 1, " in text
        assert "this run" not in text
        assert "Validation on the test table" not in text
        rivals = [line for line in text.splitlines() if "version 1" in line and "worse" in line and "| " in line]
        rivals += re.findall(r"<tr><td>the champion, version 1</td>.*worse</td></tr>", text)
        assert rivals
        assert f"{run.data.metrics['validation_accuracy']:.6g}" in text


def test_the_page_stands_alone(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    assert refused[1].states["compare"] == "FAILED"
    _, html = written(tmp_path)
    page = Page(html)
    prefix = "data:image/png;base64,"
    assert len(page.links) == len(report.PICTURES)
    for link in page.links:
        assert link.startswith(prefix)
        assert base64.b64decode(link.removeprefix(prefix), validate=True).startswith(b"\x89PNG")
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"(https?|file)://|url\(|@import", html)


def test_a_run_is_found_by_its_id(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    first = refused[0].found("tags.git_commit = 'c1'")[0]
    markdown, _ = written(tmp_path, first.info.run_id)
    assert markdown.startswith(f"# {MODEL}: passed")


@pytest.mark.parametrize("run_id", [None, "0123abcd"])
def test_a_report_without_a_run_is_refused(state: State, run_id: str | None) -> None:
    with state.refuses(f"experiment {EXPERIMENT} has no finished run{f' {run_id}' if run_id else ''}; train one"):
        report.collect(EXPERIMENT, MODEL, run_id=run_id)


def test_names_are_escaped_and_no_row_shows(state: State, tmp_path: Path) -> None:
    lines = ["a <i>|</i> b,secret,label"]
    lines += [f"{i % 10 / 7:.9f},hush-{i},{'<b>no</b>' if i % 10 < 5 else 'yes & | more'}" for i in range(90)]
    source = state.csv("\n".join(lines) + "\n")
    branch = {"git_branch": "<script>alert(1)</script>"}
    state.run("datasets", "training", parameters=branch, source=source, target="label").succeeded()
    markdown, html = written(tmp_path)
    assert state.newest().data.params["features"] == "a <i>|</i> b, secret"
    page = Page(html)
    assert not {"script", "b", "i"} & set(page.tags)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;b&gt;no&lt;/b&gt;" in html
    assert r"| yes & \| more |" in markdown
    for text in (markdown, re.sub(r"base64,[^\"]*", "", html)):
        assert "hush-" not in text
        assert "0.142857143" not in text
    cells = {line.replace(r"\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert cells <= {3, 6}
