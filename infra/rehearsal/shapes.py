"""What a request is made of, as far as the rehearsal workspace reads it; the rest is kept as it was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from flask import request

from infra.rehearsal.api import ApiError, Document, not_implemented

Shape = Mapping[str, Any]
"""For each name the type of what it holds: a Python type, a list of one type, or a shape again."""
TEXTS: Shape = {"*": str}
"""An object of any names, each with a text."""

PRINCIPALS = ("user_name", "group_name", "service_principal_name")
_MACHINES = ("node_type_id", "driver_node_type_id", "instance_pool_id", "driver_instance_pool_id")
_CLUSTER: Shape = {
    **dict.fromkeys(("spark_version", *_MACHINES), str),
    **dict.fromkeys(("spark_conf", "spark_env_vars"), TEXTS),
}
_TASK: Shape = {
    "task_key": str,
    "depends_on": [{"task_key": str}],
    "run_if": str,
    "disabled": bool,
    "job_cluster_key": str,
    "existing_cluster_id": str,
    "new_cluster": _CLUSTER,
    "libraries": [{"whl": str}],
    "timeout_seconds": int,
    "max_retries": int,
    "min_retry_interval_millis": int,
    "retry_on_timeout": bool,
    "python_wheel_task": {"package_name": str, "entry_point": str, "parameters": [str], "named_parameters": TEXTS},
    "run_job_task": {"job_id": int, "job_parameters": TEXTS},
}
JOB: Shape = {
    "name": str,
    "run_name": str,
    "idempotency_token": str,
    "tasks": [_TASK],
    "job_clusters": [{"job_cluster_key": str, "new_cluster": _CLUSTER}],
    "parameters": [{"name": str, "default": str}],
    "environments": [{"environment_key": str}],
    "run_as": dict.fromkeys(PRINCIPALS, str),
    "schedule": {"quartz_cron_expression": str, "timezone_id": str},
    "queue": {"enabled": bool},
    "timeout_seconds": int,
    "max_concurrent_runs": int,
}
CHANGE: Shape = {"job_id": int, "new_settings": JOB, "fields_to_remove": [str]}
_GIVEN: Shape = {"job_parameters": TEXTS, "python_params": [str], "python_named_params": TEXTS}
RUN_NOW: Shape = {**_GIVEN, "job_id": int, "only": [str], "idempotency_token": str, "queue": {"enabled": bool}}
REPAIR: Shape = {
    **_GIVEN,
    "run_id": int,
    "latest_repair_id": int,
    "rerun_tasks": [str],
    "rerun_all_failed_tasks": bool,
    "rerun_dependent_tasks": bool,
}
POOL: Shape = {"instance_pool_name": str, "node_type_id": str, "custom_tags": TEXTS}
PERMISSIONS: Shape = {"access_control_list": [dict.fromkeys((*PRINCIPALS, "permission_level"), str)]}
SEARCH: Shape = {"max_results": int, "filter": str, "order_by": [str], "page_token": str}
GRANTS: Shape = {"changes": [{"principal": str, "add": [str], "remove": [str]}]}

_NAMES = {list: "array", dict: "object", str: "string", int: "integer", bool: "boolean"}


def shaped(value: Any, shape: Any, field: str = "") -> Any:
    """A value whose parts have these types; numbers and truth values may be sent as texts, as Airflow does.

    Args:
        value: What was sent.
        shape: A type; ``[shape]``; or a shape for each of some names, ``*`` for any.
        field: Where it was sent.
    """
    if isinstance(shape, list):
        return [shaped(one, shape[0], f"{field}[{index}]") for index, one in enumerate(_typed(value, list, field))]
    if isinstance(shape, dict):
        return {key: _field(key, one, shape, field) for key, one in _typed(value, dict, field).items()}
    if shape is int and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if shape is bool and value in ("true", "false"):
        value = value == "true"
    return _typed(value, shape, field)


def _field(key: str, value: Any, shape: Shape, field: str) -> Any:
    if shape is TEXTS and type(value) in (int, float, bool):
        # Databricks takes these in a map of texts, though not in a field that is one.
        return json.dumps(value)
    kind = shape.get(key, shape.get("*"))
    return value if kind is None else shaped(value, kind, f"{field}.{key}" if field else key)


def _typed(value: Any, kind: type, field: str) -> Any:
    # A truth value is not a number, though Python has it so; a number has 64 bits.
    if type(value) is not kind or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        raise ApiError(
            400,
            "MALFORMED_REQUEST",
            f"Could not parse request object: Expected {_NAMES[kind]} for field {field or 'of the request'}",
        )
    return value


def honoured(given: Document, shape: Shape) -> Document:
    """A request that holds nothing that the rehearsal workspace doesn't do."""
    for field, value in given.items():
        if value and field not in shape:
            raise not_implemented(f"the field {field} of {request.path}")
    return dict(shaped(given, shape))
