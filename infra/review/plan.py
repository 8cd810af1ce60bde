"""What a Terraform plan would change, read from its own JSON (``terraform show -json PLAN``).

The form of that JSON is Terraform's "JSON Output Format", plan representation, format version 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Action = Literal["create", "update", "replace", "delete", "import", "forget"]

SENSITIVE = "(sensitive)"
"""Stands for a value that Terraform holds to be sensitive: neither it nor a hash of it is kept anywhere."""
UNKNOWN = "(known after apply)"
ABSENT = "(none)"
_NAMES = ("task_key", "job_cluster_key", "key", "name")
"""What names an element of a list."""
_SHORTEST_SECRET = 4
"""Characters: a shorter text is found in too much else to be looked for there."""

STATEFUL = frozenset(
    {
        "aws_s3_bucket",
        "databricks_catalog",
        "databricks_mlflow_experiment",
        "databricks_mlflow_model",
        "databricks_registered_model",
        "databricks_schema",
        "databricks_sql_table",
        "databricks_volume",
    }
)
"""Types of resources that hold what no deployment brings back: tables, files, models, runs."""


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One value that changes; values are JSON, or stand for one that isn't shown."""

    path: str
    """Where in the resource, such as ``task[0].timeout_seconds``."""
    before: str
    after: str
    replaces: bool = False
    """Whether this is why the resource is replaced."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a plan does to one resource, or to one output (``output.NAME``)."""

    address: str
    action: Action
    attributes: tuple[Attribute, ...] = ()
    imports: str = ""
    """Id of what is imported first."""

    @property
    def holds_state(self) -> bool:
        """Whether no deployment brings back what the resource holds."""
        return self.address.partition(".")[0] in STATEFUL

    @property
    def loses_state(self) -> bool:
        """Whether what the resource holds is gone afterwards."""
        return self.holds_state and self.action in ("delete", "replace", "forget")


@dataclass(frozen=True)
class Changes:
    """All that a plan would change, in the order of the addresses."""

    items: tuple[Change, ...]

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Self:
        """Of a plan's JSON."""
        resources = shown.get("resource_changes", [])
        planned = [(_address(each), each["change"]) for each in resources if each.get("mode", "managed") == "managed"]
        planned += [(f"output.{name}", change) for name, change in shown.get("output_changes", {}).items()]
        marked = [each["change"] for each in resources] + [change for _, change in planned]
        secrets = {
            text
            for change in marked
            for side in ("before", "after")
            for text in _secrets(change.get(side), change.get(f"{side}_sensitive"))
        }
        changes = [_change(address, change, secrets) for address, change in planned]
        found = [change for change in changes if change is not None]
        return cls(tuple(sorted(found, key=lambda change: change.address)))

    @classmethod
    def read(cls, text: str) -> Self:
        """Of what `written` gave.

        Raises:
            ValueError: it is something else, or was changed since.
        """
        try:
            content = json.loads(text)
            items = tuple(
                Change(**each | {"attributes": tuple(Attribute(**one) for one in each["attributes"])})
                for each in content["changes"]
            )
            fingerprint = content["fingerprint"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"is not a list of reviewed changes: {error!r}") from None
        if cls(items).fingerprint != fingerprint:
            raise ValueError("was changed since it was written: its fingerprint does not fit")
        return cls(items)

    def written(self) -> str:
        """As JSON, with the fingerprint."""
        content = {"fingerprint": self.fingerprint, "changes": [asdict(item) for item in self.items]}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the changes: the same for the same ones, on whatever machine and day they are planned."""
        items = [asdict(item) for item in self.items]
        return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()

    def differences(self, reviewed: Changes) -> list[str]:
        """What is planned now and was not reviewed: one line each.

        A deployment that failed half way leaves less to do: a change that was made is not planned any more, a value
        that was unknown is known, and an object that Terraform's state lacks is imported. None of these is a
        difference, so the same review serves to finish the deployment.
        """
        now, then = ({item.address: item for item in each.items} for each in (self, reviewed))
        lines = []
        for address in sorted(now):
            if address not in then:
                lines.append(f"{address}: {now[address].action}, which was not reviewed{_values(now[address])}")
            elif now[address] != then[address] and not _made(now[address], then[address]):
                lines += [f"{address}: {said}" for said in _differences(now[address], then[address])]
        return lines


def _made(now: Change, then: Change) -> bool:
    """Whether an object was made as reviewed, and only Terraform's state lacks it."""
    return (now.action, then.action) == ("import", "create") and not now.attributes


def _values(change: Change) -> str:
    """What an existing resource is changed to; what is made or removed is named by its address."""
    if change.action not in ("update", "replace"):
        return ""
    return "".join(f"; {one.path}: {one.before} → {one.after}" for one in change.attributes)


def _differences(now: Change, then: Change) -> Iterator[str]:
    if (now.action, now.imports) != (then.action, then.imports):
        said = [f"{each.action}{f' of {each.imports}' if each.imports else ''}" for each in (then, now)]
        yield f"reviewed was {said[0]}, now it is {said[1]}"
    mine, theirs = ({one.path: one for one in each.attributes} for each in (now, then))
    for path in sorted({*mine, *theirs}):
        if mine.get(path) != theirs.get(path) and not _known_by_now(mine.get(path), theirs.get(path)):
            said = [f"{one.before} → {one.after}" if one else "no change" for one in (theirs.get(path), mine.get(path))]
            yield f"{path}: reviewed was {said[0]}, now it is {said[1]}"


