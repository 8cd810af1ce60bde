"""The ways in which a step fails, each with its exit code."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator


class PipelineError(Exception):
    """A failure that one message explains; a traceback would add nothing."""

    exit_code = 1


class CheckFailedError(PipelineError):
    """A check of the pipeline found a problem: the model is rejected, the batch is stopped."""


class InputError(PipelineError):
    """A person's input is wrong: each problem names file, key or column, and what is accepted."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@contextlib.contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """An input error inside ends the block, not the command: its problems go to the list."""
    try:
        yield
    except InputError as error:
        problems += error.problems


_DAMAGED = "the log of a Delta table is damaged: {cause}; restore its files, or delete the table and run again"
_FAULTS = {
    "database is locked": "MLflow's database is locked ({cause}); end the process that holds it, or try again",
    "DELTA_CANNOT_CREATE_LOG_PATH": "the folder of a Delta table can't be written: {cause}",
    "Permission denied": "{cause}; see who owns the file or folder",
    "Checksum error": _DAMAGED,
    "DELTA_LOG_FILE_NOT_FOUND": _DAMAGED,
    "DELTA_STATE_RECOVER_ERROR": _DAMAGED,
    "DELTA_TABLE_NOT_FOUND": _DAMAGED,
    "DELTA_VERSIONS_NOT_CONTIGUOUS": _DAMAGED,
    "/_delta_log/": _DAMAGED,
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


def printable(text: str) -> str:
    """The text in one line; characters that a terminal obeys or hides are escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in " ".join(text.splitlines()))


def cause(error: BaseException) -> str:
    """What an error is about, in one line; Spark's go on with a whole stack, whose end is the most useful."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Traceback (most recent call last):" in str(error):
        raised = [line.strip() for line in lines if re.match(r"\s*[\w.]+(Error|Exception)\b", line)]
        lines = raised[-1:] or lines
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return re.sub(r"^Caused by: [\w.$]+: ", "", causes[-1]) if causes else lines[0]
