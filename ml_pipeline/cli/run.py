"""The commands on jobs: run and jobs on this machine, launch in a workspace; ui shows what ran here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ml_pipeline.cli import options, results
from ml_pipeline.cli.console import console
from ml_pipeline.data import session
from ml_pipeline.errors import InputError, collecting
from ml_pipeline.graph import Job
from ml_pipeline.local import runner


@click.command("run")
@click.argument("names", nargs=-1, metavar="[NAME|FILE] [JOB ...]")
@options.PARAMETERS
@options.ENVIRONMENT
@options.STATE
@options.VERBOSE
def run_jobs(names: Sequence[str], parameters: tuple[str, ...], environment: str | None, state: Path) -> int:
    """Run the jobs of a pipeline in dependency order, or only the named ones.

    NAME is a folder in ml_pipeline/pipelines/, FILE a pipeline file anywhere; without either, it is the pipeline
    that the environment names, or the only one.
    """
    chosen, selected = options.selected(names, environment)
    given = options.key_values(parameters)
    folder = options.state_folder(state)
    shown = console()
    try:
        with chosen.placing():
            runs = runner.run(
                selected,
                parameters=given,
                defaults=runner.git_parameters(),
                follow=results.Follower(shown),
                declared=chosen.jobs,
            )
        # Spark ends while the report is written.
        threading.Thread(target=session.close, daemon=True).start()
        return results.report(shown, chosen, runs, folder)
    finally:
        session.close()


_NOTE = re.compile(r"INFO\b|\[[^]]+\] \[\d+\] \[INFO\]|\S+ \S+ (INFO|WARNING) \S+: ")
"""How notes of Alembic, of the web servers and of MLflow begin."""


@click.command("ui")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@options.STATE
@options.VERBOSE
def open_ui(port: int, state: Path) -> int:
    """Serve MLflow's pages for the runs and models of the state folder."""
    from ml_pipeline.registry import tracking

    uri = tracking.local_uri(options.state_folder(state))
    click.echo(f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    # Looking at runs needs none of the job workers that recent releases start beside the server, and leave behind.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Each of the four processes that serve otherwise imports MLflow for itself; one person needs one.
    return _serve([*command, "--host", "127.0.0.1", "--workers", "1"], environment)


def _serve(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends, and print its output without notes about migrations and its start."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as server:
        assert server.stdout is not None
        try:
            for line in server.stdout:
                if not _NOTE.match(line):
                    click.echo(line, nl=False, err=True)
        except BaseException:
            server.terminate()
            raise
    return server.returncode


@click.command("check")
@click.argument("name", required=False, default="", metavar="[NAME|FILE]")
@click.option(
    "--environment",
    "environments",
    multiple=True,
    metavar="NAME|FILE",
    help="Environment: a file's name in environments/, or its path; may be repeated.  [default: local]",
)
@options.STATE
@options.VERBOSE
def check_settings(name: str, environments: Sequence[str], state: Path) -> None:
    """Check the settings of a pipeline and report all problems, without running anything.

    Reports all problems it finds in the files, the estimator and its parameters, the metric, and, if the environment is
    this machine, in the source and its columns.
    """
    os.environ["ML_PIPELINE_STATE"] = str(state.resolve())
    problems: list[str] = []
    for environment in environments or (None,):
        with collecting(problems):
            chosen = options.Chosen(name, environment)
            chosen.check(chosen.jobs)
            click.echo(f"{chosen.file}{f' in {chosen.environment}' if chosen.environment else ''}: no problem found")
    if problems:
        raise InputError(*dict.fromkeys(problems))


@click.command("jobs")
@click.argument("names", nargs=-1, metavar="[NAME|FILE] [JOB ...]")
@options.ENVIRONMENT
@options.VERBOSE
def show_jobs(names: Sequence[str], environment: str | None) -> None:
    """Show the declared jobs, their parameters, and the run-task command of each task."""
    chosen, selected = options.selected(names, environment)
    chosen.check(selected)
    for job in selected:
        _show(job)


def _show(job: Job) -> None:
    after = f" (after {', '.join(job.depends_on)})" if job.depends_on else ""
    click.echo(f"{job.name}{after}: {job.description}")
    for parameter in job.parameters:
        click.echo(f"  --parameter {parameter.name}={parameter.default}  {parameter.description}")
    for task in job.tasks:
        when = ", if one failed" if task.run_if == "AT_LEAST_ONE_FAILED" else ""
        after = f" (after {', '.join(task.depends_on)}{when})" if task.depends_on else ""
        does = f"runs the job {task.run_job}" if task.run_job else f"run-task --entry-point={task.entry_point}"
        click.echo(f"  {task.name}{after}: {does}")
        for name, value in task.parameters.items():
            click.echo(f"    {'--parameter ' if task.run_job else '--'}{name}={value}")
    click.echo()


@click.command("launch")
@click.argument("name", metavar="JOB")
@options.INSTANCE
@options.PARAMETERS
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
    chosen.check([job])
    built = one_time_run.find_wheel(wheel) if as_run_submit else None
    assert chosen.environment is not None, "an environment that is named has a file"
    chosen.check_deployed(chosen.environment)
    launcher = Launcher(chosen.environment, console())
    job_id = launcher.find(instance=instance, job=job.name)
    if built is None:
        start = launcher.deployed(job_id, values)
    else:
        start = launcher.one_time(job_id, values, wheel=built, cluster=existing_cluster)
    return launcher.watch(start, job=job.name, wait=not no_wait)


COMMANDS = (run_jobs, check_settings, show_jobs, launch_job, open_ui)
