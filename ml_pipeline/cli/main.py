"""``ml-pipeline``, which a person calls, and ``run-task``, which Databricks calls."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_pipeline import entry_point, errors, jobs
from ml_pipeline.data import session, tables
from ml_pipeline.errors import InputError, PipelineError
from ml_pipeline.graph import Job
from ml_pipeline.local import runner
from ml_pipeline.settings import files

if TYPE_CHECKING:
    from ml_pipeline.registry import transfer

_FOLDER = Path("environments")
_DEFAULT_STATE = Path(".state")
_UNEXPECTED = 70
"""Exit code of a failure that is no check's and no person's (sysexits.h: EX_SOFTWARE)."""


def run_task_main() -> None:
    """Run one step. On Databricks a failure is raised, since the exit code of a wheel task is not looked at."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        _tell(entry_point.parse(sys.argv[1:])())
        return
    arguments = [argument for argument in sys.argv[1:] if argument != "--verbose"]
    sys.exit(_guarded(lambda: _tell(_run_task(arguments)), verbose="--verbose" in sys.argv[1:]))


def _run_task(arguments: Sequence[str]) -> dict[str, str]:
    try:
        return entry_point.parse(arguments)()
    finally:
        session.close()


def _tell(made: dict[str, str]) -> None:
    for name, what in made.items():
        print(f"{name}: {what}")


def main() -> None:
    """Run the command line; a person's mistake ends with one message and exit code 2."""
    verbose = "--verbose" in sys.argv[1:]
    code = _guarded(lambda: cli.main(standalone_mode=False) or 0, verbose=verbose)
    # As it ends, Python would look for garbage in all that was imported: most of a second, for nothing.
    gc.freeze()
    sys.exit(code)


