"""What must hold of every synthesized stack, each rule with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.environment.environment import Environment
from ml_pipeline.settings.references import keeps_its_secret

Stack = dict[str, Any]
Check = Callable[[Stack, Environment], Iterator[str]]

STATEFUL = (
    "databricks_directory",
    "databricks_mlflow_experiment",
    "databricks_registered_model",
    "databricks_schema",
    "databricks_volume",
)


@dataclass(frozen=True)
class Rule:
    """A rule: what breaks it is named by its check."""

    name: str
    reason: str
    check: Check


RULES: list[Rule] = []


def rule(reason: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        RULES.append(Rule(check.__name__, reason, check))
        return check

    return register


def resources(stack: Stack, kind: str) -> dict[str, dict[str, Any]]:
    return dict(stack["resource"].get(kind, {}))


def jobs(stack: Stack) -> list[dict[str, Any]]:
    return list(resources(stack, "databricks_job").values())


def tasks(stack: Stack) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{job['name']}.{task['task_key']}", task) for job in jobs(stack) for task in job["task"]]


def clusters(stack: Stack) -> list[tuple[str, dict[str, Any]]]:
    return [(job["name"], cluster["new_cluster"]) for job in jobs(stack) for cluster in job.get("job_cluster", [])]


def settings_of_dags(stack: Stack) -> list[dict[str, Any]]:
    delivered = resources(stack, "aws_s3_object").values()
    return [json.loads(each["content"]) for each in delivered if each["key"].endswith(".json")]


def running_by_itself(stack: Stack) -> list[str]:
    """Names of jobs and DAGs that a schedule starts."""
    scheduled = [(job["name"], job["schedule"].get("pause_status")) for job in jobs(stack) if "schedule" in job]
    return [name for name, status in scheduled if status != "PAUSED"] + [
        dag["dag_id"] for dag in settings_of_dags(stack) if not dag["paused"]
    ]


@rule("A run that hangs costs money until somebody notices.")
def jobs_and_tasks_have_a_timeout(stack: Stack, _: Environment) -> Iterator[str]:
    named = [(job["name"], job) for job in jobs(stack)] + tasks(stack)
    yield from (name for name, each in named if not each.get("timeout_seconds", 0) > 0)


@rule("A machine that is lost is no reason to wake somebody; a verdict is no reason to try again.")
def tasks_say_how_often_they_are_retried(stack: Stack, _: Environment) -> Iterator[str]:
    yield from (name for name, task in tasks(stack) if "max_retries" not in task)


@rule("Who may change or see a job and the experiment is said, not left to what the workspace defaults to.")
def everything_has_permissions(stack: Stack, _: Environment) -> Iterator[str]:
    granted = [
        value
        for permissions in resources(stack, "databricks_permissions").values()
        for value in permissions.values()
        if isinstance(value, str) and permissions["access_control"]
    ]
    for kind in ("databricks_job", "databricks_mlflow_experiment"):
        yield from (name for name in resources(stack, kind) if f"${{{kind}.{name}.id}}" not in granted)


@rule("Databricks refuses a cluster that names both, and one that names neither.")
def clusters_have_a_pool_or_a_node_type(stack: Stack, _: Environment) -> Iterator[str]:
    yield from (name for name, each in clusters(stack) if ("instance_pool_id" in each) == ("node_type_id" in each))


@rule("Photon costs more for each hour, and Python gains nothing by it.")
def clusters_run_without_photon(stack: Stack, _: Environment) -> Iterator[str]:
    yield from (name for name, cluster in clusters(stack) if cluster.get("runtime_engine") != "STANDARD")


@rule("Every task finds a cluster that is declared.")
def tasks_name_a_cluster_of_their_job(stack: Stack, _: Environment) -> Iterator[str]:
    for job in jobs(stack):
        known = {cluster["job_cluster_key"] for cluster in job.get("job_cluster", [])}
        own = [task for task in job["task"] if "run_job_task" not in task]
        yield from (f"{job['name']}.{t['task_key']}" for t in own if t.get("job_cluster_key") not in known)


@rule("A task that runs a job of another environment, or of none, would train on the wrong tables.")
def tasks_run_jobs_of_their_own_stack(stack: Stack, _: Environment) -> Iterator[str]:
    ids = {f"${{databricks_job.{name}.id}}": job for name, job in resources(stack, "databricks_job").items()}
    for name, task in tasks(stack):
        run = task.get("run_job_task")
        if run is None:
            continue
        known = {parameter["name"] for parameter in ids.get(run["job_id"], {}).get("parameter", [])}
        if run["job_id"] not in ids or not known >= set(run.get("job_parameters", {})) or "job_cluster_key" in task:
            yield name


@rule("State on one laptop is lost with it, and names what may be secret.")
def state_of_shared_environments_is_remote_and_encrypted(stack: Stack, environment: Environment) -> Iterator[str]:
    if environment.name not in ("staging", "prod"):
        return
    ((kind, backend),) = stack["terraform"]["backend"].items()
    # Azure and Google encrypt and lock each state.
    needed = {"s3": ("encrypt", "use_lockfile"), "azurerm": ("use_azuread_auth",), "gcs": ()}
    yield from (key for key in needed.get(kind, ("remote",)) if backend.get(key) is not True)


@rule("Whoever can read the code or a plan could use such a credential.")
def backend_has_no_credentials(stack: Stack, environment: Environment) -> Iterator[str]:
    del environment
    ((_, backend),) = stack["terraform"]["backend"].items()
    yield from (
        key
        for key in backend
        if re.search("access_key|secret|token|password|credentials|encryption_key$", key)
        and key != "kms_encryption_key"
    )


@rule("A plan that would destroy runs, tables or models of production must fail.")
def what_holds_state_in_production_is_protected(stack: Stack, environment: Environment) -> Iterator[str]:
    if environment.name != "prod" or environment.instance:
        return
    for kind in STATEFUL:
        for name, resource in resources(stack, kind).items():
            if not resource.get("lifecycle", {}).get("prevent_destroy"):
                yield f"{kind}.{name}"


@rule("An instance goes when its pull request is closed.")
def instances_can_be_destroyed(stack: Stack, environment: Environment) -> Iterator[str]:
    if not environment.instance:
        return
    for kind, named in stack["resource"].items():
        for name, resource in named.items():
            if resource.get("lifecycle", {}).get("prevent_destroy"):
                yield f"{kind}.{name}"


@rule("An instance and an environment that is not production run when somebody asks.")
def only_production_runs_by_itself(stack: Stack, environment: Environment) -> Iterator[str]:
    if environment.name != "prod" or environment.instance:
        yield from running_by_itself(stack)


@rule("Two schedulers score a batch twice, and without one nobody notices that none is scored.")
def exactly_one_scheduler_is_active(stack: Stack, environment: Environment) -> Iterator[str]:
    running, schedule = running_by_itself(stack), environment.schedule
    if len(running) != (0 if schedule is None or environment.paused else 1):
        yield f"by themselves run: {running}"
    # One that is paused can be set going by hand: the DAG is not even there.
    if bool(settings_of_dags(stack)) != (schedule is not None and schedule.engine == "airflow"):
        yield "the DAG is there with engine 'airflow' only"


_SECRET_NAME = re.compile(r"(?i)(^|[_-])(token|password|secret|access_key|secret_key|private_key)$")
_SECRET = re.compile(
    r"dapi[0-9a-f]{8,}|dose[0-9a-f]{8,}|AKIA[0-9A-Z]{12,}|gh[pousr]_\w{20,}|-----BEGIN|"
    r"https?://[^/\s:]+:[^/\s@]+@|eyJ[\w-]{10,}\.[\w-]{10,}"
)


@rule("What is synthesized lies in caches, artifacts and logs.")
def nothing_looks_like_a_secret(stack: Stack, _: Environment) -> Iterator[str]:
    def look(value: object, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if _SECRET_NAME.search(key) and inner:
                    yield f"{path}.{key}"
                yield from look(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from look(inner, f"{path}[{index}]")
        elif isinstance(value, str) and _SECRET.search(value):
            yield path

    yield from look(stack, "")


@rule("A wheel that is replaced in place changes under the feet of a run, and is not installed anew.")
def wheels_lie_under_a_hash_of_their_content(stack: Stack, _: Environment) -> Iterator[str]:
    hashed = re.compile(r"^(/Workspace)?/.+/wheels/[0-9a-f]{16}/[\w.-]+-py3-none-any\.whl$")
    files = {f"/Workspace{file['path']}" for file in resources(stack, "databricks_workspace_file").values()}
    for name, task in tasks(stack):
        if "run_job_task" in task:
            continue
        wheels = [library["whl"] for library in task["library"]]
        if len(wheels) != 1 or not hashed.match(wheels[0]) or wheels[0] not in files:
            yield name


@rule("A job is found by its name, and a workspace may hold several projects.")
def names_of_jobs_tell_project_environment_and_instance(stack: Stack, environment: Environment) -> Iterator[str]:
    names = [job["name"] for job in jobs(stack)]
    start = f"{environment.project}-{environment.full_name}-"
    yield from (name for name in names if not name.startswith(start) or names.count(name) > 1)


@rule("A run that waits for another is better than one that is dropped.")
def runs_beyond_the_limit_wait(stack: Stack, _: Environment) -> Iterator[str]:
    yield from (job["name"] for job in jobs(stack) if job.get("queue") != {"enabled": True})


@rule("Somebody must be able to say whose machines these are, and which code a job runs.")
def jobs_are_tagged_with_environment_and_commit(stack: Stack, environment: Environment) -> Iterator[str]:
    for job in jobs(stack):
        tags = job.get("tags", {})
        if tags.get("deployment") != environment.full_name or not tags.get("commit"):
            yield job["name"]


@rule("The bill of a workspace is split by project and environment.")
def machines_are_tagged_with_project_and_environment(stack: Stack, environment: Environment) -> Iterator[str]:
    pools = resources(stack, "databricks_instance_pool")
    machines = [(name, pool["custom_tags"]) for name, pool in pools.items()]
    machines += [(name, each["custom_tags"]) for name, each in clusters(stack) if "instance_pool_id" not in each]
    wanted = {"project": environment.project, "environment": environment.name}
    yield from (name for name, tags in machines if not wanted.items() <= tags.items())


@rule("Databricks refuses a cluster that repeats a tag of its pool's (provider's documentation, instance_pool.md).")
def clusters_repeat_no_tag_of_their_pool(stack: Stack, _: Environment) -> Iterator[str]:
    pools = {
        f"${{databricks_instance_pool.{name}.id}}": pool
        for name, pool in resources(stack, "databricks_instance_pool").items()
    }
    for job in jobs(stack):
        for shared in job.get("job_cluster", []):
            cluster = shared["new_cluster"]
            # A job's tags are its clusters' too (job.md).
            tags = {*job.get("tags", {}), *cluster.get("custom_tags", {})}
            if tags & {*pools.get(cluster.get("instance_pool_id", ""), {}).get("custom_tags", {})}:
                yield job["name"]


@rule("What is in a cluster's settings is in the state and in every plan: a secret is named there, not written.")
def secrets_are_named_and_not_told(stack: Stack, _: Environment) -> Iterator[str]:
    for where, cluster in clusters(stack):
        values = {**(cluster.get("spark_conf") or {}), **(cluster.get("spark_env_vars") or {})}
        yield from (f"{where}: {name}" for name, value in values.items() if not keeps_its_secret(name, value))


@rule("Unity Catalog does not find the groups of a workspace (docs.databricks.com, Principal).")
def privileges_are_granted_to_principals_of_the_account(stack: Stack, _: Environment) -> Iterator[str]:
    grants = resources(stack, "databricks_grant").items()
    yield from (name for name, grant in grants if grant["principal"] in ("users", "admins"))


@rule("A resource for all grants of a schema takes away those that were made elsewhere (provider's grants.md).")
def grants_leave_others_alone(stack: Stack, _: Environment) -> Iterator[str]:
    yield from resources(stack, "databricks_grants")


@rule("Without MANAGE who runs the jobs can't move the model's alias: the promotion would fail.")
def whoever_runs_the_jobs_manages_the_model(stack: Stack, _: Environment) -> Iterator[str]:
    granted = {grant["principal"]: grant["privileges"] for grant in resources(stack, "databricks_grant").values()}
    run_as = {job["run_as"]["service_principal_name"] for job in jobs(stack) if "run_as" in job}
    yield from (name for name in run_as if "MANAGE" not in granted.get(name, []))


def _principal(entry: dict[str, str]) -> str:
    return next(value for key, value in entry.items() if key != "permission_level")


@rule("Jobs run what lies in the folder: who may write there runs code as production.")
def only_who_deploys_writes_the_folder(stack: Stack, environment: Environment) -> Iterator[str]:
    if environment.workspace.production:
        yield from (
            file["path"]
            for file in resources(stack, "databricks_workspace_file").values()
            if file["path"].startswith("/Shared/")
        )
    for permissions in resources(stack, "databricks_permissions").values():
        if "directory_path" in permissions:
            others = (one for one in permissions["access_control"] if _principal(one) != environment.deployer)
            yield from (str(one) for one in others if one["permission_level"] != "CAN_READ")


@rule("The provider hides whoever reads a list from themselves, unless the list names them: plans would differ.")
def permissions_name_who_deploys(stack: Stack, environment: Environment) -> Iterator[str]:
    for name, permissions in resources(stack, "databricks_permissions").items():
        levels = {_principal(entry): entry["permission_level"] for entry in permissions["access_control"]}
        expected = "IS_OWNER" if "job_id" in permissions else "CAN_MANAGE"
        if environment.deployer and levels.get(environment.deployer) != expected:
            yield name


@rule("What everybody may attach to, everybody may fill.")
def only_runners_use_the_pool(stack: Stack, _: Environment) -> Iterator[str]:
    for permissions in resources(stack, "databricks_permissions").values():
        if "instance_pool_id" in permissions:
            yield from (str(one) for one in permissions["access_control"] if one.get("group_name") == "users")


@rule("A path of one machine makes a change in the plan of every other.")
def no_path_of_this_machine(stack: Stack, environment: Environment) -> Iterator[str]:
    for name, file in resources(stack, "databricks_workspace_file").items():
        if file["source"].startswith("/"):
            yield name
    if stack["terraform"]["backend"].get("local", {}).get("path", "").startswith("/"):
        yield environment.name
