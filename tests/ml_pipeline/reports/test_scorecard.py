from __future__ import annotations

import dataclasses
import html as html_module
import re
import secrets
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from markdown_it import MarkdownIt
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from ml_pipeline.registry import runs, tracking
from ml_pipeline.registry.diagnostics import Candidate, Confusion, Diagnostics, Importance
from ml_pipeline.registry.evidence import ClassMetrics, ComparedChampion, Comparison, RivalRow
from ml_pipeline.reports import figures, rendering
from ml_pipeline.reports.card import Scorecard
from ml_pipeline.reports.entries import Served
from ml_pipeline.reports.plots import MINUS, signed
from ml_pipeline.reports.scorecard import MOST_CHARACTERS, collect, write
from tests.ml_pipeline.reports import cards

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
    paths = write(collect(EXPERIMENT, MODEL, run_id=run_id), folder / "a report")
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
        assert "this run is version 1, the champion now" in text
        assert "There is no champion" not in text
        assert text.count(run.data.tags["test.reason"]) == 1
        for metric in ("validation_accuracy", "cv_accuracy", "test_accuracy"):
            assert re.search(rf"{metric}\W.*?{run.data.metrics[metric]:.6g}", text, re.DOTALL)
        assert "Passed on the test table" in text
        for provenance in ("git commit", "c1", "local.test.test", "max_depth", "DecisionTreeClassifier"):
            assert provenance in text


