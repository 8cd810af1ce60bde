"""The stacks: as they were, by the rules, and fit for the wheel that they deploy."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from databricks.sdk.errors import NotFound
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from infra.environment import environment
from infra.environment.environment import Environment
from infra.review import leftovers
from ml_pipeline import entry_point
from tests.infra import policies
from tests.infra.policies import RULES, Stack

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is missing, on which the framework runs")
ROOT = Path(__file__).parents[2]
FROZEN = ROOT / "tests" / "environments"
"""Files of environments that no team edits, unlike those that ship."""
ENVIRONMENTS = [(name, instance) for name in ("dev", "prod", "rehearsal", "staging") for instance in ("", "pr-123")]
IDS = ["-".join(filter(None, pair)) for pair in ENVIRONMENTS]


SCHEDULERS = [(*pair, engine) for pair in ENVIRONMENTS for engine in ("databricks", "airflow")]
SCHEDULERS_IDS = [f"{name}-{engine}" for name in IDS for engine in ("databricks", "airflow")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel whose content, and so whose path, does not change with the code."""
    path = tmp_path_factory.mktemp("dist") / "ml_pipeline-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("content"), "always the same")
    return path


def stack_of(
    loaded: Environment, wheel: Path, *, imported: Mapping[str, str] | None = None, forgotten: Collection[str] = ()
) -> Stack:
    from infra.bindings import Testing
    from infra.stack import EnvironmentStack

    stack = EnvironmentStack(
        Testing.app(),
        environment=loaded,
        wheel=wheel,
        commit="0" * 40,
        imported=imported,
        forgotten=forgotten,
    )
    return dict(json.loads(Testing.synth(stack)))


Synthesized = tuple[Stack, Environment]
Synthesize = Callable[..., Synthesized]


