# Databricks notebook source
# MAGIC %md
# MAGIC # Creating the data sets
# MAGIC
# MAGIC The job `datasets` reads the source that the pipeline's file names, and splits it by a hash of each row's key:
# MAGIC no row ever changes sides. The test table is for validation alone: look at the other one.
# MAGIC
# MAGIC `ML_PIPELINE_ENVIRONMENT` chooses the environment; on this machine it is `local`. `ML_PIPELINE_FILE`
# MAGIC chooses a pipeline's file; by default it is the pipeline that the environment names, or the only one.

# COMMAND ----------

import os
from pathlib import Path

from ml_pipeline import jobs
from ml_pipeline.data import tables
from ml_pipeline.local import runner
from ml_pipeline.settings import files

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "environments").is_dir())
environment = os.environ.get("ML_PIPELINE_ENVIRONMENT", "local")
place = files.find(environment, folder=root / "environments")
chosen = files.load(files.find_pipeline(os.environ.get("ML_PIPELINE_FILE", ""), place), place)

# COMMAND ----------

selected = runner.select(jobs.declare(chosen), ["datasets"])
runs = runner.run(selected, parameters={}, defaults=runner.git_parameters(), follow=lambda *_: None)
for run in runs:
    if run.error:
        raise run.error
    print(run.job, run.task, run.state, run.made)

# COMMAND ----------

rows = tables.read(f"{chosen.schema_name}.train_validation")
rows.printSchema()
print(rows.limit(5).toPandas())
