"""The two ways in which a step says no, each with its exit code."""

from __future__ import annotations


class PipelineError(Exception):
    """A failure that one message explains; a traceback would add nothing."""

    exit_code = 1


class CheckFailedError(PipelineError):
    """A check of the pipeline found a problem: the model is refused, the batch is stopped."""

    exit_code = 1


class InputError(PipelineError):
    """A person's input is wrong: the message names file, key or column, and what is accepted."""

    exit_code = 2
