"""What the commands share: options, the environment they are for, and where its runs and models are."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ml_pipeline import jobs
from ml_pipeline.errors import InputError, collecting
from ml_pipeline.graph import Job
from ml_pipeline.local import plan, runner, warm_up
from ml_pipeline.settings import environment as environments
from ml_pipeline.settings import files
from ml_pipeline.settings.layers import Layer, origin

_LOCAL = Path("environments/local.toml")
DEFAULT_STATE = Path(".state")


class Chosen:
    """A pipeline in an environment, and the jobs that are declared for it.

    Pipeline and environment are names or files (``files.find_pipeline``); without an environment it is the local one,
    which need not have a file. A state folder takes the place of the environment's workspace.
    """

    def __init__(
        self, pipeline: str, environment: str | None, *, instance: str = "", state: Path | None = None
    ) -> None:
        here = environment is None and not _LOCAL.exists()
        self.environment = None if here else files.find(environment or _LOCAL.stem, folder=_LOCAL.parent)
        self.file = files.find_pipeline(pipeline, self.environment)
        # The classes of a pipeline in the package are imported from the wheel, as they are on Databricks.
        if self.file not in files.pipelines().values():
            warm_up.import_beside(self.file)
        problems: list[str] = []
        if self.environment:
            with collecting(problems):
                environments.check(self.environment, self.file if self._is_deployed(self.environment) else None)
        with collecting(problems):
            self.settings = files.load(self.file, self.environment, instance=instance)
        if problems:
            raise InputError(*dict.fromkeys(problems))
        self.full_name = files.full_name((self.environment or _LOCAL).stem, instance)
        self.jobs = jobs.declare(self.settings)
        model = f"{self.settings.schema_name}.{self.settings.model}"
        self.places = {"experiment": self.settings.experiment, "model": model}
        self.state, self._instance = state, instance

    def check_deployed(self, environment: Path) -> None:
        """Whether the environment deploys this pipeline.

        Raises:
            InputError: it deploys another one.
        """
        deployed = files.find_pipeline(environment=environment)
        if deployed.resolve() != self.file.resolve():
            raise InputError(f"--pipeline {self.file}: {environment} deploys another one, {deployed}")

    def _is_deployed(self, environment: Path) -> bool:
        try:
            self.check_deployed(environment)
        except InputError:
            return False
        return True

    def check(self, jobs: Sequence[Job]) -> None:
        """Whether every task of jobs accepts its parameters; for an environment on this machine, the source's too.

        Raises:
            InputError: all that is wrong.
        """
        here = self.environment is None or "workspace" not in files.read(self.environment)
        with self.placing():
            plan.plan(jobs, parameters={}, declared=self.jobs, here=here)

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Inside, an input error names the file that has the key which its message begins with."""
        try:
            yield
        except InputError as error:
            layers = files.layers(self.file, self.environment)
            raise InputError(*(self._placed(layers, problem) for problem in error.problems)) from error

    @staticmethod
    def _placed(layers: Sequence[Layer], problem: str) -> str:
        key = re.match(r"\w+", problem)
        return origin(layers, [key[0]]).place(problem) if key else f"{layers[0].file}: {problem}"

    @contextlib.contextmanager
    def tracked(self, *, new: bool = False) -> Iterator[str]:
        """Let everything inside see the runs and models of the environment's workspace, or of the state folder.

        Yields the address of the tracking server. With ``new``, the workspace may lack the experiment.
        """
        from ml_pipeline.registry import tracking
        from ml_pipeline.workspace import connection

        if self.state is not None or self.environment is None or "workspace" not in files.read(self.environment):
            if self._instance:
                raise InputError(
                    f"--instance {self._instance}: a state folder has none; accepted: an environment with the table"
                    " [workspace], and no --state"
                )
            yield tracking.local_uri(state_folder(self.state or DEFAULT_STATE))
            return
        self.check_deployed(self.environment)
        where, experiment = connection.open_mlflow(self.environment), self.settings.experiment
        with tracking.faults_of(where):
            if not (new or tracking.has_experiment(experiment)):
                raise InputError(
                    f"{where}: has no experiment {experiment}; is {self.full_name} deployed there?"
                    " (--instance chooses an instance)"
                )
            yield where


def state_folder(state: Path) -> Path:
    """Let everything below use one folder for tables, MLflow and logs."""
    state = state.resolve()
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--state {state}: can't be made: {error.strerror}") from error
    from ml_pipeline.registry import tracking

    try:
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        raise InputError(f"--state {state}: can't be written to: {error.strerror}") from error
    tracking.check_place(state)
    os.environ["ML_PIPELINE_STATE"] = str(state)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ.pop("MLFLOW_REGISTRY_URI", None)
    return state


def key_values(pairs: Sequence[str]) -> dict[str, str]:
    """The values of ``--parameter KEY=VALUE``."""
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise InputError(f"--parameter {pair}: accepted: KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


class _Folder(click.Path):
    """The path of a folder; an empty one, as of a variable that is not set, would be the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" and param:
            raise InputError(f"{param.opts[0]}: is empty; expected the path of a folder")
        return super().convert(value, param, ctx)


FOLDER = _Folder()
VERBOSE = click.option(
    "--verbose", is_flag=True, expose_value=False, help="Show the traceback of a failure, and what libraries warn of."
)
STATE = click.option(
    "--state",
    type=FOLDER,
    default=DEFAULT_STATE,
    show_default=True,
    help="Folder for tables, MLflow, logs and the report.",
)
_STATE_IF_GIVEN = click.option(
    "--state",
    type=FOLDER,
    help="Folder for tables, MLflow, logs and the report; if left out, the environment's workspace, or else .state.",
)
PARAMETERS = click.option(
    "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="Value of a job parameter."
)
INSTANCE = click.option(
    "--instance", envvar="INSTANCE", default="", metavar="NAME", show_envvar=True, help="Instance, such as pr-12."
)
RUN_BY = click.option("--run-by", default="", help="Who asks for it; kept in the trail.")
ENVIRONMENT = click.option(
    "--environment",
    metavar="NAME|FILE",
    help="Environment: a file's name in environments/, or its path.  [default: local]",
)
PIPELINE = click.option(
    "--pipeline",
    default="",
    metavar="NAME|FILE",
    help="Pipeline: a folder's name in ml_pipeline/pipelines/, or a file; default: the environment's, or the only one.",
)


def on_runs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command on runs and models its options, and ``chosen``, which is what they choose."""

    @functools.wraps(command)
    def call(*, pipeline: str, environment: str | None, instance: str, state: Path | None, **others: Any) -> None:
        command(chosen=Chosen(pipeline, environment, instance=instance, state=state), **others)

    for option in (VERBOSE, _STATE_IF_GIVEN, ENVIRONMENT, PIPELINE, INSTANCE):
        call = option(call)
    return call


def selected(arguments: Sequence[str], environment: str | None) -> tuple[Chosen, tuple[Job, ...]]:
    """The pipeline and the jobs in ``[NAME|FILE] [JOB ...]``.

    Raises:
        InputError: the first argument is neither, or another one is not a job.
    """
    first = arguments[0] if arguments else ""
    pipeline = first if files.is_pipeline(first) else ""
    chosen = Chosen(pipeline, environment)
    known = [job.name for job in chosen.jobs]
    if first and not pipeline and first not in known:
        pipelines = ", ".join((*files.pipelines(), "a .toml file"))
        raise InputError(f"'{first}' is neither a pipeline nor a job; pipelines: {pipelines}; jobs: {', '.join(known)}")
    return chosen, runner.select(chosen.jobs, arguments[bool(pipeline) :])