def _known_by_now(now: Attribute | None, then: Attribute | None) -> bool:
    if then is None or then.after != UNKNOWN:
        return False
    return now is None or (now.before, now.replaces) == (then.before, then.replaces)


def _address(resource: Mapping[str, Any]) -> str:
    """An address of its own for what a replacement that failed left beside the resource."""
    return f"{resource['address']} (deposed {resource['deposed']})" if "deposed" in resource else resource["address"]


def _change(address: str, change: Mapping[str, Any], secrets: Collection[str]) -> Change | None:
    actions = change["actions"]
    imports = (change.get("importing") or {}).get("id", "")
    if actions in (["no-op"], ["read"]) and not imports:
        return None
    action: Action = "replace" if len(actions) == 2 else "import" if actions == ["no-op"] else actions[0]
    before = _flat(change.get("before"), change.get("before_sensitive"), secrets)
    after = _flat(change.get("after"), change.get("after_sensitive"), secrets)
    after |= _unknown(change.get("after_unknown"), change.get("after"))
    replaces = {
        _path(path, of)
        for path in change.get("replace_paths", [])
        for of in (change.get("before"), change.get("after"))
    }
    attributes = tuple(
        Attribute(
            path=path,
            before=before.get(path, (ABSENT, None))[0],
            after=after.get(path, (ABSENT, None))[0],
            replaces=path in replaces,
        )
        for path in sorted({*before, *after})
        # What is compared is the value itself: two sensitive ones look the same.
        if before.get(path, (ABSENT, None))[1] != after.get(path, (ABSENT, None))[1] or path in replaces
    )
    return Change(address=address, action=action, attributes=attributes, imports=imports)


def _flat(value: Any, sensitive: Any, secrets: Collection[str], path: str = "") -> dict[str, tuple[str, Any]]:
    """Each value in a value: by its path, what is shown of it and itself. What is null or empty is left out."""
    if value in (None, [], {}):
        return {}
    if sensitive is True:
        return {path: (SENSITIVE, value)}
    if isinstance(value, dict):
        hidden = sensitive if isinstance(sensitive, dict) else {}
        parts = [_flat(each, hidden.get(key), secrets, f"{path}.{key}" if path else key) for key, each in value.items()]
    elif isinstance(value, list):
        flags = sensitive if isinstance(sensitive, list) else []
        flags = [*flags, *[None] * (len(value) - len(flags))]
        labels = _labels(value, secrets)
        parts = [
            _flat(each, flag, secrets, f"{path}[{label}]")
            for each, flag, label in zip(value, flags, labels, strict=True)
        ]
        if labels != _places(value):
            # Where elements go by their names, their order is a value of its own.
            parts.append({f"{path}[]": (json.dumps(labels, ensure_ascii=False), labels)})
    else:
        shown = json.dumps(value, ensure_ascii=False)
        return {path: (SENSITIVE if any(secret in str(value) for secret in secrets) else shown, value)}
    return {key: shown for part in parts for key, shown in part.items()}


def _labels(values: list[Any], secrets: Collection[str] = ()) -> list[str]:
    """What a list's elements are called in a path: what names each, so that one more moves none, else their places."""
    for key in _NAMES:
        named = [each.get(key) if isinstance(each, dict) else None for each in values]
        names = [name for name in named if isinstance(name, str) and name and name not in secrets]
        if len(set(names)) == len(values):
            return names
    return _places(values)


def _places(values: list[Any]) -> list[str]:
    return [str(place) for place in range(len(values))]


def _unknown(value: Any, known: Any, path: str = "") -> dict[str, tuple[str, Any]]:
    """Each value that only applying tells, by its path; the lists' elements are named by what is known of them."""
    if value is True:
        return {path: (UNKNOWN, object())}
    if isinstance(value, dict):
        beside = known if isinstance(known, dict) else {}
        parts = [_unknown(each, beside.get(key), f"{path}.{key}" if path else key) for key, each in value.items()]
    elif isinstance(value, list):
        elements = known if isinstance(known, list) and len(known) == len(value) else [None] * len(value)
        parts = [
            _unknown(each, element, f"{path}[{label}]")
            for each, element, label in zip(value, elements, _labels(elements), strict=True)
        ]
    else:
        return {}
    return {key: shown for part in parts for key, shown in part.items()}


def _path(steps: list[Any], value: Any) -> str:
    """A path as Terraform has it, by place, in the words of `_flat`."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            elements = value if isinstance(value, list) else []
            path += f"[{_labels(elements)[step] if step < len(elements) else step}]"
            value = elements[step] if step < len(elements) else None
        else:
            path += f".{step}"
            value = value.get(step) if isinstance(value, dict) else None
    return path.removeprefix(".")


def _secrets(value: Any, sensitive: Any) -> Iterator[str]:
    """Texts that are marked sensitive: elsewhere, such as in an output, they may carry no mark."""
    if sensitive is True:
        yield from _texts(value)
    elif isinstance(value, dict) and isinstance(sensitive, dict):
        for key, each in value.items():
            yield from _secrets(each, sensitive.get(key))
    elif isinstance(value, list) and isinstance(sensitive, list):
        for each, mark in zip(value, sensitive, strict=False):
            yield from _secrets(each, mark)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
        yield value
