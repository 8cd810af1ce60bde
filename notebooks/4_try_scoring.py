# Databricks notebook source
# MAGIC %md
# MAGIC # Trying the scoring function
# MAGIC
# MAGIC The newest training run's model answers to rows, as batch inference would, and nothing is written. Run
# MAGIC `3_train_from_branch` first.

# COMMAND ----------

import os
from pathlib import Path

from ml_pipeline.data import tables
from ml_pipeline.settings import files

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "environments").is_dir())
environment = os.environ.get("ML_PIPELINE_ENVIRONMENT", "local")
place = files.find(environment, folder=root / "environments")
chosen = files.load(files.find_pipeline(os.environ.get("ML_PIPELINE_FILE", ""), place), place)

# COMMAND ----------

from ml_pipeline.model import predictor
from ml_pipeline.registry import models, runs

(run,) = runs.search(chosen.experiment, "attributes.status = 'FINISHED' and params.estimator != ''", most=1)
model = predictor.load(models.run_uri(run))
print(model.signature)

# COMMAND ----------

rows = tables.read(f"{chosen.schema_name}.train_validation")
answers = predictor.answers(rows, {"model": model}, where="train_validation", scores=True)
scored = rows.withColumn("answer", answers["model"])
print(scored.select(chosen.target, "answer.prediction", "answer.scores").limit(10).toPandas())

# COMMAND ----------

# How the answers agree with the truth, on rows that the model may have learned from.
print(scored.groupBy(chosen.target, "answer.prediction").count().orderBy(chosen.target, "prediction").toPandas())