@pytest.fixture(scope="module")
def synthesized(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesize:
    made: dict[tuple[str, str, str], Synthesized] = {}

    def synthesize(name: str, instance: str, engine: str = "databricks") -> Synthesized:
        if (name, instance, engine) not in made:
            text = (FROZEN / f"{name}.toml").read_text(encoding="utf-8")
            # The one word is all that changes.
            assert text.count('\nengine = "databricks"') == 1
            file = tmp_path_factory.mktemp("environments") / f"{name}.toml"
            file.write_text(text.replace('\nengine = "databricks"', f'\nengine = "{engine}"'), encoding="utf-8")
            loaded = environment.load(file, instance=instance)
            made[name, instance, engine] = stack_of(loaded, wheel), loaded
        stack_, loaded = made[name, instance, engine]
        return copy.deepcopy(stack_), loaded

    return synthesize


@pytest.mark.parametrize(("name", "instance"), ENVIRONMENTS, ids=IDS)
def test_a_stack_is_as_it_was(name: str, instance: str, synthesized: Synthesize, snapshot: SnapshotAssertion) -> None:
    assert synthesized(name, instance)[0] == snapshot(extension_class=JSONSnapshotExtension)


@pytest.mark.parametrize("instance", ["", "pr-123"], ids=["itself", "instance"])
def test_a_stack_with_a_dag_is_as_it_was(instance: str, synthesized: Synthesize, snapshot: SnapshotAssertion) -> None:
    assert synthesized("prod", instance, "airflow")[0] == snapshot(extension_class=JSONSnapshotExtension)


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
@pytest.mark.parametrize(("name", "instance", "engine"), SCHEDULERS, ids=SCHEDULERS_IDS)
def test_a_stack_keeps_the_rules(
    rule: policies.Rule, name: str, instance: str, engine: str, synthesized: Synthesize
) -> None:
    assert list(rule.check(*synthesized(name, instance, engine))) == [], rule.reason


OWN = [file.stem for file in sorted((ROOT / "environments").glob("*.toml")) if file.stem != "local"]


@pytest.fixture(scope="module")
def own(wheel: Path) -> dict[str, Synthesized]:
    """The stacks of the environments that are deployed, with whatever values a team gave them."""
    loaded = environment.load_all(ROOT / "environments")
    return {each.name: (stack_of(each, wheel), each) for each in loaded}


@pytest.mark.parametrize("name", OWN)
def test_a_stack_that_is_deployed_keeps_the_rules(name: str, own: dict[str, Synthesized]) -> None:
    broken = {rule.name: list(rule.check(*own[name])) for rule in RULES}
    assert {rule: problems for rule, problems in broken.items() if problems} == {}


def _job(stack: Stack) -> dict[str, Any]:
    return policies.jobs(stack)[0]


def _task(stack: Stack) -> dict[str, Any]:
    return next(task for _, task in policies.tasks(stack))


def _cluster(stack: Stack) -> dict[str, Any]:
    return policies.clusters(stack)[0][1]


def _first(stack: Stack, kind: str) -> dict[str, Any]:
    return next(iter(policies.resources(stack, kind).values()))


def _permissions(stack: Stack, of: str) -> dict[str, Any]:
    return next(each for each in policies.resources(stack, "databricks_permissions").values() if of in each)


def _job_permissions(stack: Stack) -> str:
    found = policies.resources(stack, "databricks_permissions").items()
    return next(name for name, each in found if "job_id" in each)


def _everybody(level: str) -> dict[str, Any]:
    return {"access_control": [{"group_name": "users", "permission_level": level}]}


def _scheduled(stack: Stack) -> dict[str, Any]:
    return next(job for job in policies.jobs(stack) if "schedule" in job)


def _dag(*, paused: bool) -> dict[str, Any]:
    return {"dag": {"key": "dags/other.json", "content": json.dumps({"dag_id": "other", "paused": paused})}}


def _of_training(stack: Stack, parameters: dict[str, str]) -> dict[str, Any]:
    name = next(name for name in policies.resources(stack, "databricks_job") if name.startswith("training"))
    return {"job_id": f"${{databricks_job.{name}.id}}", "job_parameters": parameters}


def _unprotected(kind: str) -> Callable[[Stack], object]:
    return lambda stack: _first(stack, kind).pop("lifecycle")


BREACHES: dict[str, list[tuple[str, Callable[[Stack], object]]]] = {
    "jobs_and_tasks_have_a_timeout": [
        ("dev", lambda stack: _job(stack).pop("timeout_seconds")),
        ("dev", lambda stack: _task(stack).update(timeout_seconds=0)),
    ],
    "tasks_say_how_often_they_are_retried": [("dev", lambda stack: _task(stack).pop("max_retries"))],
    "everything_has_permissions": [
        ("dev", lambda stack: stack["resource"]["databricks_permissions"].pop(_job_permissions(stack))),
        ("dev", lambda stack: _permissions(stack, "job_id").update(access_control=[])),
    ],
    "clusters_have_a_pool_or_a_node_type": [
        ("dev", lambda stack: _cluster(stack).update(node_type_id="m6id.large")),
        ("dev", lambda stack: _cluster(stack).pop("instance_pool_id")),
    ],
    "clusters_run_without_photon": [("dev", lambda stack: _cluster(stack).update(runtime_engine="PHOTON"))],
    "tasks_name_a_cluster_of_their_job": [("dev", lambda stack: _task(stack).update(job_cluster_key="other"))],
    "tasks_run_jobs_of_their_own_stack": [
        ("dev", lambda stack: _task(stack).update(run_job_task={"job_id": 1})),
        ("dev", lambda stack: _task(stack).update(run_job_task=_of_training(stack, {"unknown": "1"}))),
        ("dev", lambda stack: _task(stack).update(run_job_task=_of_training(stack, {}))),
    ],
    "state_of_shared_environments_is_remote_and_encrypted": [
        ("prod", lambda stack: stack["terraform"]["backend"]["s3"].update(encrypt=False)),
        ("staging", lambda stack: stack["terraform"].update(backend={"local": {}})),
        ("staging", lambda stack: stack["terraform"].update(backend={"azurerm": {}})),
    ],
    "backend_has_no_credentials": [
        ("prod", lambda stack: stack["terraform"]["backend"]["s3"].update(secret_key="s")),
        *(
            ("dev", lambda stack, backend=backend: stack["terraform"].update(backend=backend))
            for backend in (
                *({"azurerm": {key: "s"}} for key in ("access_key", "sas_token", "client_secret", "oidc_token")),
                *({"gcs": {key: "s"}} for key in ("credentials", "access_token", "encryption_key")),
            )
        ),
    ],
    "what_holds_state_in_production_is_protected": [("prod", _unprotected(kind)) for kind in policies.STATEFUL],
    "instances_can_be_destroyed": [
        ("prod-pr-123", lambda stack: _first(stack, "databricks_schema").update(lifecycle={"prevent_destroy": True}))
    ],
    "only_production_runs_by_itself": [
        (
            name,
            lambda stack: _scheduled(stack)["schedule"].update(pause_status="UNPAUSED"),
        )
        for name in ("dev", "prod-pr-123")
    ],
    "exactly_one_scheduler_is_active": [
        ("prod", lambda stack: _scheduled(stack)["schedule"].update(pause_status="PAUSED")),
        ("dev", lambda stack: _scheduled(stack)["schedule"].pop("pause_status")),
        ("prod", lambda stack: stack["resource"].update(aws_s3_object=_dag(paused=False))),
        ("prod", lambda stack: stack["resource"].update(aws_s3_object=_dag(paused=True))),
    ],
    "nothing_looks_like_a_secret": [
        ("dev", lambda stack: stack["provider"]["databricks"][0].update(token="${var.token}")),
        ("dev", lambda stack: _job(stack).update(description="dapi0123456789abcdef")),
        ("dev", lambda stack: _job(stack).update(tags={"a": ["https://user:pass@example.com"]})),
    ],
    "wheels_lie_under_a_hash_of_their_content": [
        ("dev", lambda stack: _task(stack).update(library=[{"whl": "/Workspace/Shared/ml_pipeline-0.1.0.whl"}])),
        ("dev", lambda stack: _first(stack, "databricks_workspace_file").update(path="/elsewhere")),
    ],
    "names_of_jobs_tell_project_environment_and_instance": [
        ("dev", lambda stack: _job(stack).update(name="training")),
        ("dev", lambda stack: _job(stack).update(name="dev-training")),
        ("dev", lambda stack: _job(stack).update(name=policies.jobs(stack)[1]["name"])),
    ],
    "runs_beyond_the_limit_wait": [("dev", lambda stack: _job(stack).pop("queue"))],
    "jobs_are_tagged_with_environment_and_commit": [("dev", lambda stack: _job(stack)["tags"].pop("commit"))],
    "machines_are_tagged_with_project_and_environment": [
        ("dev", lambda stack: _first(stack, "databricks_instance_pool")["custom_tags"].pop("project"))
    ],
    "clusters_repeat_no_tag_of_their_pool": [
        ("dev", lambda stack: _job(stack)["tags"].update(environment="dev")),
        ("dev", lambda stack: _cluster(stack)["custom_tags"].update(environment="dev")),
    ],
    "secrets_are_named_and_not_told": [
        ("dev", lambda stack: _cluster(stack).update(spark_env_vars={"A_TOKEN": "geheim"})),
        ("prod", lambda stack: _cluster(stack)["spark_conf"].update({"spark.x.password": "geheim"})),
    ],
    "privileges_are_granted_to_principals_of_the_account": [
        ("dev", lambda stack: _first(stack, "databricks_grant").update(principal="users"))
    ],
    "grants_leave_others_alone": [("dev", lambda stack: stack["resource"].update(databricks_grants={"all": {}}))],
    "whoever_runs_the_jobs_manages_the_model": [
        ("dev", lambda stack: _job(stack).update(run_as={"service_principal_name": PRINCIPAL}))
    ],
    "only_who_deploys_writes_the_folder": [
        ("prod", lambda stack: _first(stack, "databricks_workspace_file").update(path="/Shared/x/wheels/1/a.whl")),
        ("dev", lambda stack: _permissions(stack, "directory_path").update(_everybody("CAN_MANAGE"))),
    ],
    "permissions_name_who_deploys": [
        ("prod", lambda stack: _permissions(stack, "instance_pool_id").update(_everybody("CAN_ATTACH_TO"))),
        ("prod", lambda stack: _permissions(stack, "job_id")["access_control"][-1].update(permission_level="CAN_VIEW")),
    ],
    "only_runners_use_the_pool": [
        (
            "dev",
            lambda stack: stack["resource"]["databricks_permissions"].update(
                pool={"instance_pool_id": "1", **_everybody("CAN_ATTACH_TO")}
            ),
        ),
    ],
    "no_path_of_this_machine": [
        ("dev", lambda stack: _first(stack, "databricks_workspace_file").update(source="/home/me/x.whl")),
        ("dev", lambda stack: stack["terraform"]["backend"]["local"].update(path="/home/me/dev.tfstate")),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_each_rule_finds_what_breaks_it(rule: policies.Rule, synthesized: Synthesize) -> None:
    for where, breach in BREACHES[rule.name]:
        name, _, instance = where.partition("-")
        stack, loaded = synthesized(name, instance)
        breach(stack)
        assert list(rule.check(stack, loaded)), rule.name


def test_no_two_stacks_share_a_name_a_state_or_a_place(synthesized: Synthesize) -> None:
    taken: dict[str, str] = {}
    for name, instance in ENVIRONMENTS:
        stack, loaded = synthesized(name, instance)
        backend = next(iter(stack["terraform"]["backend"].values()))
        own = [
            loaded.full_name,
            backend.get("key") or backend["path"],
            loaded.pipeline.schema_name,
            loaded.pipeline.experiment,
            loaded.folder,
            _first(stack, "databricks_schema")["comment"],
            *(job["name"] for job in policies.jobs(stack)),
        ]
        for value in own:
            assert taken.setdefault(value, loaded.full_name) == loaded.full_name, value


def _of_project(folder: Path, project: str, name: str, engine: str = "databricks", **changes: str) -> Path:
    """An environment's file in a clone of the project under another name."""
    text = (FROZEN / f"{name}.toml").read_text(encoding="utf-8").replace('key_prefix = "ml-pipeline"\n', "")
    for old, new in {'engine = "databricks"': f'engine = "{engine}"', **changes}.items():
        text = text.replace(old, new)
    file = folder / project / "environments" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    (folder / project / "pyproject.toml").write_text(f'[tool.ml-pipeline]\nproject = "{project}"\n', encoding="utf-8")
    return file


@pytest.mark.parametrize(("instance", "engine"), [("", "airflow"), ("pr-123", "databricks")])
def test_no_name_of_a_project_is_in_the_stack_of_another(
    tmp_path: Path, wheel: Path, instance: str, engine: str
) -> None:
    loaded = [
        environment.load(_of_project(tmp_path, name, "prod", engine), instance=instance) for name in ("churn", "fraud")
    ]
    stacks = [stack_of(each, wheel) for each in loaded]
    for own, stack, other in zip(loaded, stacks, reversed(stacks), strict=True):
        names = [
            stack["terraform"]["backend"]["s3"]["key"],
            _first(stack, "databricks_instance_pool")["instance_pool_name"],
            _first(stack, "databricks_schema")["comment"],
            own.project,
            own.folder,
            own.pipeline.schema_name,
            own.pipeline.experiment,
            *(job["name"] for job in policies.jobs(stack)),
            *(each["key"] for each in policies.resources(stack, "aws_s3_object").values()),
            *(dag["dag_id"] for dag in policies.settings_of_dags(stack)),
        ]
        assert len(set(names)) == len(names) - (engine == "airflow")
        assert all(own.project in name for name in names)
        assert [name for name in names if name in json.dumps(other)] == []
        assert [rule.name for rule in RULES if list(rule.check(stack, own))] == []


@pytest.mark.parametrize(
    ("instance", "changes"), [("", {}), ("pr-123", {}), ("", {'name = "dev"': 'name = "dev"\nschema = "same"'})]
)
def test_a_deployment_imports_nothing_of_another_project(
    tmp_path: Path, wheel: Path, instance: str, changes: dict[str, str]
) -> None:
    files = [_of_project(tmp_path, project, "dev", **changes) for project in ("churn", "fraud")]
    churn, fraud = (stack_of(environment.load(file, instance=instance), wheel) for file in files)
    assert leftovers.find(churn, set(), _workspace_of(churn)).keys() >= {
        f"{kind}.{name}" for kind in ("databricks_job", "databricks_instance_pool") for name in churn["resource"][kind]
    }
    assert leftovers.find(fraud, set(), _workspace_of(churn), folder=True) == {}


def _workspace_of(stack: Stack) -> Callable[[Any], Any]:
    """A workspace that lists all that a stack declares, whatever name is asked for."""

    def declared(kind: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(**each) for each in policies.resources(stack, kind).values()]

    def held(kind: str, name: str, found: SimpleNamespace) -> SimpleNamespace:
        if name not in [vars(each).get("path") or vars(each)["name"] for each in declared(kind)]:
            raise NotFound(name)
        return found

    def securable(kind: str) -> Callable[[str], SimpleNamespace]:
        (one,) = declared(kind)
        found = SimpleNamespace(full_name=one.name, comment=getattr(one, "comment", None), created_by="me")
        return lambda name: held(kind, name.rpartition(".")[2], found)

    me = SimpleNamespace(user_name="me", id="1")
    jobs = [
        SimpleNamespace(job_id=each.name, creator_user_name="me", settings=each) for each in declared("databricks_job")
    ]
    pools = [
        SimpleNamespace(instance_pool_id="1", default_tags={"DatabricksInstancePoolCreatorId": "1"}, **vars(each))
        for each in declared("databricks_instance_pool")
    ]
    experiment = SimpleNamespace(experiment_id="1", lifecycle_stage="active", tags=[])
    client = SimpleNamespace(
        current_user=SimpleNamespace(me=lambda: me),
        jobs=SimpleNamespace(list=lambda **_options: jobs),
        instance_pools=SimpleNamespace(list=lambda: pools),
        schemas=SimpleNamespace(get=securable("databricks_schema")),
        volumes=SimpleNamespace(read=securable("databricks_volume")),
        registered_models=SimpleNamespace(get=securable("databricks_registered_model")),
        experiments=SimpleNamespace(
            get_by_name=lambda name: SimpleNamespace(experiment=held("databricks_mlflow_experiment", name, experiment))
        ),
        workspace=SimpleNamespace(
            get_status=lambda path: held("databricks_directory", path, SimpleNamespace(path=path))
        ),
    )
    return lambda _provider: client


@pytest.mark.parametrize(("name", "instance"), ENVIRONMENTS, ids=IDS)
def test_every_task_fits_the_step_that_it_calls(name: str, instance: str, synthesized: Synthesize) -> None:
    stack, loaded = synthesized(name, instance)
    declared = {job.name: job for job in loaded.jobs}
    assert len(policies.jobs(stack)) == len(declared)
    for job in policies.jobs(stack):
        of = declared[job["name"].removeprefix(f"{loaded.deployed_name}-")]
        parameters = {each["name"]: each["default"] for each in job.get("parameter", [])}
        assert parameters == {each.name: each.default for each in of.parameters}
        values = of.values_of_run(run_id="1", start_date="2026-01-02", parameters={})
        for task in job["task"]:
            wheel_task = task["python_wheel_task"]
            assert (wheel_task["package_name"], wheel_task["entry_point"]) == ("ml_pipeline", "run-task")
            called = next(each for each in of.tasks if each.name == task["task_key"])
            given = [f"--{key}={value}" for key, value in wheel_task["named_parameters"].items()]
            assert sorted(given) == sorted(
                [f"--entry-point={called.entry_point}", *(f"--{k}={v}" for k, v in called.parameters.items())]
            )
            # The step's own signature has the last word: it parses what Databricks would pass.
            entry_point.parse(called.arguments(values))


def test_the_entry_point_is_a_command_of_the_wheel() -> None:
    from importlib.metadata import distribution

    names = [each.name for each in distribution("ml_pipeline").entry_points if each.group == "console_scripts"]
    assert "run-task" in names


def test_new_content_of_the_wheel_changes_its_path_and_nothing_else(synthesized: Synthesize, tmp_path: Path) -> None:
    before, loaded = synthesized("dev", "")
    other = tmp_path / "ml_pipeline-0.1.0-py3-none-any.whl"
    other.write_bytes(b"other content")
    after = stack_of(loaded, other)
    paths, digests = [], []
    for each in (before, after):
        ((address, file),) = each["resource"].pop("databricks_workspace_file").items()
        paths.append(file["path"])
        digests.append(file["path"].split("/")[-2])
        assert address == f"wheel-{digests[-1]}"
    assert digests[0] != digests[1]
    assert paths[1].replace(digests[1], digests[0]) == paths[0]
    assert json.dumps(after).replace(digests[1], digests[0]) == json.dumps(before)


def test_what_is_imported_and_what_is_forgotten_change_nothing_else(synthesized: Synthesize, wheel: Path) -> None:
    plain, loaded = synthesized("dev", "")
    earlier = "databricks_workspace_file.earlier"
    stack = stack_of(loaded, wheel, imported={"databricks_schema.all": "dev.iris"}, forgotten=[earlier])
    assert stack.pop("import") == [{"to": "databricks_schema.all", "id": "dev.iris"}]
    assert stack.pop("removed") == [{"from": earlier, "lifecycle": {"destroy": False}}]
    assert stack == plain


@pytest.mark.parametrize("instance", ["", "pr-123"])
def test_another_engine_pauses_the_job_s_schedule_and_delivers_the_dag_and_changes_nothing_else(
    instance: str, synthesized: Synthesize
) -> None:
    (before, loaded), (after, _) = synthesized("prod", instance), synthesized("prod", instance, "airflow")
    job = loaded.job_name("batch_inference")
    delivered = {each["key"]: each for each in after["resource"].pop("aws_s3_object").values()}
    assert set(delivered) == {f"dags/{job}.py", f"dags/{job}.json"}
    assert {each["bucket"] for each in delivered.values()} == {"my-airflow"}
    settings = json.loads(delivered[f"dags/{job}.json"]["content"])
    assert (settings["job_name"], settings["paused"]) == (job, bool(instance))
    # Terraform makes what another depends on first: the job's pause, the settings, the DAG.
    (paused,) = [name for name, each in policies.resources(after, "databricks_job").items() if each["name"] == job]
    assert delivered[f"dags/{job}.json"]["depends_on"] == [f"databricks_job.{paused}"]
    assert "aws_s3_object" in delivered[f"dags/{job}.py"]["depends_on"][0]

    schedules = [_scheduled(each)["schedule"] for each in (before, after)]
    assert [each.pop("pause_status") for each in schedules] == ["PAUSED" if instance else "UNPAUSED", "PAUSED"]
    assert after["provider"].pop("aws") == [{"region": "eu-central-1"}]
    assert after["terraform"]["required_providers"].pop("aws")["source"] == "hashicorp/aws"
    assert after == before


def test_the_delivered_dag_is_the_file_and_encrypted_by_the_key(
    full: Callable[..., tuple[Stack, Environment]],
) -> None:
    key = "arn:aws:kms:eu-central-1:111122223333:key/0000"
    stack, loaded = full("", 'engine = "airflow"\n', f'kms_key_id = "{key}"\nprefix = "team/dags"\n')
    objects = policies.resources(stack, "aws_s3_object").values()
    assert {(each["server_side_encryption"], each["kms_key_id"]) for each in objects} == {("aws:kms", key)}
    (dag,) = [each for each in objects if each["key"] == "team/dags/ml-pipeline-full-batch_inference.py"]
    written = dag["content"].replace("$${", "${").replace("%%{", "%{")
    assert written == (ROOT / "infra" / "dags" / "batch_inference.py").read_text(encoding="utf-8")
    assert dag["metadata"] == {"sha256": hashlib.sha256(written.encode()).hexdigest()}
    (settings,) = policies.settings_of_dags(stack)
    assert (settings["cron"], settings["time_zone"]) == ("30 5 * * 1,2,3,4,5", "Europe/Berlin")
    assert (settings["paused"], loaded.scheduled_by("airflow")) == (False, True)


PRINCIPAL = "00000000-0000-0000-0000-000000000001"
FULL = f"""
[workspace]
host = "https://full.cloud.databricks.com"
auth = "profile"
profile = "FULL"
run_as = "{PRINCIPAL}"
notify = ["team@example.com"]
folder = "/Users/team@example.com"

[workspace.git_folder]
url = "https://github.com/example/project.git"
path = "/Repos/team/project"

[compute]
spark_version = "17.3.x-cpu-ml-scala2.13"
node_type_id = "m6id.large"
num_workers = 2
tags = {{ "cost centre" = "42" }}

[pipelines.iris.schedule]
cron = "0 30 5 ? * MON-FRI"
time_zone = "Europe/Berlin"

[schedule]
paused = false

[schedule.airflow]
bucket = "full-airflow"
region = "eu-central-1"

[catalog]
name = "full"
schema = "all"

[permissions.workspace]
managers = ["admins of it", "ann@example.com"]
runners = ["scientists", "12345678-90ab-cdef-1234-567890abcdef"]

[permissions.catalog]
managers = ["admins of it"]
runners = ["scientists"]

[state]
backend = "local"
"""


@pytest.fixture
def full(tmp_path: Path, wheel: Path) -> Callable[..., tuple[Stack, Environment]]:
    file = tmp_path / "full.toml"

    def synthesize(instance: str, schedule: str = "", airflow: str = "") -> tuple[Stack, Environment]:
        text = FULL.replace("[schedule]\n", f"[schedule]\n{schedule}").replace("[catalog]\n", f"{airflow}[catalog]\n")
        file.write_text(text, encoding="utf-8")
        loaded = environment.load(file, instance=instance)
        return stack_of(loaded, wheel), loaded

    return synthesize


def test_whom_jobs_run_as_may_start_the_job_that_a_task_starts_and_no_other(
    full: Callable[..., tuple[Stack, Environment]],
) -> None:
    stack, _ = full("", airflow='[pipelines.iris.monitoring]\non_drift = "retrain"\n\n')
    levels = {
        entry["job_id"].split(".")[1].partition("_")[0]: {
            each.get("service_principal_name"): each["permission_level"] for each in entry["access_control"]
        }.get(PRINCIPAL)
        for entry in policies.resources(stack, "databricks_permissions").values()
        if "job_id" in entry
    }
    assert {job: level for job, level in levels.items() if level} == {"training": "CAN_MANAGE_RUN"}


def test_every_setting_reaches_the_stack(full: Callable[..., tuple[Stack, Environment]]) -> None:
    stack, loaded = full("")
    assert stack["provider"]["databricks"] == [{"host": "https://full.cloud.databricks.com", "profile": "FULL"}]
    assert "databricks_instance_pool" not in stack["resource"]
    for job in policies.jobs(stack):
        assert job["run_as"] == {"service_principal_name": PRINCIPAL}
        assert job["email_notifications"] == {
            "on_failure": ["team@example.com"],
            "on_duration_warning_threshold_exceeded": ["team@example.com"],
        }
    for _, cluster in policies.clusters(stack):
        assert (cluster["node_type_id"], cluster["num_workers"]) == ("m6id.large", 2)
        assert "spark_conf" not in cluster
        assert cluster["custom_tags"] == {"project": "ml-pipeline", "environment": "full", "cost centre": "42"}
    assert {tuple(job["tags"]) for job in policies.jobs(stack)} == {("commit", "deployment")}
    (scheduled,) = [job for job in policies.jobs(stack) if "schedule" in job]
    assert scheduled["name"] == "ml-pipeline-full-batch_inference"
    assert scheduled["schedule"] == {
        "quartz_cron_expression": "0 30 5 ? * MON-FRI",
        "timezone_id": "Europe/Berlin",
        "pause_status": "UNPAUSED",
    }
    (folder,) = policies.resources(stack, "databricks_repo").values()
    assert (folder["url"], folder["git_provider"], folder["path"], folder["branch"]) == (
        "https://github.com/example/project.git",
        "gitHub",
        "/Repos/team/project",
        "main",
    )
    grants = policies.resources(stack, "databricks_grant").values()
    granted = {grant["principal"]: grant["privileges"] for grant in grants}
    assert granted.keys() == {"admins of it", "scientists", PRINCIPAL}
    assert granted["admins of it"] == granted[PRINCIPAL] == ["ALL_PRIVILEGES", "MANAGE"]
    assert "CREATE_TABLE" in granted["scientists"]
    access = policies.resources(stack, "databricks_permissions")
    levels = [
        tuple(entry.values())
        for entry in next(each for each in access.values() if "experiment_id" in each)["access_control"]
    ]
    assert levels == [
        ("admins of it", "CAN_MANAGE"),
        ("CAN_MANAGE", "ann@example.com"),
        ("CAN_EDIT", "12345678-90ab-cdef-1234-567890abcdef"),
        ("scientists", "CAN_EDIT"),
        ("CAN_EDIT", PRINCIPAL),
    ]
    folder_access = next(each for each in access.values() if "directory_path" in each)
    assert {entry["permission_level"] for entry in folder_access["access_control"]} == {"CAN_READ"}
    assert PRINCIPAL in {entry.get("service_principal_name") for entry in folder_access["access_control"]}
    assert loaded.folder == "/Users/team@example.com/ml-pipeline-full"
    assert [r.name for r in RULES if r.name != "only_production_runs_by_itself" and list(r.check(stack, loaded))] == []


def test_lists_name_who_deploys_by_another_sign_in_than_github_s(tmp_path: Path, wheel: Path) -> None:
    deployer, file = "99999999-90ab-cdef-1234-567890abcdef", tmp_path / "full.toml"
    file.write_text(FULL.replace("[workspace]\n", f'[workspace]\nclient_id = "{deployer}"\n'), encoding="utf-8")
    stack = stack_of(environment.load(file), wheel)
    assert stack["provider"]["databricks"] == [{"host": "https://full.cloud.databricks.com", "profile": "FULL"}]
    lists = policies.resources(stack, "databricks_permissions").values()
    assert [
        "IS_OWNER" if "job_id" in each else "CAN_MANAGE" for each in lists
    ] == [
        entry["permission_level"]
        for each in lists
        for entry in each["access_control"]
        if entry.get("service_principal_name") == deployer
    ]  # fmt: skip


@pytest.mark.parametrize("availability", ["on_demand", "spot"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("https://dbc-1.cloud.databricks.com", ("aws_attributes", "ON_DEMAND", "SPOT")),
        ("https://adb-1.2.azuredatabricks.net", ("azure_attributes", "ON_DEMAND_AZURE", "SPOT_AZURE")),
        ("https://1.2.gcp.databricks.com", ("gcp_attributes", "ON_DEMAND_GCP", "PREEMPTIBLE_GCP")),
    ],
)
def test_a_pool_says_whether_its_machines_may_be_taken_back(
    tmp_path: Path, wheel: Path, host: str, expected: tuple[str, str, str], availability: str
) -> None:
    key, *names = expected
    file = tmp_path / "full.toml"
    pool = f'[compute.pool]\nnode_type_id = "x"\navailability = "{availability}"\n\n[catalog]\n'
    text = FULL.replace('node_type_id = "m6id.large"', 'policy_id = "ABC"').replace("[catalog]\n", pool)
    file.write_text(text.replace("https://full.cloud.databricks.com", host), encoding="utf-8")
    stack = stack_of(environment.load(file), wheel)
    attributes = {name: value for name, value in _first(stack, "databricks_instance_pool").items() if "attrib" in name}
    assert attributes.keys() == {key}
    assert [*attributes[key].values()] == [names[availability == "spot"]]
    assert {cluster["policy_id"] for _, cluster in policies.clusters(stack)} == {"ABC"}


def test_what_spark_and_its_tasks_are_given_reaches_the_clusters(
    full: Callable[..., tuple[Stack, Environment]],
) -> None:
    provider = "spark.hadoop.fs.s3a.aws.credentials.provider"
    given = (
        f'[compute.spark_conf]\n"{provider}" = "a.B"\n\n[compute.spark_env_vars]\nA_TOKEN = "{{{{secrets/a/b}}}}"\n\n'
    )
    stack, _ = full("", airflow=given)
    for _, cluster in policies.clusters(stack):
        assert cluster["spark_conf"] == {provider: "a.B"}
        assert cluster["spark_env_vars"] == {"A_TOKEN": "{{secrets/a/b}}"}


def test_another_store_and_a_role_reach_the_backend(tmp_path: Path, wheel: Path) -> None:
    file = tmp_path / "full.toml"
    role = "arn:aws:iam::123456789012:role/terraform"
    lines = ('bucket = "state"', 'region = "eu-central-1"', f'role_arn = "{role}"', "use_path_style = true")
    text = "\n".join(('backend = "s3"', *lines, 'endpoint = "https://s3.example.com:9000"'))
    file.write_text(FULL.replace('backend = "local"', text), encoding="utf-8")
    backend = stack_of(environment.load(file), wheel)["terraform"]["backend"]["s3"]
    assert backend == {
        "assume_role": {"role_arn": role},
        "bucket": "state",
        "encrypt": True,
        "endpoints": {"s3": "https://s3.example.com:9000"},
        "key": "ml-pipeline/full.tfstate",
        "region": "eu-central-1",
        "skip_credentials_validation": True,
        "skip_requesting_account_id": True,
        "use_lockfile": True,
        "use_path_style": True,
    }


AZURE = """backend = "azurerm"
resource_group_name = "terraform-state"
storage_account_name = "mystate"
container_name = "tfstate"
"""
GOOGLE = 'backend = "gcs"\nbucket = "my-state"\n'
GUID = "12345678-90ab-cdef-1234-567890abcdef"
KEY = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
ACCOUNT = "terraform@my-project.iam.gserviceaccount.com"
IN_AZURE = {
    "container_name": "tfstate",
    "key": "ml-pipeline/full.tfstate",
    "resource_group_name": "terraform-state",
    "storage_account_name": "mystate",
    "use_azuread_auth": True,
    "use_oidc": True,
}


@pytest.mark.parametrize(
    ("text", "instance", "expected"),
    [
        (AZURE, "", {"azurerm": IN_AZURE}),
        (AZURE, "pr-1", {"azurerm": {**IN_AZURE, "key": "ml-pipeline/full-pr-1.tfstate"}}),
        (
            f'{AZURE}key_prefix = "team/a"\nsubscription_id = "{GUID}"\ntenant_id = "{GUID}"',
            "",
            {"azurerm": {**IN_AZURE, "key": "team/a/full.tfstate", "subscription_id": GUID, "tenant_id": GUID}},
        ),
        (GOOGLE, "", {"gcs": {"bucket": "my-state", "prefix": "ml-pipeline/full"}}),
        (
            f'{GOOGLE}key_prefix = "a"\nkms_encryption_key = "{KEY}"\nimpersonate_service_account = "{ACCOUNT}"',
            "pr-1",
            {
                "gcs": {
                    "bucket": "my-state",
                    "impersonate_service_account": ACCOUNT,
                    "kms_encryption_key": KEY,
                    "prefix": "a/full-pr-1",
                }
            },
        ),
    ],
)
def test_state_in_azure_or_google_is_that_backend(
    tmp_path: Path, wheel: Path, text: str, instance: str, expected: dict[str, Any]
) -> None:
    file = tmp_path / "full.toml"
    file.write_text(FULL.replace('backend = "local"', text), encoding="utf-8")
    loaded = environment.load(file, instance=instance)
    stack = stack_of(loaded, wheel)
    assert stack["terraform"]["backend"] == expected
    shared = replace(loaded, name="staging")
    assert [*policies.state_of_shared_environments_is_remote_and_encrypted(stack, shared)] == []
    assert [*policies.backend_has_no_credentials(stack, shared)] == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is missing")
@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f'{AZURE}subscription_id = "{GUID}"\ntenant_id = "{GUID}"', "authorizer"),
        (f'{GOOGLE}kms_encryption_key = "{KEY}"\nimpersonate_service_account = "{ACCOUNT}"', "credentials"),
    ],
)
def test_terraform_takes_the_backend_and_lacks_only_a_sign_in(
    tmp_path: Path, wheel: Path, text: str, missing: str
) -> None:
    file = tmp_path / "full.toml"
    file.write_text(FULL.replace('backend = "local"', text), encoding="utf-8")
    backend = stack_of(environment.load(file), wheel)["terraform"]["backend"]
    (tmp_path / "main.tf.json").write_text(json.dumps({"terraform": {"backend": backend}}), encoding="utf-8")
    # No CLI, no variables and no home: no credentials of this machine.
    shell = {"PATH": str(tmp_path), "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1", "NO_GCE_CHECK": "true"}
    command = [str(shutil.which("terraform")), "init", "-input=false", "-no-color"]
    done = subprocess.run(command, cwd=tmp_path, env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert missing in done.stderr
    assert "argument" not in done.stderr.lower()


def test_an_instance_has_no_git_folder_and_never_runs_by_itself(
    full: Callable[..., tuple[Stack, Environment]],
) -> None:
    stack, _ = full("pr-1")
    assert "databricks_repo" not in stack["resource"]
    assert {job["schedule"]["pause_status"] for job in policies.jobs(stack) if "schedule" in job} == {"PAUSED"}


def test_drift_that_retrains_is_a_task_that_runs_the_training_job(tmp_path: Path, wheel: Path) -> None:
    file = tmp_path / "retrains.toml"
    file.write_text(f'{FULL}\n[pipelines.iris.monitoring]\non_drift = "retrain"\n', encoding="utf-8")
    loaded = environment.load(file)
    stack = stack_of(loaded, wheel)
    addresses = {job["name"]: address for address, job in policies.resources(stack, "databricks_job").items()}
    name = addresses[loaded.job_name("training")]
    job = policies.resources(stack, "databricks_job")[addresses[loaded.job_name("batch_inference")]]
    tasks = {task["task_key"]: task for task in job["task"]}
    assert list(tasks) == ["monitor", "retrain", "score"]
    assert tasks["retrain"] == {
        "task_key": "retrain",
        "depends_on": [{"task_key": "monitor"}],
        "run_if": "AT_LEAST_ONE_FAILED",
        "run_job_task": {"job_id": f"${{databricks_job.{name}.id}}", "job_parameters": {"reason": "retraining"}},
        "timeout_seconds": 4 * 3600,
        "max_retries": 0,
    }
    # The job's own notification leaves out a failure that another task takes care of.
    assert tasks["monitor"]["email_notifications"] == {"on_failure": ["team@example.com"]}
    assert "email_notifications" not in tasks["score"]
    assert job["timeout_seconds"] == 8 * 3600
    assert [r.name for r in RULES if r.name != "only_production_runs_by_itself" and list(r.check(stack, loaded))] == []
