"""``ml-pipeline``, which a person calls."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from ml_pipeline.cli import init, models, run
from ml_pipeline.cli.guard import guarded
from ml_pipeline.local import warm_up


@click.group(
    commands=(*init.COMMANDS, *run.COMMANDS, *models.COMMANDS), context_settings={"help_option_names": ["-h", "--help"]}
)
def cli() -> None:
    """The machine-learning flow on this machine: real Spark, Delta and MLflow."""


def _run() -> Any:
    try:
        return cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return 2


def main() -> None:
    """Run the command line; a person's mistake ends with one message and exit code 2."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    code = guarded(_run, verbose="--verbose" in sys.argv[1:])
    warm_up.skip_last_collection()
    sys.exit(code)
