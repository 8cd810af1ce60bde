"""Scorecards and batch reports of all kinds, made of the documents that the steps log: no Spark, no training."""

from __future__ import annotations

import datetime
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from ml_pipeline.data.histograms import Histogram
from ml_pipeline.model.bootstrap import Measured
from ml_pipeline.model.decision import Limits, decide, rival
from ml_pipeline.model.diagnostics import diagnose
from ml_pipeline.model.metrics import Classes, Responses, by_class
from ml_pipeline.monitoring import drift
from ml_pipeline.monitoring.findings import Finding
from ml_pipeline.monitoring.shadow import Shadow
from ml_pipeline.names import PREDICTION
from ml_pipeline.registry.diagnostics import Diagnostics
from ml_pipeline.registry.evidence import ClassMetrics, ComparedChampion, Comparison, Decision, Validation
from ml_pipeline.reports.batch_report import BatchReport
from ml_pipeline.reports.card import Scorecard
from ml_pipeline.reports.entries import Served

MODEL, METRIC = "prod_ml.customer_churn.churn_model", "f1_macro"
LIMITS = Limits(metric=METRIC, threshold=0.8, tolerance=0.01, significance=0.05)
NAMES = {
    2: ["stays", "churns"],
    3: ["setosa", "versicolor", "virginica"],
    25: [f"{kind} of {place}" for kind in ("Loss", "Theft", "Damage", "Delay", "Other") for place in
         ("baggage", "a rented vehicle", "Personenbeförderungsgesetz", "X" * 40, "<b>goods</b> & more")],
}  # fmt: skip
DAY = datetime.date(2026, 1, 31)


def a_run(number: int, value: float, *, tags: dict[str, str] | None = None, name: str = "") -> Run:
    """A run as the tracking server sends it."""
    given = {
        "git_branch": "feature/more-trees",
        "git_commit": f"{number:012x}abcdef",
        "train_validation_table": "prod_ml.customer_churn.train_validation",
        "train_validation_version": str(12 + number),
        "train_table": "prod_ml.customer_churn.train",
        "train_version": "31",
        "reason": "ci",
        "run_by": "ann.smith@example.com",
    }
    params = {
        "metric": METRIC,
        "estimator": "sklearn.ensemble.RandomForestClassifier",
        "features": "age, tenure_in_months, monthly_charges, contract, payment_method, number_of_support_calls",
        "max_depth": "12",
        "n_estimators": "400",
    }
    metrics = {f"validation_{METRIC}": value, f"cv_{METRIC}": value - 0.003, "training_seconds": 61.5 + number}
    return Run(
        RunInfo(  # type: ignore[no-untyped-call]
            run_id=f"{number:032x}",
            experiment_id="1",
            user_id="ann",
            status="FINISHED",
            start_time=1_700_000_000_000 + 86_400_000 * number,
            end_time=1,
            lifecycle_stage="active",
            run_name=name or f"legendary-stoat-{number}",
        ),
        RunData(  # type: ignore[no-untyped-call]
            [Metric(key, number, 0, 0) for key, number in metrics.items()],
            [Param(key, text) for key, text in params.items()],  # type: ignore[no-untyped-call]
            [RunTag(key, text) for key, text in (given | (tags or {})).items()],  # type: ignore[no-untyped-call]
        ),
    )


def measured(value: float, *, rows: int, seed: int, spread: float = 1.0) -> Measured:
    """A metric whose resamples spread as those of so many rows do."""
    error = spread * np.sqrt(value * (1 - value) / rows)
    return Measured(value, value + error * np.random.default_rng(seed).normal(size=1000), rows)


def decided(value: float, others: dict[str, float], *, rows: int, side: str = "", threshold: float = 0.8) -> Decision:
    """A decision on a table, against models with these values."""
    mine = measured(value, rows=rows, seed=0)
    rivals = [
        # Models on the same rows are resampled alike: most of the spread is in common.
        rival(name, f"{number:032x}", mine, mine._replace(value=other, resampled=other - value + mine.resampled
              + measured(other, rows=rows, seed=number + 1, spread=0.6).resampled - other), LIMITS)
        for number, (name, other) in enumerate(others.items(), 1)
    ]  # fmt: skip
    return decide(replace(LIMITS, threshold=threshold), mine, rivals, side=side)


