"""The commands on runs and models: report, rollback, export-model and import-model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ml_pipeline.cli import options
from ml_pipeline.cli.guard import tell
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from ml_pipeline.registry import transfer

_ALIAS = click.Choice(["champion", "challenger"])


@click.command("report")
@click.option("--run-id", help="MLflow run; the newest finished one if left out.")
@click.option("--commit", metavar="SHA", help="The newest finished run of a commit.")
@click.option(
    "--output",
    type=options.FOLDER,
    help="Folder to write to; the state folder if left out.",
)
@options.on_runs
def write_report(*, run_id: str | None, commit: str | None, output: Path | None, chosen: options.Chosen) -> None:
    """Write report.md and report.html for a training run."""
    from ml_pipeline.reports.scorecard import collect, write

    if run_id and commit:
        raise InputError("--run-id and --commit: accepted: one of the two")
    with chosen.tracked():
        scorecard = collect(**chosen.places, run_id=run_id, commit=commit)
    for written in write(scorecard, output or chosen.state or options.DEFAULT_STATE):
        click.echo(written)


@click.command("rollback")
@options.RUN_BY
@options.on_runs
def roll_back(*, run_by: str, chosen: options.Chosen) -> None:
    """Restore the champion that the present one replaced."""
    from ml_pipeline.registry import champion as champion_alias

    with chosen.tracked():
        tell(champion_alias.rollback(model=chosen.places["model"], run_by=run_by))


@click.command("export-model")
@click.option("--commit", metavar="SHA", help="Commit whose run passed the CI.")
@click.option("--alias", type=_ALIAS, help="Instead of a commit: whose version is taken.")
@click.option("--output", required=True, type=options.FOLDER, help="Folder to write; a new one.")
@click.option("--if-any", is_flag=True, help="If there is no such run, print that and write nothing.")
@options.on_runs
def write_model(
    *, commit: str | None, alias: transfer.Alias | None, output: Path, if_any: bool, chosen: options.Chosen
) -> None:
    """Write a model and its run into a folder that import-model reads."""
    from ml_pipeline.registry import transfer

    if bool(commit) == bool(alias):
        raise InputError("--commit and --alias: accepted: exactly one of the two")
    with chosen.tracked(new=if_any) as where:
        made = transfer.export_model(
            output,
            **chosen.places,
            environment=chosen.full_name,
            where=where,
            commit=commit,
            alias=alias,
            if_any=if_any,
        )
    tell(made)


@click.command("import-model")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--as", "become", type=_ALIAS, help="Register it, and give it this alias.")
@click.option("--as-commit", metavar="SHA", help="Commit that the run is of here; its own is kept in a tag.")
@options.RUN_BY
@options.on_runs
def read_model(
    *, folder: Path, become: transfer.Alias | None, as_commit: str | None, run_by: str, chosen: options.Chosen
) -> None:
    """Recreate a model and its run, which export-model wrote, in another environment."""
    from ml_pipeline.registry import transfer

    with chosen.tracked():
        made = transfer.import_model(folder, **chosen.places, become=become, commit=as_commit, run_by=run_by)
    tell(made)


COMMANDS = (write_report, roll_back, write_model, read_model)
