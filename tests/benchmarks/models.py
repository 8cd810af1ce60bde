"""How fast each kind of model answers, against scikit-learn in the same process on one core, by processor time."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl
from results import Results  # type: ignore[import-not-found]

from ml_pipeline.data.features import Features
from ml_pipeline.model import evaluator, search
from ml_pipeline.model.estimators import Estimator
from ml_pipeline.model.metrics import Classes

MODELS: dict[str, tuple[str, dict[str, Any], int, int, int]] = {
    "forest": ("ensemble.RandomForestClassifier", {"n_estimators": 50, "max_depth": 8}, 3, 4, 0),
    "histogram boosting": ("ensemble.HistGradientBoostingClassifier", {"max_iter": 50}, 3, 4, 0),
    "gradient boosting": ("ensemble.GradientBoostingClassifier", {"n_estimators": 50}, 2, 4, 0),
    "logistic, one-hot text": ("linear_model.LogisticRegression", {}, 3, 4, 2),
    "forest, 200 classes": ("ensemble.RandomForestClassifier", {"n_estimators": 50, "max_depth": 8}, 200, 4, 0),
    "forest, 300 columns": ("ensemble.RandomForestClassifier", {"n_estimators": 50, "max_depth": 8}, 3, 300, 0),
}
"""By name: class of scikit-learn, parameters, classes, number columns, text columns."""
THREEFOLD = ("forest", "histogram boosting", "gradient boosting")


def main() -> None:
    """Print the speed of each evaluator, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    rows, results = parser.parse_args().rows, Results("models")
    print(f"{'labels, one core':>24} {'rows/s':>12} {'against scikit-learn':>22}")
    for name, (class_, parameters, classes, numbers, text) in MODELS.items():
        random = np.random.default_rng(0)
        data = pd.DataFrame(random.normal(size=(rows, numbers)), columns=[f"n{place}" for place in range(numbers)])
        for place in range(text):
            data[f"t{place}"] = random.integers(0, 60, rows).astype(str).astype(object)
        target = (np.argsort(np.argsort(data["n0"] + random.normal(scale=0.3, size=rows))) * classes) // rows
        train = data[:5_000]
        estimator = Estimator.model_validate({"class": f"sklearn.{class_}", "parameters": parameters})
        chosen = Features({column: "string" if column[0] == "t" else "double" for column in map(str, data)})
        known = Classes.of(target[:5_000])
        grid = search.grid(estimator, chosen, metric="accuracy", folds=2, seed=0, n_jobs=1, classes=known)
        model = grid.estimator.fit(train, target[:5_000])
        by, why = evaluator.choose(model, data[5_000:7_000], train_rows=len(train))
        columns = {str(column): values.to_numpy() for column, values in data.items()}
        took: dict[str, float] = {}
        with threadpoolctl.threadpool_limits(1):
            for each in (by, evaluator.SKLEARN) * 3:
                answer = evaluator.build(model, each)
                began = time.process_time()
                answer(columns, scores=False)
                took[each] = min(took.get(each, np.inf), time.process_time() - began)
        ratio = took[evaluator.SKLEARN] / took[by]
        print(f"{name:>24} {rows / took[by]:>12,.0f} {ratio:>20.2f} x   {by}: {why}", flush=True)
        at_least = 3 if name in THREEFOLD else 1
        results.add(f"{name}: scikit-learn against ours, one core", ratio, at_least=at_least)
    sys.exit(results.finish())


if __name__ == "__main__":
    main()
