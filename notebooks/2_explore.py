# Databricks notebook source
# MAGIC %md
# MAGIC # Exploring the rows that models learn from
# MAGIC
# MAGIC Run `1_create_datasets` first.

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

rows = tables.read(f"{chosen.schema_name}.train_validation")
frame = rows.toPandas() if rows.count() <= 100_000 else rows.sample(0.1, seed=0).limit(100_000).toPandas()
print(frame.describe(include="all").T)

# COMMAND ----------

print(frame[chosen.target].value_counts(dropna=False))
print(frame.isna().mean().rename("share of missing values"))

# COMMAND ----------

# The means of each class: a feature whose means differ separates the classes.
means = frame.groupby(chosen.target).mean(numeric_only=True)
print(means.T)
