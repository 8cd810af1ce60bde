"""Makes the challenger the champion."""

from __future__ import annotations

from ml_pipeline.entry_point import Results
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.names import ACCEPTED, CHALLENGER, FAILED, TEST
from ml_pipeline.registry import models
from ml_pipeline.registry.champion import make_champion


def promote(*, model: str, run_by: str = "", job_run_id: str = "") -> Results:
    """Make the challenger the champion.

    Raises:
        InputError: there is no challenger.
        PipelineError: the challenger was not validated, or failed in shadow.
    """
    challenger = models.version_by_alias(model, CHALLENGER)
    if challenger is None:
        raise InputError(f"model {model} has no alias '{CHALLENGER}'; validate a run first")
    if challenger.tags.get(TEST) not in ACCEPTED:
        raise PipelineError(f"model {model} version {challenger.version} did not pass validation; it is not promoted")
    if challenger.tags.get(models.SHADOW) == FAILED:
        raise PipelineError(
            f"model {model} version {challenger.version} failed in shadow, it is not promoted: "
            f"{challenger.tags.get(f'{models.SHADOW}_reason', '')}"
        )
    before = make_champion(challenger, move="promoted", run_by=run_by, job_run_id=job_run_id)
    return {model: f"version {challenger.version} is the champion{before}"}
