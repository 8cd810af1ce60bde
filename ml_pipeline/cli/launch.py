"""``ml-pipeline launch``: a job in its workspace."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from ml_pipeline.cli import options
from ml_pipeline.errors import InputError
from ml_pipeline.local import runner


@click.command("launch")
@click.argument("name", metavar="JOB")
@options.INSTANCE
@click.option("--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="Value of a job parameter.")
@click.option("--as-run-submit", is_flag=True, help="Run a wheel once; the deployed job stays as it is.")
@click.option("--existing-cluster", metavar="ID", help="With --as-run-submit: an interactive cluster to run on.")
@click.option(
    "--wheel", type=click.Path(path_type=Path), help="With --as-run-submit: the wheel; the one in dist/ if left out."
)
@click.option("--no-wait", is_flag=True, help="Start the run and leave it.")
@options.PIPELINE
@options.ENVIRONMENT
@options.VERBOSE
def launch_job(
    *,
    name: str,
    instance: str,
    parameters: tuple[str, ...],
    as_run_submit: bool,
    existing_cluster: str | None,
    wheel: Path | None,
    no_wait: bool,
    pipeline: str,
    environment: str | None,
) -> int:
    """Start a deployed job in its workspace and follow it; Ctrl-C cancels the run."""
    from ml_pipeline.workspace import one_time_run
    from ml_pipeline.workspace.launcher import Launcher, run_parameters

    if not as_run_submit and (existing_cluster or wheel):
        raise InputError("--existing-cluster and --wheel are for a run with --as-run-submit")
    # Unlike a run on this machine, it needs the file.
    chosen = options.Chosen(pipeline, environment or "local")
    (job,) = runner.select(chosen.jobs, [name])
    values = run_parameters(job, options.key_values(parameters), runner.git_parameters())
    built = one_time_run.find_wheel(wheel) if as_run_submit else None
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    assert chosen.environment is not None, "an environment that is named has a file"
    chosen.check_deployed(chosen.environment)
    launcher = Launcher(chosen.environment, console)
    job_id = launcher.find(environment=chosen.environment.stem, instance=instance, job=job.name)
    if built is None:
        start = launcher.deployed(job_id, values)
    else:
        start = launcher.one_time(job_id, values, wheel=built, cluster=existing_cluster)
    return launcher.watch(start, job=job.name, wait=not no_wait)