def diagnosed(names: list[str], *, rows: int = 600, candidates: int = 18) -> tuple[Diagnostics, Responses, Any]:
    """The diagnostics of made-up responses."""
    random = np.random.default_rng(len(names))
    truth = random.integers(0, len(names), rows)
    scores = random.normal(size=(rows, len(names))) + 2.2 * np.eye(len(names))[truth]
    scores += np.roll(np.eye(len(names)), 1, axis=1)[truth] * random.normal(1.0, 1.0, size=(rows, 1))
    likely = np.exp(1.4 * scores)
    likely /= likely.sum(axis=1, keepdims=True)
    responses = Responses(Classes(tuple(names)), likely.argmax(axis=1), likely)
    grid = [
        {"estimator__n_estimators": count, "estimator__max_depth": depth, "estimator__criterion": kind}
        for count in (100, 400, 800) for depth in (4, 12, None) for kind in ("gini", "entropy")
    ][:candidates]  # fmt: skip
    mean = random.normal(0.9, 0.02, len(grid))
    search: Any = SimpleNamespace(
        cv_results_={
            "params": grid,
            "mean_test_score": mean,
            "std_test_score": np.full(len(grid), 0.012),
            "mean_fit_time": random.uniform(0.2, 9, len(grid)),
            "rank_test_score": (-mean).argsort().argsort() + 1,
        }
    )
    features = ["tenure_in_months", "monthly_charges", "contract", "age", "number_of_support_calls_in_the_last_90_days"]
    drops = np.array([0.21, 0.12, 0.034, 0.006, -0.002])
    return diagnose(responses, truth, features, (drops, drops / 6 + 0.002), search), responses, truth


def scorecard(
    validation: Decision | None,
    test: Decision | None = None,
    *,
    classes: int = 3,
    branch: int = 3,
    served: Served | None = None,
    with_champion: bool = True,
) -> Scorecard:
    """A scorecard of these decisions."""
    diagnostics, responses, truth = diagnosed(NAMES[classes])
    per_class = by_class(responses, truth)
    theirs = {name: row.model_copy(update={"f1": min(1.0, row.f1 + 0.04 * (-1) ** i)}) for i, (name, row)
              in enumerate(per_class.items())}  # fmt: skip
    verdicts = {name: "worse" if i % 2 == 0 else "better" for i, name in enumerate(per_class)}
    tags: dict[str, str] = {}
    for name, decision in (("validate", validation), ("test", test)):
        tags |= decision.tags(name) if decision else {}
    for side in ("validation", *(["test"] if test else [])):
        tags |= {f"{side}_table": f"prod_ml.customer_churn.{side}", f"{side}_version": "31"}
    champion = ComparedChampion(version="7", run_id=f"{1:032x}", per_class=theirs, verdicts=verdicts)
    comparison = None
    if validation:
        comparison = Comparison(**validation.model_dump(), champion=champion if with_champion else None)
    others = [
        a_run(number, 0.88 + 0.05 * np.sin(number) / (1 + number / 9),
              tags={"validate": ("passed", "failed", "inconclusive")[number % 3]})
        for number in range(2, 2 + branch)
    ]  # fmt: skip
    return Scorecard(
        run=a_run(99, validation.value if validation else 0.9, tags=tags, name="this-is-the-run-of-this-commit"),
        model=MODEL,
        metric=METRIC,
        comparison=comparison,
        test=Validation(**test.model_dump()) if test else None,
        per_class=per_class,
        diagnostics=diagnostics,
        served=served or Served(version="7", run_id=f"{1:032x}"),
        compared=a_run(1, 0.9) if with_champion else None,
        branch=others,
    )


def _others(champion: float, runs: int = 3) -> dict[str, float]:
    return {"the champion, version 7": champion} | {
        f"run legendary-stoat-{number}": 0.88 + 0.05 * np.sin(number) / (1 + number / 9)
        for number in range(2, 2 + min(25, runs))
    }


def _times(decision: Decision, factor: float) -> Decision:
    """A decision about a metric of another size."""
    values = {name: factor * getattr(decision, name) for name in ("value", "low", "high", "threshold", "tolerance")}
    rivals = [
        rival.model_copy(
            update={name: factor * getattr(rival, name) for name in ("value", "difference", "low", "high")}
        )
        for rival in decision.rivals
    ]
    return decision.model_copy(update={**values, "tolerance": abs(values["tolerance"]), "rivals": rivals})


def scorecards() -> dict[str, Scorecard]:
    """A scorecard of each kind that a reviewer meets, by name."""
    champion = {"the champion, version 7": 0.9}
    good = decided(0.935, _others(0.905), rows=5000)
    small = decided(0.861, {"the champion, version 7": 0.874}, rows=90)
    alone = decided(0.91, {}, rows=5000)
    old = good.model_copy(
        update={
            "low": None,
            "high": None,
            "rows": None,
            "threshold": None,
            "tolerance": None,
            "significance": None,
            "rivals": [row.model_copy(update={"outcome": None, "rows_needed": None}) for row in good.rivals],
        }
    )
    cards = {
        "passed": scorecard(good, decided(0.931, {"the champion, version 7": 0.909}, rows=2500, side="test")),
        "failed-on-validation": scorecard(decided(0.842, _others(0.905), rows=5000, threshold=0.85), classes=2),
        "failed-on-test": scorecard(good, decided(0.862, champion, rows=2500, side="test"), classes=2),
        "inconclusive": scorecard(small, classes=3, branch=0),
        "inconclusive-then-passed": scorecard(small, decided(0.95, champion, rows=2500, side="test"), branch=0),
        "25-classes": scorecard(good, classes=25),
        "40-branch-runs": scorecard(decided(0.935, _others(0.905, 40), rows=5000), branch=40),
        "first-champion": scorecard(
            alone,
            decided(0.9, {}, rows=2500, side="test"),
            branch=0,
            with_champion=False,
            served=Served(version="1", run_id=f"{99:032x}"),
        ),
        "not-compared": scorecard(None, branch=0, with_champion=False),
        "earlier-release": scorecard(old, branch=1),
        "large-numbers": scorecard(_times(good, -1.2e7), branch=1),
    }
    for name, card in cards.items():
        if name == "earlier-release":
            object.__setattr__(card, "diagnostics", None)
    return cards


