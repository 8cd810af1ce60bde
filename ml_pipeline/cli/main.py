"""``ml-pipeline``, which a person calls."""

from __future__ import annotations

import sys
from typing import Any

import click

from ml_pipeline.cli import init, models, run
from ml_pipeline.cli.guard import guarded
from ml_pipeline.local import warm_up

_GROUPS = {
    "On this machine": ("init", "check", "jobs", "run", "ui"),
    "In a workspace": ("launch",),
    "On this machine, or in the workspace of --environment": ("report", "rollback", "export-model", "import-model"),
}
"""The commands by the place where they work, in the order in which a person needs them."""


class _Program(click.Group):
    """Shows the commands in groups, each with its whole first sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in _GROUPS.items():
            with formatter.section(title):
                texts = {name: self.commands[name].get_short_help_str(limit=1000) for name in names}
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in texts.items()])


@click.group(
    cls=_Program,
    commands=(*init.COMMANDS, *run.COMMANDS, *models.COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"]},
)
def cli() -> None:
    """Train, compare, promote and monitor models, on this machine or on Databricks.

    A run on this machine uses the same Spark, Delta and MLflow as a Databricks job.
    """


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
    code = guarded(_run, verbose="--verbose" in sys.argv[1:])
    warm_up.skip_last_collection()
    sys.exit(code)
