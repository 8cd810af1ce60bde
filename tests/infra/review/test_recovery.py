"""What an interrupted deployment made is found by name, marks and creator; what anybody else made is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from databricks.sdk import errors
from databricks.sdk.errors import NotFound, PermissionDenied

from infra import caller, synthesis
from infra.review import leftovers, recovery
from ml_pipeline.errors import InputError

ME = "me@example.com"
MARKS = {"project": "churn", "environment": "dev", "instance": "pr-1"}
STACK: dict[str, Any] = {
    "provider": {"databricks": [{"host": "https://dev.example.com"}]},
    "resource": {
        "databricks_directory": {"folder": {"path": "/Shared/dev"}},
        "databricks_instance_pool": {"pool": {"instance_pool_name": "dev", "custom_tags": MARKS}},
        "databricks_job": {"train": {"name": "dev-train", "tags": {**MARKS, "commit": "new"}}},
        "databricks_mlflow_experiment": {"runs": {"name": "/Shared/dev/iris"}},
        "databricks_registered_model": {
            "model": {"catalog_name": "dev", "schema_name": "${databricks_schema.all.name}", "name": "model"}
        },
        "databricks_schema": {"all": {"catalog_name": "dev", "name": "iris", "comment": "of dev-pr-1"}},
        "databricks_volume": {
            "files": {"catalog_name": "dev", "schema_name": "${databricks_schema.all.name}", "name": "files"}
        },
    },
}
ALL = {
    "databricks_instance_pool.pool": "pool-1",
    "databricks_job.train": "1",
    "databricks_mlflow_experiment.runs": "7",
    "databricks_registered_model.model": "dev.iris.model",
    "databricks_schema.all": "dev.iris",
    "databricks_volume.files": "dev.iris.files",
}
IN_SCHEMA = ("databricks_schema.all", "databricks_volume.files", "databricks_registered_model.model")


def job(number: int) -> Any:
    settings = SimpleNamespace(name="dev-train", tags={**MARKS, "commit": "old"})
    return SimpleNamespace(job_id=number, creator_user_name=ME, settings=settings)


class Workspace:
    """A workspace that holds all that the stack declares, as an earlier deployment made it."""

    def __init__(self) -> None:
        def securable(name: str, comment: str | None = None) -> Any:
            return SimpleNamespace(full_name=name, comment=comment, created_by=ME)

        self.me = SimpleNamespace(user_name=ME, id="42")
        self.schema = securable("dev.iris", "of dev-pr-1")
        self.volume, self.model = securable("dev.iris.files"), securable("dev.iris.model")
        self.experiment = SimpleNamespace(experiment_id="7", lifecycle_stage="active", tags=None)
        self.pool = SimpleNamespace(
            instance_pool_id="pool-1",
            instance_pool_name="dev",
            custom_tags=dict(MARKS),
            default_tags={"DatabricksInstancePoolCreatorId": "42"},
        )
        self.job_list = [job(1)]
        self.files: list[str] = ["iris"]
        self.repos: list[Any] = []
        self.levels: dict[str, bool] = {}
        """Who may manage a Git folder, and whether that is inherited."""

    def connect(self, _provider: Any) -> Any:
        def held(path: str, found: Callable[[], Any]) -> Callable[[str], Any]:
            def get(name: str) -> Any:
                if name != path or found() is None:
                    raise NotFound(name)
                return found()

            return get

        experiment = held("/Shared/dev/iris", lambda: self.experiment)
        return SimpleNamespace(
            current_user=SimpleNamespace(me=lambda: self.me),
            schemas=SimpleNamespace(get=held("dev.iris", lambda: self.schema)),
            volumes=SimpleNamespace(read=held("dev.iris.files", lambda: self.volume)),
            registered_models=SimpleNamespace(get=held("dev.iris.model", lambda: self.model)),
            experiments=SimpleNamespace(get_by_name=lambda name: SimpleNamespace(experiment=experiment(name))),
            instance_pools=SimpleNamespace(list=lambda: [self.pool]),
            jobs=SimpleNamespace(list=lambda name: [one for one in self.job_list if name == "dev-train"]),
            repos=SimpleNamespace(
                list=lambda path_prefix: [*self.repos] if path_prefix else [],
                get_permissions=lambda _id: self.entries(),
            ),
            workspace=SimpleNamespace(
                get_status=lambda path: SimpleNamespace(path=path), list=lambda _path: iter(self.files)
            ),
        )

    def entries(self) -> Any:
        def entry(name: str, inherited: bool) -> Any:
            levels = [SimpleNamespace(inherited=inherited)]
            return SimpleNamespace(user_name=name, service_principal_name=None, all_permissions=levels)

        return SimpleNamespace(access_control_list=[entry(*level) for level in self.levels.items()])


def test_all_that_this_deployment_made_is_found() -> None:
    assert leftovers.find(STACK, set(), Workspace().connect) == ALL


def test_what_the_state_holds_is_not_looked_for() -> None:
    held = {"databricks_schema.all", "databricks_job.train"}
    found = leftovers.find(STACK, held, Workspace().connect)
    assert found == {address: id_ for address, id_ in ALL.items() if address not in held}


def test_the_workspace_is_not_asked_where_the_state_lacks_nothing() -> None:
    def connect(_provider: Any) -> Any:
        raise AssertionError("asked")

    assert leftovers.find(STACK, set(ALL), connect) == {}


def test_nothing_is_found_where_nothing_is() -> None:
    workspace = Workspace()
    workspace.schema = workspace.volume = workspace.model = workspace.experiment = None  # type: ignore[assignment]
    workspace.job_list, workspace.pool.instance_pool_name = [], "other"
    assert leftovers.find(STACK, set(), workspace.connect) == {}


OTHERS: list[tuple[str, tuple[str, ...], Callable[[Workspace], object]]] = [
    ("comment", IN_SCHEMA, lambda w: vars(w.schema).update(comment="theirs")),
    ("schema's creator", IN_SCHEMA, lambda w: vars(w.schema).update(created_by="other")),
    ("volume's creator", ("databricks_volume.files",), lambda w: vars(w.volume).update(created_by="other")),
    ("model's creator", ("databricks_registered_model.model",), lambda w: vars(w.model).update(created_by="other")),
    (
        "experiment's owner",
        ("databricks_mlflow_experiment.runs",),
        lambda w: vars(w.experiment).update(tags=[SimpleNamespace(key="mlflow.ownerEmail", value="other")]),
    ),
    (
        "deleted experiment",
        ("databricks_mlflow_experiment.runs",),
        lambda w: vars(w.experiment).update(lifecycle_stage="deleted"),
    ),
    ("pool's tag", ("databricks_instance_pool.pool",), lambda w: w.pool.custom_tags.update(environment="prod")),
    ("pool of another project", ("databricks_instance_pool.pool",), lambda w: w.pool.custom_tags.update(project="b")),
    ("pool without a project", ("databricks_instance_pool.pool",), lambda w: w.pool.custom_tags.pop("project")),
    ("pool's creator", ("databricks_instance_pool.pool",), lambda w: w.pool.default_tags.clear()),
    ("job's tag", ("databricks_job.train",), lambda w: w.job_list[0].settings.tags.pop("instance")),
    ("job without tags", ("databricks_job.train",), lambda w: vars(w.job_list[0].settings).update(tags=None)),
    ("job's name", ("databricks_job.train",), lambda w: vars(w.job_list[0].settings).update(name="DEV-train")),
    ("job's creator", ("databricks_job.train",), lambda w: vars(w.job_list[0]).update(creator_user_name="other")),
]


@pytest.mark.parametrize(("left", "change"), [other[1:] for other in OTHERS], ids=[other[0] for other in OTHERS])
def test_what_differs_in_a_mark_or_in_who_made_it_is_left_alone(
    left: tuple[str, ...], change: Callable[[Workspace], object]
) -> None:
    workspace = Workspace()
    change(workspace)
    found = leftovers.find(STACK, set(), workspace.connect)
    assert found == {address: id_ for address, id_ in ALL.items() if address not in left}


def test_an_experiment_outside_the_own_folder_is_left_alone() -> None:
    moved = {**STACK["resource"], "databricks_directory": {"folder": {"path": "/Shared/de"}}}
    found = leftovers.find({**STACK, "resource": moved}, set(), Workspace().connect)
    assert "databricks_mlflow_experiment.runs" not in found


def test_two_jobs_that_it_could_be_are_both_named() -> None:
    workspace = Workspace()
    workspace.job_list = [job(1), job(2)]
    with pytest.raises(InputError, match=r"databricks_job\.train: 1, 2 have the name"):
        leftovers.find(STACK, set(), workspace.connect)


@pytest.fixture
def synthesized(tmp_path: Path) -> recovery.Synthesized:
    """The stack, of whose resources the state holds none."""
    (tmp_path / "cdk.tf.json").write_text(json.dumps(STACK))
    return recovery.Synthesized(tmp_path, frozenset())


def test_a_workspace_that_refuses_is_one_message(
    monkeypatch: pytest.MonkeyPatch, synthesized: recovery.Synthesized
) -> None:
    def refuse(_provider: Any) -> Any:
        raise PermissionDenied("not you")

    monkeypatch.setattr(recovery, "opened", lambda _name, **_options: synthesized)
    monkeypatch.setattr(recovery, "_connect", refuse)
    with pytest.raises(InputError, match="an interrupted deployment of dev left: not you"):
        recovery.transfer("dev")


def test_no_credentials_are_one_message(monkeypatch: pytest.MonkeyPatch, synthesized: recovery.Synthesized) -> None:
    monkeypatch.setattr(recovery, "opened", lambda _name, **_options: synthesized)
    nobody = {"profile": "NONE", "host": "http://127.0.0.1:9", "config_file": "/nowhere"}
    stack = {**STACK, "provider": {"databricks": [nobody]}}
    (synthesized.folder / "cdk.tf.json").write_text(json.dumps(stack))
    with pytest.raises(InputError, match="an interrupted deployment of dev left: "):
        recovery.take_over("dev")


FOLDER = "databricks_directory.folder"


def test_a_folder_is_of_this_deployment_where_something_else_is() -> None:
    assert leftovers.find(STACK, set(), Workspace().connect, folder=True) == {**ALL, FOLDER: "/Shared/dev"}


@pytest.mark.parametrize(("content", "found"), [([], {FOLDER: "/Shared/dev"}), (["theirs"], {})])
def test_a_folder_alone_is_of_this_deployment_where_it_is_empty(content: list[str], found: dict[str, str]) -> None:
    workspace = Workspace()
    workspace.files = content
    stack = {**STACK, "resource": {"databricks_directory": STACK["resource"]["databricks_directory"]}}
    assert leftovers.find(stack, set(), workspace.connect, folder=True) == found


GIT = {"path": "/Repos/ml/iris", "url": "https://example.com/iris.git"}


@pytest.mark.parametrize(
    ("repo", "levels", "found"),
    [
        (GIT, {ME: False}, {"databricks_repo.git-folder": "9"}),
        ({**GIT, "url": "https://example.com/other.git"}, {ME: False}, {}),
        ({**GIT, "path": "/Repos/ml/iris2"}, {ME: False}, {}),
        (GIT, {"other@example.com": False, ME: True}, {}),
    ],
    ids=["made by this deployment", "of another repository", "at another path", "somebody else's"],
)
def test_a_git_folder_is_of_whoever_may_manage_it_by_its_own_entry(
    repo: dict[str, str], levels: dict[str, bool], found: dict[str, str]
) -> None:
    workspace = Workspace()
    workspace.repos, workspace.levels = [SimpleNamespace(id=9, **repo)], levels
    stack = {**STACK, "resource": {"databricks_repo": {"git-folder": GIT}}}
    assert leftovers.find(stack, set(), workspace.connect) == found


def test_a_workspace_that_knows_nothing_of_a_thing_holds_none() -> None:
    def unknown(**_arguments: Any) -> Any:
        raise errors.NotImplemented("no such endpoint")

    client = Workspace().connect(None)
    client.jobs.list = client.instance_pools.list = unknown
    found = leftovers.find(STACK, set(), lambda _provider: client)
    assert found == {a: i for a, i in ALL.items() if a not in {"databricks_job.train", "databricks_instance_pool.pool"}}


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (
            ["node", "/p/node_modules/.bin/cdktf", "deploy", "dev", "--auto-approve"],
            ("deploy", "dev", "--auto-approve"),
        ),
        (["/usr/bin/nodejs", "--no-warnings", "/p/cdktf", "synth"], ("synth",)),
        (["sh", "-c", "'cdktf' deploy dev"], ()),
        (["make", "-C", "cdktf", "deploy"], ()),
        ([], ()),
    ],
)
def test_a_command_of_cdktf_is_told_from_other_programs(line: list[str], arguments: tuple[str, ...]) -> None:
    assert caller._arguments(line) == arguments


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("deploy", "dev", "--auto-approve"), ["dev"]),
        (("deploy", "--parallelism", "4", "staging", "dev"), ["dev", "staging"]),
        (("destroy", "*"), ["dev", "staging", "prod"]),
        (("deploy",), []),
        (("deploy", "other"), []),
    ],
)
def test_the_stacks_of_a_command_are_told_from_its_options(given: tuple[str, ...], found: list[str]) -> None:
    assert caller.named(given, ["dev", "staging", "prod"]) == found


def test_without_a_name_the_only_stack_is_meant() -> None:
    assert caller.named(("deploy", "--auto-approve"), ["dev"]) == ["dev"]


@pytest.mark.parametrize("verb", ["synth", "list", "output", ""])
def test_what_does_not_plan_asks_no_workspace(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_arguments: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(caller, "command", lambda: (verb, "dev"))
    monkeypatch.setattr(recovery, "opened", ask)
    assert synthesis._transfers(["dev"]) == {}


@pytest.mark.parametrize(("verb", "mends"), [("deploy", True), ("apply", True), ("diff", False), ("plan", False)])
def test_what_plans_shows_what_a_deployment_would_do_and_changes_no_state(
    verb: str, mends: bool, monkeypatch: pytest.MonkeyPatch, synthesized: recovery.Synthesized
) -> None:
    opened = []

    def open_(name: str, *, mend: bool) -> recovery.Synthesized:
        opened.append((name, mend))
        return synthesized

    monkeypatch.setattr(caller, "command", lambda: (verb, "dev"))
    monkeypatch.setattr(recovery, "opened", open_)
    monkeypatch.setattr(recovery, "_connect", Workspace().connect)
    assert synthesis._transfers(["dev", "prod"]) == {"dev": recovery.Transfer(imported=ALL, forgotten=[])}
    assert opened == [("dev", mends)]


def test_earlier_wheels_and_grants_are_forgotten_and_no_other_resource(tmp_path: Path) -> None:
    declared: dict[str, Any] = {"databricks_workspace_file": {"wheel-new": {}}, "databricks_job": {"train": {}}}
    (tmp_path / "cdk.tf.json").write_text(json.dumps({"resource": declared}))
    files = [f"databricks_workspace_file.wheel-{name}" for name in ("new", "older", "old")]
    stack = recovery.Synthesized(
        tmp_path, frozenset([*files, "databricks_job.gone", "databricks_grants.all", "databricks_grant.x"])
    )
    assert recovery._earlier(stack) == [
        "databricks_grants.all",
        "databricks_workspace_file.wheel-old",
        "databricks_workspace_file.wheel-older",
    ]