def _histogram(feature: str, bins: list[str], before: list[int], now: list[int], **more: Any) -> Histogram:
    return Histogram(
        feature=feature, bins=(*bins, "(missing)"), training=np.array([*before, 0]), batch=np.array([*now, 3]), **more
    )


def batch(*, passed: bool = False) -> BatchReport:
    """The report of a batch that drifted, or of a quiet one."""
    edges = [18.0, 25.0, 32.0, 40.0, 51.0, 64.0]
    numbers = ["up to 18", "18 to 25", "25 to 32", "32 to 40", "40 to 51", "51 to 64", "above 64"]
    usual = [40, 210, 330, 290, 180, 90, 30]
    payments = ["electronic check", "bank transfer (automatic)", "Überweisung <b>SEPA</b>", "(other)"]
    histograms = [
        _histogram("age", numbers, [10 * n for n in usual], usual if passed else usual[::-1], edges=edges),
        _histogram("payment_method", payments, [4000, 3000, 2000, 100], [400, 310, 190, 11]),
        _histogram("number_of_support_calls_in_the_last_90_days", numbers, [10 * n for n in usual], usual, edges=edges),
        _histogram(
            PREDICTION, ["stays", "churns", "(other)"], [7000, 2000, 0], [700, 200, 0] if passed else [520, 390, 0]
        ),
    ]
    alarm = "20.1% of the rows were quarantined (> 5.0%)"
    return BatchReport(
        model=MODEL,
        model_version=7,
        run_id=f"{1:032x}",
        day=DAY,
        rows=1173,
        quarantined=3 if passed else 295,
        reasons={"age: is missing": 200, "payment_method: 'cash' is not one of the accepted values": 95},
        findings=[
            Finding(kind="rows", measure="rows", value=1173.0, threshold=1800.0),
            Finding(kind="quarantine", measure="quarantine_share", value=0.003 if passed else 0.201, threshold=0.05,
                    rows=3 if passed else 295, of_rows=1468,
                    alarm=not passed, detail="" if passed else alarm),
            Finding(kind="lateness", measure="hours", value=1.5, threshold=48.0),
            *(
                Finding(kind="drift", measure="psi", feature=name, value=0.7, alarm=True,
                        detail=f"{name} drifted (population stability index 0.70 > 0.2)")
                for name in ([] if passed else ["feature 'age' has", "the predictions have"])
            ),
            *(
                Finding(kind="performance", measure=METRIC, value=value, low=value - 0.04, high=value + 0.03, rows=rows,
                        of_rows=1200, scored_version=version, scored_date=DAY - datetime.timedelta(days=days),
                        detail=f"{METRIC} {value:.4f} on {rows} of 1,200 rows")
                for value, rows, version, days in ((0.91, 900, 6, 30), (0.93, 1100, 7, 14), (0.925, 400, 7, 7))
            ),
        ],
        drifts=drift.compare(histograms, limit=0.2, significance=0.05),
        history={
            name: [(DAY - datetime.timedelta(days=30 - i), 0.02 + level * i / 30) for i in range(31)]
            for name, level in (("age", 0.01 if passed else 0.7), ("payment_method", 0.02), (PREDICTION, 0.1))
        },
        limit=0.2,
        shadow=Shadow(
            version=8,
            rows=1173,
            agreed=1101,
            interval=(0.923, 0.951),
            by_class=[
                {"true class": name, "rows": "700", "differ": "40", "agreement": "94.3%", "only champion right": 12,
                 "only challenger right": 20}
                for name in NAMES[2]
            ],
            by_feature=[{"feature": "age", "range": "18 to 25", "rows": "210", "differ": "30", "agreement": "85.7%"}],
            reasons=() if passed else ("that may be as few as 92.3%, below the minimum agreement 95.0%",),
        ),
    )  # fmt: skip


def class_metrics(f1: float) -> ClassMetrics:
    """Of a class of five rows."""
    return ClassMetrics(precision=0.5, recall=0.5, f1=f1, rows=5.0)
