from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np

from ml_pipeline import names
from ml_pipeline.data.histograms import Histogram
from ml_pipeline.monitoring import drift
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.reports import batch_report

DAY = datetime.date(2026, 1, 2)


def made(**changes: Any) -> batch_report.BatchReport:
    histograms = [
        Histogram(
            feature="a <b>|</b>",
            bins=("x", "y", "(missing)"),
            training=np.array([90, 10, 0]),
            batch=np.array([5, 90, 5]),
        ),
        Histogram(
            feature=names.PREDICTION,
            bins=("no", "yes", "(missing)"),
            training=np.array([5, 5, 0]),
            batch=np.array([5, 5, 0]),
        ),
    ]
    values: dict[str, Any] = {
        "model": "local.test.model",
        "model_version": 3,
        "run_id": "abc",
        "day": DAY,
        "rows": 1100,
        "quarantined": 7,
        "reasons": {"size: is missing": 7},
        "findings": [
            Finding(kind="rows", measure="rows", value=1100.0),
            Finding(kind="lateness", measure="hours", value=1.5, threshold=48.0),
            Finding(kind="drift", measure="psi", feature="a", value=1.0, alarm=True, detail="feature 'a' has drifted"),
            *(
                Finding(
                    kind="performance",
                    measure="accuracy",
                    value=value,
                    rows=rows,
                    scored_version=3,
                    scored_date=DAY,
                    detail="d",
                )
                for value, rows in ((0.5, 100), (1.0, 300))
            ),
        ],
        "drifts": drift.compare(histograms, limit=0.2, significance=0.05),
        "history": {"a": [(DAY - datetime.timedelta(days=1), 0.1), (DAY, 1.0)]},
        "limit": 0.2,
    }
    return batch_report.BatchReport(**values | changes)


def rendered(report: batch_report.BatchReport) -> tuple[str, str]:
    files = batch_report.render(report)
    return files["batch_report.md"], files["batch_report.html"]


def test_the_verdict_is_on_top_and_everything_is_there() -> None:
    markdown, html = rendered(made())
    assert markdown.startswith("# local.test.model, batch 2026-01-02: failed\n\n- feature 'a' has drifted\n")
    for text in (markdown, html):
        for said in (
            "1,100",
            "size: is missing",
            "Realised metric",
            "0.8750",
            "50.0%",
            "hours until the predictions were there",
        ):
            assert said in text
        assert "Challenger" not in text
        assert "quarantine_share" not in text
        assert ">x<" in text or "| `x` | 90.0% | 5.0% |" in text
    assert "1,100 rows, 7 quarantined" in markdown
    assert "| <code>a &#60;b&#62;&#124;&#60;&#47;b&#62;</code> |" in markdown
    assert "<b>" not in html
    pictures = batch_report.pictures(made())
    assert sorted(pictures) == ["drift.png", "drift_history.png"]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert not re.search(r"(https?|file)://|url\(|@import|<script", html)


def test_a_quiet_batch_passes() -> None:
    markdown, html = rendered(made(findings=[], reasons={}, history={}))
    assert "batch 2026-01-02: passed" in markdown
    for text in (markdown, html):
        assert "No measure is past its limit" in text
        assert "size: is missing" not in text
        assert "Realised" not in text


def test_what_a_challenger_answered_has_a_section() -> None:
    shadow = {
        "version": 8,
        "agreement": 0.95,
        "interval": (0.93, 0.97),
        "by_class": [{"class": "yes", "agreement": 0.9}],
        "by_feature": [],
        "verdict": "passed",
        "reason": "agrees surely enough",
    }
    for text in rendered(made(shadow=shadow)):
        assert "Challenger in shadow" in text
        assert re.search(r"95.0%( \[|, interval )93.0%(, | to )97.0%", text)
        assert "agrees surely enough" in text
    assert "| yes | 0.9 |" in rendered(made(shadow=shadow))[0]
