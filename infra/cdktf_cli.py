"""Calls cdktf for a stack, and prints the errors of Terraform and of the synthesis at the end, where a person looks.

cdktf prints them between its own progress, or loses them as it closes Terraform's terminal; it ends with an exit code.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from infra import terraform
from infra.environment import environment
from infra.review import lock
from ml_pipeline.errors import InputError, PipelineError, printable
from ml_pipeline.settings.files import full_name

_FILES = Path("environments")
_ERRORS = "ML_PIPELINE_ERRORS"
_SHIM = f"""#!/bin/sh
trap '' HUP
test -e "${_ERRORS}.interrupted" && exit 1
echo $$ >> "${_ERRORS}.processes"
exec "${terraform.PROGRAM}" "$@" 2>> "${_ERRORS}"
"""
"""cdktf calls this instead of Terraform; it calls Terraform with its errors redirected to a file.

It keeps the process ids, because an interruption must reach Terraform itself: each call has a terminal of its own.
cdktf closes that terminal when it ends, and Terraform would end at once, with its lock left. After an interruption,
cdktf may still call Terraform for the next step, which then doesn't begin.
"""
_PAUSE = 0.1
"""Seconds between two looks at whether Terraform has ended."""
_WARNING = re.compile(
    r"(?:There are some problems with the CLI configuration:\n+)?╷\n│ (?:\x1b\[[\d;]*m)*Warning: .*?╵\S*\n?", re.DOTALL
)


def run(verb: str, stack: str, options: Sequence[str]) -> int:
    """Let cdktf deploy, destroy or compare a stack; returns its exit code.

    Raises:
        InputError: there is no such stack.
    """
    instance = os.environ.get("INSTANCE", "")
    known = {full_name(file.stem, instance): file.stem for file in environment.deployed(_FILES)}
    if stack not in known:
        name = stack.removesuffix(f"-{instance}")
        raise InputError(f"ENV={name}: there is no such environment to deploy; accepted: {', '.join(known.values())}")
    lock.begin(stack)
    with tempfile.TemporaryDirectory(prefix="cdktf-") as folder:
        errors, shim = Path(folder, "errors"), Path(folder, "terraform")
        shim.write_text(_SHIM, encoding="utf-8")
        shim.chmod(0o700)
        shell = {
            **os.environ,
            **terraform.QUIET,
            **({} if sys.stdout.isatty() else terraform.STILL),
            # Another deployment may hold the lock for some minutes.
            **{f"TF_CLI_ARGS_{command}": "-lock-timeout=10m" for command in ("plan", "apply", "destroy")},
            "TERRAFORM_BINARY_NAME": str(shim),
            terraform.PROGRAM: terraform.program(),
            _ERRORS: str(errors),
        }
        code = _call(["npx", "--no-install", "cdktf", verb, stack, *options], shell, errors)
        message = without_warnings(errors.read_text(encoding="utf-8", errors="replace")) if errors.exists() else ""
    if message:
        print(f"\n{verb} {stack}:\n{message}", file=sys.stderr)
    return code


@contextlib.contextmanager
def repeated_at_the_end() -> Iterator[None]:
    """Let the call of cdktf that this runs in, if any, print an error once more at its end."""
    try:
        yield
    except (PipelineError, OSError) as error:
        if file := os.environ.get(_ERRORS):
            problems = error.problems if isinstance(error, InputError) else (str(error),)
            with Path(file).open("a", encoding="utf-8") as errors:
                errors.writelines(f"error: {printable(problem)}\n" for problem in problems)
        raise


def without_warnings(text: str) -> str:
    """What Terraform printed, without its warnings: of one that each call prints, a person sees nothing else."""
    return _WARNING.sub("", text).strip()


def _call(command: list[str], shell: dict[str, str], errors: Path) -> int:
    """Run cdktf. If this process is interrupted, Terraform ends what it began, and this process waits for it."""
    started: list[subprocess.Popen[bytes]] = []

    def interrupt() -> None:
        errors.with_name(f"{errors.name}.interrupted").touch()
        running = _terraform(errors)
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            for process in running:
                process.send_signal(signal.SIGINT)
            if not running:
                # It synthesizes, or is about to call Terraform, which the file prevents.
                for each in started:
                    os.killpg(each.pid, signal.SIGINT)

    with terraform.passed_on(interrupt):
        try:
            # In a session of its own: a Ctrl-C of the terminal would end cdktf before Terraform.
            with subprocess.Popen(command, env=shell, start_new_session=True) as process:
                started.append(process)
                code = process.wait()
        finally:
            while errors.with_name(f"{errors.name}.interrupted").exists() and (
                _terraform(errors) or any(_group(process.pid) for process in started)
            ):
                time.sleep(_PAUSE)
    return code


def _terraform(errors: Path) -> list[psutil.Process]:
    """Each call of Terraform by cdktf that has not ended."""
    file = errors.with_name(f"{errors.name}.processes")
    processes = file.read_text(encoding="utf-8").split() if file.exists() else []
    return [process for number in processes if (process := _alive(int(number)))]


def _group(leader: int) -> list[psutil.Process]:
    """What is left of the processes that cdktf started, such as the synthesis."""
    found = []
    for number in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(number) == leader and (process := _alive(number)):
                found.append(process)
    return found


def _alive(number: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(number)
        if process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
