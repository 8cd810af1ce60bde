# Databricks notebook source
# MAGIC %md
# MAGIC # Training from a branch, and looking at its runs
# MAGIC
# MAGIC The job `training` logs a run with the branch, the commit and the reason, and compares it with the branch's
# MAGIC other runs and with the champion. Run `1_create_datasets` first.

# COMMAND ----------

import os
from pathlib import Path

from ml_pipeline import jobs
from ml_pipeline.local import runner
from ml_pipeline.settings import files

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "environments").is_dir())
environment = os.environ.get("ML_PIPELINE_ENVIRONMENT", "local")
place = files.find(environment, folder=root / "environments")
chosen = files.load(files.find_pipeline(os.environ.get("ML_PIPELINE_FILE", ""), place), place)

# COMMAND ----------

from ml_pipeline.errors import CheckFailedError
from ml_pipeline.registry.runs import matching, search

git = runner.git_parameters()
selected = runner.select(jobs.declare(chosen), ["training"])
runs = runner.run(selected, parameters={"reason": "feature"}, defaults=git, follow=lambda *_: None)
for run in runs:
    print(run.job, run.task, run.state, run.made or run.error or f"after {run.because}")
    # A model that is rejected is a result to look at; anything else is a failure.
    if run.error and not isinstance(run.error, CheckFailedError):
        raise run.error

# COMMAND ----------

branch = matching(git_branch=git["git_branch"]) if git.get("git_branch") else ""
for logged in search(chosen.experiment, branch, most=20):
    tags = logged.data.tags
    metrics = {name: round(value, 4) for name, value in sorted(logged.data.metrics.items())}
    print(logged.info.run_id, tags.get("validate", "-"), tags.get("validate.reason", ""), metrics)
