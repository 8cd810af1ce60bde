"""Faults of what a step works with, each as one message: the tracking server, the disk, Spark's workers.

What can pass by itself is tried again where it happens, with backoff and a limit: requests to the tracking server by
MLflow (its environment variables ``MLFLOW_HTTP_REQUEST_*``), a task whose worker was killed by Spark, a commit that met
another one by ``tables``, a whole task by Databricks (``max_retries``). This is for what is left.
"""

from __future__ import annotations

import re

from ml_pipeline.errors import PipelineError

_FAULTS = {
    "No space left on device": "the disk is full ({cause}); nothing of this batch or table was committed",
    "Disk quota exceeded": "the disk quota is used up ({cause}); nothing of this batch or table was committed",
    "Python worker exited unexpectedly": "Spark's Python worker was killed, again and again: {cause}. Often it needs "
    "more memory than there is",
    "OutOfMemoryError": "Spark's memory is too small: {cause}",
}
_NO_ANSWER = re.compile(
    r"API request to (?P<url>\S+) failed with exception .*?(?P<cause>[^:<>'\"]+)['\"]?\)*$", re.DOTALL
)


def explain(error: BaseException) -> PipelineError | None:
    """What is at fault, where it is neither the person's input nor the pipeline; ``None`` where it is not known."""
    if isinstance(error, PipelineError):
        return None
    text = str(error)
    if request := _NO_ANSWER.search(text):
        server = re.sub(r"/api/.*", "", request["url"])
        return PipelineError(f"the tracking server {server} does not answer: {request['cause'].strip()}")
    for sign, message in _FAULTS.items():
        line = next((line for line in reversed(text.splitlines()) if sign in line), "")
        if line:
            return PipelineError(message.format(cause=re.sub(r"^(Caused by: )?[\w.$]+: ", "", line.strip())))
    return None
