"""Access control lists of the workspace's objects: who may see, run, write and manage what.

What each level allows: docs.databricks.com, "Access control lists", and its older pages of jobs, folders and
experiments ("Jobs access control", "Share workspace objects using folders", "Workspace access control").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from infra.rehearsal import shapes
from infra.rehearsal.api import USER, ApiError, Document, Mlflow, caller, invalid, missing
from infra.rehearsal.files import Files, clean
from infra.rehearsal.store import Store
from ml_pipeline.settings.workspace import APPLICATION_ID


class _Kind(NamedTuple):
    """What can have an access control list."""

    object_type: str
    """What the answers call it."""
    levels: tuple[str, ...]
    """From the least to the most."""


_FILES = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
_MODELS = ("CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE")
KINDS = {
    "jobs": _Kind("job", ("CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER")),
    "instance-pools": _Kind("instance-pool", ("CAN_ATTACH_TO", "CAN_MANAGE")),
    "clusters": _Kind("cluster", ("CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE")),
    "experiments": _Kind("mlflowExperiment", ("CAN_READ", "CAN_EDIT", "CAN_MANAGE")),
    "registered-models": _Kind("registered-model", _MODELS),
    "repos": _Kind("repo", _FILES),
    "directories": _Kind("directory", _FILES),
    "notebooks": _Kind("notebook", _FILES),
    "files": _Kind("file", _FILES),
}
_STORED = {"jobs": "jobs", "instance-pools": "pools", "clusters": "clusters", "repos": "repos"}
_TREE = ("repos", "directories", "notebooks", "files")
_HOME = re.compile("/(?:Users|Repos)/([^/]+)")
TRASH = "/Trash/"
"""Before the id and the name of an experiment that was deleted."""
_ALL = "users"
"""The group that everybody is in."""
_ADMINS = "admins"


def groups(principal: str) -> tuple[str, ...]:
    """The groups that somebody is in."""
    return (_ADMINS, _ALL) if principal == USER else (_ALL,)


def named(entry: Document) -> tuple[str, str]:
    """The field by which an entry names its principal, and the name.

    Raises:
        ApiError: it names none, or more than one.
    """
    found = [(key, str(entry[key])) for key in shapes.PRINCIPALS if entry.get(key)]
    if len(found) != 1:
        raise invalid(f"an access control entry names exactly one of {', '.join(shapes.PRINCIPALS)}")
    ((key, name),) = found
    # Whichever field names a service principal, the answer has it in its own: the provider sends the user name of who
    # applies, and finds the service principal (its permissions/permissions_test.go, TestAccPermissions_Job).
    return ("service_principal_name" if re.fullmatch(APPLICATION_ID, name) else key), name


def _entry(principal: str, level: str) -> Document:
    key, name = named({"user_name": principal})
    return {key: name, "permission_level": level}


class Access:
    """The lists, and what follows from them.

    Args:
        store: Where the lists are kept, and what has them.
        files: The workspace's tree, in which lists are inherited.
        mlflow: Calls MLflow's server.
    """

    def __init__(self, store: Store, files: Files, mlflow: Mlflow) -> None:
        self._store = store
        self._files = files
        self._mlflow = mlflow

    def created(self, kind: str, object_id: object) -> None:
        """Let whoever makes an object manage it."""
        self._store.put("permissions", f"{kind}/{object_id}", {"entries": [_entry(caller(), "CAN_MANAGE")]})

    def entries(self, kind: str, object_id: str) -> list[Document]:
        """An object's own list.

        Raises:
            ApiError: there is no such object.
        """
        if kind not in KINDS:
            raise invalid(f"'{kind}' is not a supported object type; accepted: {', '.join(KINDS)}")
        if not self._exists(kind, object_id):
            raise missing(f"{KINDS[kind].object_type} with id {object_id} does not exist")
        kept = self._store.get("permissions", f"{kind}/{object_id}")
        if kept is not None:
            return list(kept["entries"])
        job = self._store.get("jobs", object_id) if kind == "jobs" else None
        return [_entry(job["creator_user_name"], "IS_OWNER") if job else _entry(USER, "CAN_MANAGE")]

    def _exists(self, kind: str, object_id: str) -> bool:
        if kind in _STORED:
            return self._store.get(_STORED[kind], object_id) is not None
        if kind == "experiments":
            return bool(self._experiment(object_id))
        if kind == "registered-models":
            return self._mlflow("GET", "registered-models/get", {"name": object_id})[1] == 200
        return self._files.has(kind, object_id)

    def _experiment(self, experiment_id: str) -> str:
        answer, status = self._mlflow("GET", "experiments/get", {"experiment_id": experiment_id})
        # MLflow takes 02 for 2, which would be another list.
        same = status == 200 and answer["experiment"]["experiment_id"] == experiment_id
        return str(answer["experiment"]["name"]) if same else ""

    def owner(self, job_id: object) -> str:
        """Whose rights a job has that names nobody else in ``run_as``."""
        entries = self.entries("jobs", str(job_id))
        return next(named(entry)[1] for entry in entries if entry["permission_level"] == "IS_OWNER")

    def may(self, level: str, kind: str, object_id: object, *, who: str | None = None) -> bool:
        """Whether somebody, or who asks, has at least this level."""
        who = who or caller()
        if who == USER:
            return True
        key = str(object_id)
        own = self.entries(kind, key)
        if kind == "experiments":
            own = [*own, *map(_of_experiment, self._above(self._experiment(key).removeprefix(f"{TRASH}{key}")))]
        elif kind in _TREE:
            own = [*own, *self._above(self._files.path_of(key), itself=True)]
        levels = KINDS[kind].levels
        return any(levels.index(entry["permission_level"]) >= levels.index(level) for entry in _of(who, own))

    def may_path(self, level: str, path: str, *, who: str | None = None) -> bool:
        """The same of what is, or would be, at a path of the tree."""
        who = who or caller()
        held = (_FILES.index(entry["permission_level"]) for entry in _of(who, self._above(clean(path), itself=True)))
        return who == USER or max(held, default=-1) >= _FILES.index(level)

    def need(self, level: str, kind: str, object_id: object, *, who: str | None = None) -> None:
        """Reject who asks, or somebody, unless they have at least this level."""
        if not self.may(level, kind, object_id, who=who):
            raise denied(level, f"{KINDS[kind].object_type} {object_id}", who=who)

    def need_path(self, level: str, path: str) -> None:
        """The same of a path of the tree."""
        if not self.may_path(level, path):
            raise denied(level, clean(path))

    def need_to_make(self, path: str) -> str:
        """Reject who may not make what is missing of a path; returns the first missing folder, or nothing."""
        place = PurePosixPath(clean(path))
        first = next(
            (str(one) for one in (*list(place.parents)[::-1], place) if not self._files.is_folder(str(one))), ""
        )
        if first and not self.may_path("CAN_MANAGE", first):
            raise denied("CAN_MANAGE", str(PurePosixPath(first).parent))
        return first

    def need_to_write(self, path: str) -> None:
        """Reject who may not replace the file at a path, or make one there."""
        place = PurePosixPath(clean(path))
        if self._files.is_there(str(place)):
            self.need_path("CAN_EDIT", str(place))
        else:
            self.need_path("CAN_MANAGE", str(place.parent))

    def _above(self, path: str, *, itself: bool = False) -> Iterator[Document]:
        """The entries that a path inherits; with its own, if asked for."""
        place = PurePosixPath(path)
        for above in (*((place,) if itself else ()), *place.parents):
            if str(above) == "/Shared":
                yield {"group_name": _ALL, "permission_level": "CAN_MANAGE"}
            elif home := _HOME.fullmatch(str(above)):
                yield _entry(home[1], "CAN_MANAGE")
            known = self._store.get("objects", str(above))
            for kind in _TREE if known else ():
                kept = self._store.get("permissions", f"{kind}/{(known or {})['object_id']}")
                yield from kept["entries"] if kept else ()


def _of_experiment(entry: Document) -> Document:
    # "Workspace access control": CAN RUN is enforced on an experiment as CAN EDIT is.
    return entry | {"permission_level": entry["permission_level"].replace("CAN_RUN", "CAN_EDIT")}


def _of(principal: str, entries: Iterable[Document]) -> Iterator[Document]:
    mine = {principal, *groups(principal)}
    return (entry for entry in entries if named(entry)[1] in mine)


def denied(level: str, what: str, *, who: str | None = None) -> ApiError:
    """The rejection of who lacks a level."""
    word = level.partition("_")[2].replace("_", " ").title()
    message = f"{who or caller()} does not have {word} permissions on {what}. "
    return ApiError(403, "PERMISSION_DENIED", message + "Please contact the owner or an administrator for access.")