def _guarded(command: Callable[[], Any], *, verbose: bool) -> int:
    if not (verbose or sys.warnoptions):
        # What libraries will change is news to us; a person can do nothing about it, and it buries the error line.
        warnings.simplefilter("ignore", FutureWarning)
    try:
        return int(command() or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        return _explain(error, verbose=verbose)


def _explain(error: Exception, *, verbose: bool, where: str = "") -> int:
    """Say what went wrong in one line; the traceback only on request."""
    if verbose:
        traceback.print_exception(error)
    known = isinstance(error, PipelineError)
    message = str(error) if known else f"{type(error).__name__}: {errors.cause(error)}"
    hint = "" if known or verbose else " (--verbose shows the traceback)"
    print(f"error: {where}{message}{hint}", file=sys.stderr, flush=True)
    return error.exit_code if isinstance(error, PipelineError) else _UNEXPECTED


class _Environment:
    """An environment file, and the jobs that are declared for it."""

    def __init__(self, name: str, *, instance: str = "") -> None:
        self.file = files.find(name, folder=_FOLDER)
        self.settings = files.load(self.file, instance=instance)
        self.full_name = files.full_name(self.file.stem, instance)
        self.jobs = jobs.declare(self.settings)
        self.model = f"{self.settings.schema_name}.{self.settings.model}"


@contextlib.contextmanager
def _tracked(environment: _Environment, *, instance: str, state: Path | None, new: bool = False) -> Iterator[str]:
    """Let everything inside see the runs and models of an environment's workspace, or of a state folder.

    Args:
        environment: The environment; without a workspace it has a state folder.
        instance: The instance, which only a workspace has.
        state: The state folder; where one is given, it is taken instead of the workspace.
        new: Whether it is fine that the workspace has no such experiment.

    Yields:
        The address of the tracking server.
    """
    from ml_pipeline.registry import tracking
    from ml_pipeline.workspace import connection

    if state is not None or "workspace" not in files.read(environment.file):
        if instance:
            raise InputError(
                f"--instance {instance}: a state folder has none; accepted: an environment with the table [workspace],"
                " and no --state"
            )
        yield tracking.local_uri(_state(state or _DEFAULT_STATE))
        return
    where = connection.open_mlflow(environment.file)
    experiment = environment.settings.experiment
    with tracking.faults_of(where):
        if not (new or tracking.has_experiment(experiment)):
            raise InputError(
                f"{where}: has no experiment {experiment}; is {environment.full_name} deployed there?"
                " (--instance chooses an instance)"
            )
        yield where


def _state(state: Path) -> Path:
    """Let everything below use one folder for tables, MLflow and logs."""
    state = state.resolve()
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--state {state}: can't be made: {error.strerror}") from error
    try:
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        raise InputError(f"--state {state}: can't be written to: {error.strerror}") from error
    os.environ["ML_PIPELINE_STATE"] = str(state)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ.pop("MLFLOW_REGISTRY_URI", None)
    return state


_VERBOSE = click.option(
    "--verbose", is_flag=True, expose_value=False, help="Show the traceback of a failure, and what libraries warn of."
)
_STATE = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=_DEFAULT_STATE,
    show_default=True,
    help="Folder for tables, MLflow, logs and the report.",
)
_STATE_IF_GIVEN = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for tables, MLflow, logs and the report; if left out, the environment's workspace, or else .state.",
)
_INSTANCE = click.option(
    "--instance", envvar="INSTANCE", default="", metavar="NAME", show_envvar=True, help="Instance, such as pr-12."
)
_RUN_BY = click.option("--run-by", default="", help="Who asks for it; kept in the trail.")
_ENVIRONMENT = click.option(
    "--environment",
    default="local",
    show_default=True,
    metavar="NAME|FILE",
    help="Environment: a file's name in environments/, or its path.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The machine-learning flow on this machine: real Spark, Delta and MLflow."""


@cli.command("run")
@click.argument("names", nargs=-1, metavar="[JOB ...]")
@click.option("--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="Value of a job parameter.")
@_ENVIRONMENT
@_STATE
@_VERBOSE
def run_jobs(names: tuple[str, ...], parameters: tuple[str, ...], environment: str, state: Path) -> int:
    """Run jobs in dependency order; without a name, all of them in flow order."""
    chosen = _Environment(environment)
    selected = runner.select(chosen.jobs, names)
    given = _key_values(parameters)
    folder = _state(state)
    # A log has no width: a path that is cut there is of no use.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    where = f"{chosen.file}: "
    try:
        runs = runner.run(
            selected,
            parameters=given,
            defaults=runner.git_parameters(),
            follow=_Follower(console),
            declared=chosen.jobs,
        )
        failures = [run for run in runs if run.error]
        verbose = "--verbose" in sys.argv[1:]
        codes = [_explain(run.error, verbose=verbose, where=where) for run in failures if run.error]
        # Spark ends while the report is written.
        threading.Thread(target=session.close, daemon=True).start()
        _summarize(console, chosen, runs, folder)
    except InputError as error:
        raise InputError(f"{where}{error}") from error
    finally:
        session.close()
    return codes[0] if codes else 0


def _key_values(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise InputError(f"--parameter {pair}: accepted: KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


class _Follower:
    """Shows each task as it runs: a line when it ends, and on a terminal a moving one meanwhile."""

    _COLOURS = {"SUCCESS": "green", "FAILED": "red", "SKIPPED": "yellow", "EXCLUDED": "dim"}  # noqa: RUF012 (a constant)

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")

    def __call__(self, job: str, task: str, run: runner.TaskRun | None) -> None:
        if run is None:
            self._status.update(f"RUNNING {job}.{task}")
            self._status.start()
            return
        self._status.stop()
        state = f"[{self._COLOURS[run.state]}]{run.state:<8}[/]"
        said = f"after {run.because}" if run.because else f"{run.seconds:6.1f} s"
        if run.state == "EXCLUDED":
            said = "nothing failed before it"
        self._console.print(f"{state} {f'{job}.{task}':<24} {said}")


def _summarize(console: Console, environment: _Environment, runs: Sequence[runner.TaskRun], state: Path) -> None:
    from ml_pipeline.registry import tracking
    from ml_pipeline.reports.scorecard import collect, write

    table = Table("what", box=None, pad_edge=False, header_style="bold")
    table.add_column("where", overflow="fold")
    for run in runs:
        for name, what in run.made.items():
            place = f"\n{tables.where(name)}" if name.count(".") == 2 and Path(tables.where(name)).is_dir() else ""
            table.add_row(escape(name), escape(what + place))
    if any(run.job == "training" and run.state != "SKIPPED" for run in runs):
        try:
            scorecard = collect(environment.settings.experiment, environment.model)
        except InputError:
            pass  # No run has finished; the failed task has said why.
        else:
            for written in write(scorecard, state):
                table.add_row("report", escape(str(written)))
    table.add_row("MLflow", escape(f"{tracking.local_uri(state)} (ml-pipeline ui)"))
    console.print()
    console.print(table)


@cli.command("launch")
@click.argument("name", metavar="JOB")
@_INSTANCE
@click.option("--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="Value of a job parameter.")
@click.option("--as-run-submit", is_flag=True, help="Run a wheel once; the deployed job stays as it is.")
@click.option("--existing-cluster", metavar="ID", help="With --as-run-submit: an interactive cluster to run on.")
@click.option(
    "--wheel", type=click.Path(path_type=Path), help="With --as-run-submit: the wheel; the one in dist/ if left out."
)
@click.option("--no-wait", is_flag=True, help="Start the run and leave it.")
@_ENVIRONMENT
@_VERBOSE
def launch_job(
    *,
    name: str,
    instance: str,
    parameters: tuple[str, ...],
    as_run_submit: bool,
    existing_cluster: str | None,
    wheel: Path | None,
    no_wait: bool,
    environment: str,
) -> int:
    """Start a deployed job in its workspace and follow it; Ctrl-C cancels the run."""
    from ml_pipeline.workspace import one_time_run
    from ml_pipeline.workspace.launcher import Launcher, run_parameters

    if not as_run_submit and (existing_cluster or wheel):
        raise InputError("--existing-cluster and --wheel are for a run with --as-run-submit")
    chosen = _Environment(environment)
    (job,) = runner.select(chosen.jobs, [name])
    values = run_parameters(job, _key_values(parameters), runner.git_parameters())
    built = one_time_run.find_wheel(wheel) if as_run_submit else None
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    launcher = Launcher(chosen.file, console)
    job_id = launcher.find(environment=chosen.file.stem, instance=instance, job=job.name)
    if built is None:
        start = launcher.deployed(job_id, values)
    else:
        start = launcher.one_time(job_id, values, wheel=built, cluster=existing_cluster)
    return launcher.watch(start, job=job.name, wait=not no_wait)


@cli.command("report")
@click.option("--run-id", help="MLflow run; the newest finished one if left out.")
@click.option("--commit", metavar="SHA", help="The newest finished run of a commit.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; the state folder if left out.",
)
@_INSTANCE
@_ENVIRONMENT
@_STATE_IF_GIVEN
@_VERBOSE
def write_report(
    *, run_id: str | None, commit: str | None, output: Path | None, instance: str, environment: str, state: Path | None
) -> None:
    """Write report.md and report.html for a training run."""
    from ml_pipeline.reports.scorecard import collect, write

    if run_id and commit:
        raise InputError("--run-id and --commit: accepted: one of the two")
    chosen = _Environment(environment, instance=instance)
    with _tracked(chosen, instance=instance, state=state):
        scorecard = collect(chosen.settings.experiment, chosen.model, run_id=run_id, commit=commit)
    for written in write(scorecard, output or state or _DEFAULT_STATE):
        click.echo(written)


@cli.command("rollback")
@_RUN_BY
@_INSTANCE
@_ENVIRONMENT
@_STATE_IF_GIVEN
@_VERBOSE
def roll_back(*, run_by: str, instance: str, environment: str, state: Path | None) -> None:
    """Make the version that the champion replaced the champion again."""
    from ml_pipeline.registry import champion as champion_alias

    chosen = _Environment(environment, instance=instance)
    with _tracked(chosen, instance=instance, state=state):
        _tell(champion_alias.rollback(model=chosen.model, run_by=run_by))


_ALIAS = click.Choice(["champion", "challenger"])


@cli.command("export-model")
@click.option("--commit", metavar="SHA", help="Of which the run is taken that passed the CI.")
@click.option("--alias", type=_ALIAS, help="Instead of a commit: whose version is taken.")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write; a new one."
)
@click.option("--if-any", is_flag=True, help="Write nothing, and say so, where there is none.")
@_INSTANCE
@_ENVIRONMENT
@_STATE_IF_GIVEN
@_VERBOSE
def write_model(
    *,
    commit: str | None,
    alias: transfer.Alias | None,
    output: Path,
    if_any: bool,
    instance: str,
    environment: str,
    state: Path | None,
) -> None:
    """Write the run of a model, with all that was logged, into a folder that import-model reads."""
    from ml_pipeline.registry import transfer

    if bool(commit) == bool(alias):
        raise InputError("--commit and --alias: accepted: exactly one of the two")
    chosen = _Environment(environment, instance=instance)
    with _tracked(chosen, instance=instance, state=state, new=if_any) as where:
        made = transfer.export_model(
            output,
            experiment=chosen.settings.experiment,
            model=chosen.model,
            environment=chosen.full_name,
            where=where,
            commit=commit,
            alias=alias,
            if_any=if_any,
        )
    _tell(made)


@cli.command("import-model")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--as", "become", type=_ALIAS, help="Register it, and give it this alias.")
@click.option("--as-commit", metavar="SHA", help="Commit that the run is of here; its own is kept in a tag.")
@_RUN_BY
@_INSTANCE
@_ENVIRONMENT
@_STATE_IF_GIVEN
@_VERBOSE
def read_model(
    *,
    folder: Path,
    become: transfer.Alias | None,
    as_commit: str | None,
    run_by: str,
    instance: str,
    environment: str,
    state: Path | None,
) -> None:
    """Make the run of a model that export-model wrote, once, in another environment."""
    from ml_pipeline.registry import transfer

    chosen = _Environment(environment, instance=instance)
    with _tracked(chosen, instance=instance, state=state):
        made = transfer.import_model(
            folder,
            experiment=chosen.settings.experiment,
            model=chosen.model,
            become=become,
            commit=as_commit,
            run_by=run_by,
        )
    _tell(made)


@cli.command("ui")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@_STATE
@_VERBOSE
def open_ui(port: int, state: Path) -> int:
    """Open MLflow on the runs and models of the state folder, on this machine only."""
    from ml_pipeline.registry import tracking

    uri = tracking.local_uri(_state(state))
    click.echo(f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    # Looking at runs needs none of the job workers that recent releases start beside the server, and leave behind.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.run([*command, "--host", "127.0.0.1"], env=environment, check=False).returncode


@cli.command("jobs")
@click.argument("names", nargs=-1, metavar="[JOB ...]")
@_ENVIRONMENT
@_VERBOSE
def show_jobs(names: tuple[str, ...], environment: str) -> None:
    """Show the declared jobs: their tasks, parameters, and the run-task command of each task."""
    for job in runner.select(_Environment(environment).jobs, names):
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


logging.getLogger("mlflow").setLevel(logging.WARNING)