def test_the_report_of_a_refused_run(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    run = refused[0].newest()
    for text in written(tmp_path):
        assert f"{MODEL}: failed" in text
        assert run.data.tags["validate.reason"] in text
        assert "Failed on the validation table" in text
        assert "not measured" in text
        assert "the champion now" not in text
        assert re.search(r"the champion, version 1\b(?s:.{1,900})failed(?s:.{1,90})worse", text)
        assert f"{run.data.metrics['validation_accuracy']:.6g}" in text


def test_the_page_stands_alone(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    assert refused[1].states["compare"] == "FAILED"
    _, html = written(tmp_path)
    page = Page(html)
    assert all(link.startswith("#") and f'id="{link[1:]}"' in html for link in page.links)
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert "svg" in page.tags
    assert not re.search(r"(https?|file)://|url\(|@import", html)


def test_a_run_is_found_by_its_id(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    first = refused[0].found("tags.git_commit = 'c1'")[0]
    markdown, _ = written(tmp_path, first.info.run_id)
    assert markdown.startswith(f"# {MODEL}: passed")


@pytest.mark.parametrize("run_id", [None, "0123abcd"])
def test_a_report_without_a_run_is_refused(state: State, run_id: str | None) -> None:
    with state.refuses(f"experiment {EXPERIMENT} has no finished run{f' {run_id}' if run_id else ''}; train one"):
        collect(EXPERIMENT, MODEL, run_id=run_id)


@pytest.mark.slow
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
    assert "| <code>yes &#38; &#124; more</code> |" in markdown
    for text in (markdown, html):
        assert "hush-" not in text
        assert "0.142857143" not in text
    cells = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert cells <= {3, 4, 5, 7, 8, 10}


HOSTILE = [
    "@team #1 https://evil.example www.evil.example",
    "`` ` ``` |",
    "a | b \\| c \\",
    "</details></summary><script>alert(1)</script>",
    "![x](https://evil.example/p.png) [y](z) $x^2$ **b** _i_ ~~s~~",
    "line\nbreak\r\n\n# heading\n```",
    "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe\N{ZERO WIDTH JOINER}",
    "n" * 4000,
    "|`\\" * 1000,
    "&lt;b&gt; \N{GRINNING FACE}" * 30,
]


def a_run(name: str, *, tags: dict[str, str] | None = None, params: dict[str, str] | None = None) -> Run:
    """A run as the tracking server sends it."""
    given = {"git_branch": name, "git_commit": name, "validate": "passed", "train_table": name, "train_version": "3"}
    return Run(
        RunInfo(  # type: ignore[no-untyped-call]
            run_id=secrets.token_hex(16),
            experiment_id="1",
            user_id="ann",
            status="FINISHED",
            start_time=0,
            end_time=1,
            lifecycle_stage="active",
            run_name=name,
        ),
        RunData(  # type: ignore[no-untyped-call]
            [Metric("validation_f1", 0.5, 0, 0), Metric("training_seconds", 61.5, 0, 0)],
            [Param(key, value) for key, value in ({"metric": "f1"} | (params or {})).items()],  # type: ignore[no-untyped-call]
            [RunTag(key, value) for key, value in (given | (tags or {})).items()],  # type: ignore[no-untyped-call]
        ),
    )


def a_class(f1: float) -> ClassMetrics:
    return ClassMetrics(precision=0.5, recall=0.5, f1=f1, rows=5.0)


def card(names: list[str], *, classes: int, runs: int, **tags: str) -> Scorecard:
    """A scorecard in which every text is one of these."""

    def name(number: int) -> str:
        return names[number % len(names)]

    branch = [a_run(f"{name(number)} {number}") for number in range(runs)]
    rivals = [
        RivalRow(
            name=f"run {run.info.run_name}",
            run_id=run.info.run_id,
            value=0.5,
            verdict="worse",
            difference=-0.1,
            low=-0.2,
            high=0.3,
        )
        for run in branch
    ]
    per_class = {f"{number} {name(number)}": a_class(number / classes) for number in range(classes)}
    champion = dict.fromkeys(per_class, a_class(0.5))
    return Scorecard(
        run=a_run(
            name(0),
            tags={"validate.reason": " ".join(names), "run_by": name(1), **tags},
            params={f"{name(number)[:200]} {number}": name(number + 1) for number in range(120)},
        ),
        model=MODEL,
        metric="f1",
        comparison=Comparison(
            metric="f1",
            value=0.5,
            threshold=0.5,
            tolerance=0.01,
            significance=0.1,
            rivals=rivals,
            champion=ComparedChampion(
                version="1", run_id="0", per_class=champion, verdicts=dict.fromkeys(champion, "worse")
            ),
            verdict="passed",
            reason="",
        ),
        test=None,
        per_class=per_class,
        diagnostics=Diagnostics(
            confusions=[Confusion(true=name(i), predicted=name(i + 1), rows=1) for i in range(20)],
            importance=[Importance(feature=name(i), drop=0.1, deviation=0.1) for i in range(25)],
            candidates=[
                Candidate(parameters={name(i)[:200]: name(i + 1)}, mean=0.5, deviation=0.1, seconds=1)
                for i in range(30)
            ],
            positive=name(0),
        ),
        served=None,
        branch=branch,
    )


def files(card: Scorecard, folder: Path) -> tuple[str, str]:
    markdown, html = (path.read_text(encoding="utf-8") for path in write(card, folder))
    return markdown, html


def tables_of(markdown: str) -> list[list[list[str]]]:
    """The tables that a Markdown renderer makes of a text: of each its rows, of each its cells."""
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    for token, content in pairwise(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            found[-1][-1].append(content.content)
    return found


def shown(markdown: str) -> str:
    """What a person sees of Markdown without blocks."""
    (inline,) = MarkdownIt("commonmark").parseInline(markdown)
    return "".join(child.content for child in inline.children or [] if child.type != "html_inline")


@pytest.mark.slow
@pytest.mark.parametrize("names", [*([name] for name in HOSTILE), HOSTILE], ids=lambda names: repr(names[0])[:20])
def test_the_comment_stays_short_and_whole_whatever_the_names(names: list[str], tmp_path: Path) -> None:
    markdown, html = files(card(names, classes=1000, runs=100), tmp_path)
    assert len(markdown) < MOST_CHARACTERS
    rendered = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"]).render(markdown)
    page = Page(rendered)
    assert set(page.tags) <= {
        *(
            "h1",
            "blockquote",
            "p",
            "code",
            "pre",
            "strong",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
        )
    }
    assert page.tags.count("table") == 9
    assert page.tags.count("details") == page.tags.count("summary") == rendered.count("</details>") == 5
    assert page.links == []
    for table in tables_of(markdown):
        assert len({len(row) for row in table}) == 1
    by_class = next(table for table in tables_of(markdown) if table[0][0] == "class")
    expected = [rendering.cut(f"{number} {names[number % len(names)]}", 40) for number in range(len(by_class) - 1)]
    assert [shown(row[0]) for row in by_class[1:]] == expected
    assert {row[1] for row in by_class[1:]} == {"5"}
    # What is neither code nor broken by a space is a mention, a reference or a link.
    prose = re.sub(r"<(code|pre)\b.*?</\1>", "", rendered, flags=re.DOTALL)
    assert not re.search(r"[@#]\w|https?://|www\.", prose)
    assert not {"script", "img"} & set(Page(html).tags)
    assert all(link.startswith("#") for link in Page(html).links)
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in markdown


def test_a_long_history_is_cut_and_says_so(tmp_path: Path) -> None:
    markdown, html = files(card(["x"], classes=30, runs=50), tmp_path)
    assert "\nAt least 31 more of the branch are not shown." in markdown
    assert "best: the branch may have more runs than these." in html
    assert "…and 10 more, in the page." in markdown
    short, html = files(card(["x"], classes=3, runs=21), tmp_path)
    assert "\n2 more of the branch are not shown." in short
    assert "The runs of the branch" not in html
    assert "more, in the page" not in re.sub(r"Confusions, curves.*", "", short, flags=re.DOTALL)


def test_classes_that_fell_are_first_and_marked(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    assert refused[1].states["compare"] == "FAILED"
    scorecard = collect(EXPERIMENT, MODEL)
    assert scorecard.comparison
    assert scorecard.comparison.champion
    champion, mine = scorecard.comparison.champion.per_class, scorecard.per_class
    changes = {name: mine[name].f1 - champion[name].f1 for name in mine}
    assert min(changes.values()) < -0.3
    markdown, html = files(scorecard, tmp_path)
    by_class = next(table for table in tables_of(markdown) if table[0][0] == "class")
    assert [row[0].strip("`") for row in by_class[1:]] == sorted(changes, key=lambda name: changes[name])
    assert [row[5] for row in by_class[1:]] == [signed(change) for change in sorted(changes.values())]
    assert {row[6] for row in by_class[1:]} == {"**worse**"}
    assert "<summary>3 classes: 3 worse, 0 better</summary>" in markdown
    assert html.count('<td data-label="against the champion"><span class="chip worse">') == 3


@pytest.mark.parametrize(
    ("verdict", "f1", "mark"),
    [
        ("worse", 0.4, "worse"),
        ("better", 0.6, "better"),
        ("worse", 0.495, ""),
        ("indistinguishable", 0.1, ""),
        ("indistinguishable", 0.9, ""),
        (None, 0.1, ""),
    ],
)
def test_a_class_is_marked_only_past_tolerance_and_chance(
    verdict: str | None, f1: float, mark: str, tmp_path: Path
) -> None:
    scorecard = card(["x"], classes=1, runs=0)
    assert scorecard.comparison
    assert scorecard.comparison.champion
    # A run that was compared by an earlier release has no verdicts.
    champion = scorecard.comparison.champion.model_copy(update={"verdicts": {"0 x": verdict} if verdict else {}})
    scorecard = dataclasses.replace(
        scorecard,
        per_class={"0 x": a_class(f1)},
        comparison=scorecard.comparison.model_copy(update={"champion": champion}),
    )
    markdown, html = files(scorecard, tmp_path)
    (shown,) = next(table for table in tables_of(markdown) if table[0][0] == "class")[1:]
    assert shown[5:] == [signed(f1 - 0.5), f"**{mark}**" if mark else ""]
    assert (f'<span class="chip {mark}">' in html) is bool(mark)
    summary = f"1 class: {int(mark == 'worse')} worse, {int(mark == 'better')} better"
    assert all(summary in text for text in (markdown, html))


def test_the_table_shows_run_champion_and_branch(refused: tuple[State, Outcome], tmp_path: Path) -> None:
    state, _ = refused
    first, mine = state.found("tags.git_commit = 'c1'")[0], state.newest()
    markdown, html = written(tmp_path)
    sides, table, data = tables_of(markdown)[0], tables_of(markdown)[1], tables_of(markdown)[-2]
    seconds = {run.info.run_id: f"{run.data.metrics['training_seconds']:.1f} s" for run in (first, mine)}
    assert [row[0] for row in sides[1:]] == ["validation", "test"]
    assert sides[0][2] == "95% interval"
    assert sides[1][5].startswith("version 1, ")
    # The champion is a run of this branch, and has one row.
    assert [row[0] for row in table] == ["model", "**this run**", "the champion, version 1"]
    assert table[1][1:3] == ["`c2`", f"{mine.data.metrics['validation_accuracy']:.4f}"]
    assert [row[6].split(" ")[0] for row in table[1:]] == ["failed", "passed"]
    assert [row[7] for row in table[1:]] == [seconds[mine.info.run_id], seconds[first.info.run_id]]
    assert [row[0] for row in data[1:]] == ["train-validation", "train", "validation"]
    assert all(re.fullmatch(r"version \d+, \d+ rows", cell) for row in data[1:] for cell in row[2:])
    (plotted,) = [line for line in markdown.splitlines() if line.startswith("the champion 1  ")]
    assert re.fullmatch(r" *├─*●─*┤ *┊?│ *", plotted[16:-7])
    assert plotted[-7:] == table[2][3]
    assert ("left of the tolerance (┊)" in markdown) == ("┊" in plotted)
    assert html.count(f">{table[2][3]}<small>") == 1


def test_a_run_that_was_not_compared_has_a_report(state: State, tmp_path: Path) -> None:
    run = runs.create_run(EXPERIMENT, name="n", tags={"git_branch": "b"})
    with runs.resumed(run):
        runs.log_params({"metric": "f1"})
    markdown, html = written(tmp_path)
    assert state.newest().info.run_id in markdown
    for text in (markdown, html):
        assert f"{MODEL}: not compared" in text
        assert "the comparison has not run" in text
        assert re.search(r"Champion(: |</dt><dd class=\"big\">)none", text)


def test_an_inconclusive_verdict_cannot_be_missed(tmp_path: Path) -> None:
    inconclusive = cards.scorecards()["inconclusive"]
    markdown, html = files(inconclusive, tmp_path)
    assert markdown.startswith(
        f"# {cards.MODEL}: inconclusive ⚠️\n\n> [!WARNING]\n> **Inconclusive on the validation table**: "
    )
    assert "Decide before you merge" in markdown
    assert '<div class="verdict inconclusive" role="note">' in html
    assert "A person has to." in html
    for text in (markdown, html):
        assert "show that f1_macro reaches the threshold 0.8" in text


def test_nobody_is_asked_to_decide_about_the_model_in_service(tmp_path: Path) -> None:
    inconclusive = cards.scorecards()["inconclusive"]
    served = Served(version="8", run_id=inconclusive.run.info.run_id)
    markdown, html = files(dataclasses.replace(inconclusive, served=served), tmp_path)
    for text in (markdown, html):
        assert "decide whether this model is worse than allowed." in text
        assert "Decide before you merge" not in text
        assert "A person has to." not in text


def test_a_failure_on_the_test_table_is_drawn_and_explained_once(tmp_path: Path) -> None:
    failed = cards.scorecards()["failed-on-test"]
    assert failed.test
    markdown, html = files(failed, tmp_path)
    for text in (markdown, html):
        shown = html_module.unescape(text)
        assert shown.count(failed.test.reason) == 1
        assert "Failed on the test table" in shown
        assert f"{MINUS}0.0380" in shown
    values, differences = failed.plots
    assert [mark.label for mark in differences.marks] == [
        "validation: the champion, version 7",
        "test: the champion, version 7",
    ]
    assert [mark.kind for mark in differences.marks] == ["passed", "failed"]
    assert differences.limit == -0.01
    assert [mark.value for mark in values.marks] == [0.935, 0.905, 0.862, 0.9]
    assert values.limit == 0.8


def test_another_verdict_that_did_not_pass_is_shown_beside_the_latest(tmp_path: Path) -> None:
    markdown, html = files(cards.scorecards()["inconclusive-then-passed"], tmp_path)
    for text in (markdown, html):
        assert text.index("Passed on the test table") < text.index("Inconclusive on the validation table")


def test_the_champion_of_the_comparison_is_not_that_of_today(tmp_path: Path) -> None:
    for text in files(cards.scorecards()["first-champion"], tmp_path):
        assert "this run is version 1, the champion now" in text
        assert re.search(r"Champion(: |</dt><dd class=\"big\">)none", text)


def test_a_document_of_an_earlier_release_has_a_page(tmp_path: Path) -> None:
    markdown, html = files(cards.scorecards()["earlier-release"], tmp_path)
    for text in (markdown, html):
        assert "passed" in text
        assert "Importance" not in text
        assert "None" not in text


def test_no_secret_shows(flown: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = flown.newest()
    planted = {name: secrets.token_hex(12) for name in ("environment", "address", "named", "token", "assigned")}
    monkeypatch.setenv("DATABRICKS_TOKEN", planted["environment"])
    client = tracking.client()
    client.log_param(run.info.run_id, "url", f"https://ann:{planted['address']}@example.com/x")
    client.log_param(run.info.run_id, "api_token", planted["named"])
    client.log_param(run.info.run_id, "note", f"dapi{planted['token']}")
    reason = f"passed with password={planted['assigned']} and {planted['environment']}"
    runs.set_tags(run, {"run_by": f"ann {planted['environment']}", "test.reason": reason})
    for text in written(tmp_path):
        assert [name for name, value in planted.items() if value in text] == []
        assert "example.com" in text
        assert html_module.unescape(text).count("***") == 6


def test_a_picture_takes_any_name_and_any_number_of_classes() -> None:
    figure = a_class(0.5)
    assert figures.png(figures.per_class({r"$\frac{$": figure, "x" * 500: figure})).startswith(b"\x89PNG")
    truth = np.arange(1000)
    many = [f"class {number}" for number in truth]
    drawn = [figures.confusion_matrix(truth, truth, many), figures.per_class(dict.fromkeys(many, figure))]
    assert all(max(one.get_size_inches()) < 30 for one in drawn)
    assert all(figures.png(one).startswith(b"\x89PNG") for one in drawn)
    means = np.array([0.1, 0.2])
    twins = figures.importance(["x" * 40 + "a", "x" * 40 + "b"], means, means, metric="f1")
    assert len(twins.axes[0].get_yticks()) == 2
