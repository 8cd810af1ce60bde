"""Names that two modules share: columns, tags, artifacts, aliases, jobs."""

from __future__ import annotations

from typing import Final

# Jobs.
DATASETS = "datasets"
TRAINING = "training"
VALIDATION = "validation"
PROMOTION = "promotion"
BATCH_INFERENCE = "batch_inference"
"""Also the tag ``job`` of the MLflow run of a batch; training runs have no such tag."""
JOBS = (DATASETS, TRAINING, VALIDATION, PROMOTION, BATCH_INFERENCE)

# Columns of the predictions table. No column of the source, and no feature, may have one of these names.
PREDICTION = "prediction"
MODEL_NAME = "model_name"
MODEL_VERSION = "model_version"
RUN_ID = "run_id"
BATCH_COLUMN = "batch_date"
ADDED = (PREDICTION, MODEL_NAME, MODEL_VERSION, RUN_ID, BATCH_COLUMN)
SCORES = "scores"
"""One probability or decision value for each class; only if probabilities are configured."""
CHAMPION_PREDICTION = "champion_prediction"
"""The champion's prediction for the same row, in the shadow table."""
REASONS = "quarantine_reasons"
"""Why a row failed its checks, in the quarantine table."""

# Columns that a step adds for a while.
ANSWER = "__answer"
AGREE = "__agree"
LABEL = "__label"
OTHER_LABEL = "__other"
INTERNAL = (ANSWER, AGREE, LABEL, OTHER_LABEL)

# Aliases of a registered model.
CHAMPION = "champion"
CHALLENGER = "challenger"

# The sides of the data; each is a table, and a run has tags for each that it read: ``registry.evidence.TableVersion``.
TRAIN_VALIDATION_SIDE = "train_validation"
TRAIN_SIDE = "train"
VALIDATION_SIDE = "validation"
TEST_SIDE = "test"

# Tags of a training run.
JOB_RUN_ID = "job_run_id"
GIT_BRANCH = "git_branch"
GIT_COMMIT = "git_commit"
PULL_REQUEST = "pull_request"
REASON = "reason"
RUN_BY = "run_by"
CLASSES = "classes"
"""How many classes the train table has."""
EVALUATOR = "evaluator"
"""What computes the model's predictions: ``model.evaluator``."""
VALIDATE = "validate"
"""``passed``, ``failed`` or ``inconclusive`` in the comparison; ``validate.reason`` holds the reason."""
TEST = "test"
"""The verdict on the test table, with ``test.reason``; also a tag of the registered version."""
DEVELOPMENT = "development"
"""``passed`` on the one run of a commit that CI built and that did not fail in the comparison."""
PASSED: Final = "passed"
FAILED: Final = "failed"
INCONCLUSIVE: Final = "inconclusive"
"""Too few rows to show whether a model is worse than allowed."""
ACCEPTED = (PASSED, INCONCLUSIVE)
"""Verdicts with which a model goes on."""
