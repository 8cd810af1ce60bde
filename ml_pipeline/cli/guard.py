"""How a command of the project ends: with an exit code, and one message if something went wrong.

Standard library only: some jobs of the workflows install nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from ml_pipeline import errors
from ml_pipeline.errors import InputError, PipelineError

_UNEXPECTED = 70
"""Exit code of a failure of the program itself (sysexits.h: EX_SOFTWARE)."""


def guarded(command: Callable[[], Any], *, verbose: bool = False, faults: tuple[type[Exception], ...] = ()) -> int:
    """Run a command; a failure becomes one message on stderr.

    Args:
        command: Returns its exit code, or something false for 0.
        verbose: Whether to show the traceback of a failure, and what libraries warn of.
        faults: Errors that explain themselves, beside the project's own; their exit code is 1.

    Returns:
        The exit code: 0, 1 for a failed check, 2 for wrong input, 130 (SIGINT), 143 (SIGTERM), 70 for anything else.
    """
    quieten(verbose=verbose)
    try:
        with _terminable():
            return int(command() or 0)
    except _Terminated:
        print("terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except faults as error:
        return explain(PipelineError(str(error)), verbose=verbose)
    except Exception as error:
        return explain(error, verbose=verbose)


def quieten(*, verbose: bool) -> None:
    """Hide warnings of libraries that nobody who runs a command can act on; they bury the error line.

    Args:
        verbose: Show them all.
    """
    # MLflow reads the variable when it is imported, and then sets the level of its logger.
    level = os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING" if verbose else "ERROR")
    logging.getLogger("mlflow").setLevel(level.upper())
    if verbose or sys.warnoptions:
        return
    warnings.simplefilter("ignore", FutureWarning)
    # Its warning: the first plot on a machine takes longer.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    # A plot draws a box for a character that its font lacks. The report's text and tables show the character.
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from", category=UserWarning)


class _Terminated(BaseException):
    """SIGTERM: what is open is closed, as after Ctrl-C."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    def terminate(*_: object) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def explain(error: Exception, *, verbose: bool, where: str = "", report: str = "") -> int:
    """Print an error, a line for each problem, and the traceback only on request; return its exit code.

    Args:
        error: The error.
        verbose: Whether to print the traceback.
        where: The file or the setting that the error is about.
        report: The file that shows the details.
    """
    if verbose:
        traceback.print_exception(error)
    error = errors.explain(error) or error
    known = isinstance(error, PipelineError)
    message = str(error) if known else f"{type(error).__name__}: {errors.cause(error)}"
    hint = "" if known or verbose else " (--verbose shows the traceback)"
    hint += f"; report: {report}" if report else ""
    for problem in error.problems if isinstance(error, InputError) else (message,):
        print(f"error: {where}{errors.printable(problem)}{hint}", file=sys.stderr, flush=True)
    return error.exit_code if isinstance(error, PipelineError) else _UNEXPECTED


def tell(made: Mapping[str, str]) -> None:
    """Print what a command made."""
    for name, what in made.items():
        print(f"{name}: {what}")
