"""Plans as Terraform makes them: ``plans/`` holds its own JSON, as ``tests/deployment/plans.py`` writes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from infra.environment import environment
from infra.review import cost, plan_summary
from infra.review.plan import ABSENT, SENSITIVE, UNKNOWN, Attribute, Change, Changes
from ml_pipeline.errors import InputError
from ml_pipeline.settings import quartz

PLANS = Path(__file__).parent / "plans"
ROOT = Path(__file__).parents[3]
SECRET = "hunter2-very-secret"


def shown(name: str) -> dict[str, Any]:
    return dict(json.loads((PLANS / f"{name}.json").read_text(encoding="utf-8")))


@pytest.fixture
def stack() -> Changes:
    """Of a deployed stack a job is added, one changed, a pool replaced, a schema deleted."""
    return Changes.of(shown("stack"))


def test_the_summary_of_a_stack_is_as_it_was(stack: Changes, snapshot: SnapshotAssertion) -> None:
    assert {"create", "update", "replace", "delete"} <= {change.action for change in stack.items}
    assert plan_summary.render("dev", stack, cost="cost") == snapshot


def test_what_loses_state_is_said_first_and_loud(stack: Changes) -> None:
    lost = [change.address for change in stack.items if change.loses_state]
    assert lost
    head, _, _ = plan_summary.render("dev", stack).partition("<details>")
    assert "[!CAUTION]" in head
    assert all(address in head for address in lost)
    harmless = Changes(tuple(change for change in stack.items if not change.loses_state))
    assert "CAUTION" not in plan_summary.render("dev", harmless)


def test_a_sensitive_value_is_nowhere_but_its_change_is() -> None:
    text = json.dumps(shown("sensitive"))
    assert SECRET in text
    changes = Changes.of(shown("sensitive"))
    assert SECRET not in changes.written() + plan_summary.render("dev", changes)
    values = [one for change in changes.items for one in change.attributes if one.after == SENSITIVE]
    assert values
    other = Changes.of(json.loads(text.replace(SECRET, "another")))
    assert other.fingerprint == changes.fingerprint
    assert SECRET not in "\n".join(Changes(()).differences(changes))


def test_a_sensitive_value_is_hidden_where_it_carries_no_mark() -> None:
    marked = {"actions": ["update"], "before": {"password": "old!"}, "after": {"password": SECRET}}
    marks = {"before_sensitive": {"password": True}, "after_sensitive": {"password": True}}
    copied = {"actions": ["create"], "before": None, "after": f"postgres://me:{SECRET}@db", "after_sensitive": False}
    content = {
        "resource_changes": [{"address": "a.b", "change": {**marked, **marks}}],
        "output_changes": {"url": copied},
    }
    changes = Changes.of(content)
    assert SECRET not in changes.written() + plan_summary.render("dev", changes)
    assert {one.after for change in changes.items for one in change.attributes} == {SENSITIVE}


def test_what_a_failed_replacement_left_is_a_change_of_its_own() -> None:
    def changes(name: str) -> Changes:
        update = {"actions": ["update"], "before": {"name": "old"}, "after": {"name": name}}
        left = {"actions": ["delete"], "before": {"name": "older"}, "after": None}
        both: list[dict[str, Any]] = [{"change": update}, {"change": left, "deposed": "0123abcd"}]
        return Changes.of({"resource_changes": [{"address": "databricks_job.j", **one} for one in both]})

    reviewed = changes("new")
    assert [one.address for one in reviewed.items] == ["databricks_job.j", "databricks_job.j (deposed 0123abcd)"]
    assert changes("new").differences(reviewed) == []
    (said,) = changes("another").differences(reviewed)
    assert said.startswith("databricks_job.j: name: reviewed was ")


def tasks(*names: str, **more: int) -> dict[str, Any]:
    return {"task": [{"task_key": name, "timeout_seconds": more.get(name, 60)} for name in names]}


def differing(before: Any, after: Any, **more: Any) -> dict[str, tuple[str, str]]:
    change = {"actions": ["update"], "before": before, "after": after, **more}
    (found,) = Changes.of({"resource_changes": [{"address": "databricks_job.j", "change": change}]}).items
    return {one.path: (one.before, one.after) for one in found.attributes}


def test_an_element_that_comes_in_between_changes_no_other() -> None:
    added = differing(tasks("a", "c"), tasks("a", "b", "c"))
    assert added == {
        "task[]": ('["a", "c"]', '["a", "b", "c"]'),
        "task[b].task_key": ("(none)", '"b"'),
        "task[b].timeout_seconds": ("(none)", "60"),
    }
    assert differing(tasks("a", "b"), tasks("a", "b", b=90)) == {"task[b].timeout_seconds": ("60", "90")}
    assert differing(tasks("a", "b"), tasks("b", "a")) == {"task[]": ('["a", "b"]', '["b", "a"]')}


def test_elements_without_names_of_their_own_go_by_their_place() -> None:
    assert differing({"ports": [1, 2]}, {"ports": [1, 3]}) == {"ports[1]": ("2", "3")}
    assert differing(tasks("a", "a"), tasks("a", "a", a=9)).keys() == {
        "task[0].timeout_seconds",
        "task[1].timeout_seconds",
    }


def test_what_is_unknown_or_replaces_is_found_by_the_elements_name() -> None:
    before, after = tasks("a", "b"), {"task": [{"task_key": "a"}, {"task_key": "b"}]}
    unknown = {"task": [{}, {"timeout_seconds": True}]}
    replaced = {"after_unknown": unknown, "replace_paths": [["task", 1, "timeout_seconds"]]}
    change = {"actions": ["delete", "create"], "before": before, "after": after, **replaced}
    (found,) = Changes.of({"resource_changes": [{"address": "databricks_job.j", "change": change}]}).items
    of = {one.path: one for one in found.attributes}
    assert of["task[b].timeout_seconds"].after == "(known after apply)"
    assert [path for path, one in of.items() if one.replaces] == ["task[b].timeout_seconds"]


def test_an_empty_plan_says_so() -> None:
    empty = Changes.of({"resource_changes": [], "output_changes": {}})
    assert "no change" in plan_summary.render("dev", empty)
    assert empty.differences(empty) == []


def test_the_fingerprint_is_that_of_the_changes_in_any_order(stack: Changes) -> None:
    content = shown("stack")
    content["resource_changes"].reverse()
    content["timestamp"] = "another"
    assert Changes.of(content) == stack
    assert Changes.of(content).fingerprint == stack.fingerprint
    assert Changes.read(stack.written()) == stack


@pytest.mark.parametrize("kind", ["update", "create", "replace", "delete"])
def test_a_change_that_differs_is_named(stack: Changes, kind: str) -> None:
    content = shown("stack")
    actions = {"replace": [["delete", "create"], ["create", "delete"]]}.get(kind, [[kind]])
    one = next(each for each in content["resource_changes"] if each["change"]["actions"] in actions)
    dropped = copy.deepcopy(content)
    dropped["resource_changes"].remove(one)
    (line,) = stack.differences(Changes.of(dropped))
    assert line.partition(";")[0] == f"{one['address']}: {kind}, which was not reviewed"
    assert ("timeout_seconds: 3600 → 7200" in line) == (kind == "update")
    # It was made by an attempt that failed afterwards.
    assert Changes.of(dropped).differences(stack) == []


def test_what_an_attempt_before_left_to_do_was_reviewed() -> None:
    def one(action: Any, *attributes: Attribute, imports: str = "") -> Changes:
        change = Change(address="databricks_job.one", action=action, attributes=attributes, imports=imports)
        return Changes((change,))

    def pool(after: str, *, before: str = ABSENT, replaces: bool = False) -> Attribute:
        return Attribute(path="pool_id", before=before, after=after, replaces=replaces)

    reviewed = one("create", pool(UNKNOWN))
    assert one("create", pool('"p-1"')).differences(reviewed) == []
    assert one("create").differences(reviewed) == []
    assert one("import", imports="7").differences(reviewed) == []
    for other in (
        one("create", pool('"p-1"', before='"p-0"')),
        one("create", pool('"p-1"', replaces=True)),
        one("create", pool('"p-1"'), Attribute(path="name", before=ABSENT, after='"other"')),
        one("import", pool('"p-1"'), imports="7"),
        one("replace", pool('"p-1"')),
    ):
        assert len(other.differences(reviewed)) >= 1
    assert one("create", pool('"p-2"')).differences(one("create", pool('"p-1"'))) != []


def test_an_attribute_that_differs_is_named_with_both_values(stack: Changes) -> None:
    content = shown("stack")
    job = next(each for each in content["resource_changes"] if each["change"]["actions"] == ["update"])
    job["change"]["after"]["max_concurrent_runs"] = 7
    changed = Changes.of(content)
    assert changed.fingerprint != stack.fingerprint
    (line,) = changed.differences(stack)
    assert line.startswith(f"{job['address']}: max_concurrent_runs: reviewed was ")
    assert line.endswith("now it is 1 → 7")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"changes": [1], "fingerprint": ""}'])
def test_what_is_no_review_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a list of reviewed changes"):
        Changes.read(text)


def test_a_review_that_was_edited_is_refused(stack: Changes) -> None:
    with pytest.raises(ValueError, match="was changed since it was written"):
        Changes.read(stack.written().replace('"delete"', '"update"'))


def test_any_value_leaves_the_page_whole() -> None:
    value = "a | b\n`c` <script>|</details>" + "x" * 5000
    change = {"actions": ["create"], "before": None, "after": {"text": value}}
    page = plan_summary.render("dev", Changes.of({"resource_changes": [{"address": "a.b", "change": change}]}))
    (row,) = [line for line in page.splitlines() if "text" in line]
    assert row.count("|") == 4
    assert "<script>" not in page
    assert "characters)" in row


def test_a_plan_too_long_for_a_comment_says_what_is_missing() -> None:
    many = tuple(Change(address=f"databricks_schema.s{i}", action="delete") for i in range(50))
    change = {"actions": ["create"], "before": None, "after": {f"k{i}": "v" * 150 for i in range(50)}}
    resources = [{"address": f"databricks_job.j{i:03}", "change": change} for i in range(100)]
    changes = Changes((*Changes.of({"resource_changes": resources}).items, *many))
    page = plan_summary.render("dev", changes)
    assert len(page) < 65_000
    assert "100 to create, 50 to delete" in page
    assert page.count("is deleted") == 50
    assert "more changes are not shown here" in page
    assert changes.fingerprint in page


@pytest.mark.parametrize(
    ("cron", "runs"),
    [
        ("0 0 6 * * ?", 365.25 / 12),
        ("0 0/15 8-17 ? * MON-FRI", 40 * 365.25 * 5 / 7 / 12),
        ("0 0 6 1 * ?", 1),
        ("0 0 6 L * ?", 1),
        ("0 0 6 L-2 * ?", 1),
        ("0 0 6 15W * ?", 1),
        ("0 0 6 LW 1,7 ?", 2 / 12),
        ("0 0 6 ? * 6L", 1),
        ("0 0 6 ? * MON#1", 1),
        ("0 0 6 ? * L", 365.25 / 7 / 12),
        ("0 0 6 31 * ?", 7 / 12),
        ("0,30 0 6 1 1 ? 2027", 2 / 12),
    ],
)
def test_runs_of_a_month(cron: str, runs: float) -> None:
    assert quartz.per_month(cron) == pytest.approx(runs, rel=0.01)


def test_the_cost_of_production() -> None:
    prod = environment.load(ROOT / "tests" / "environments" / "prod.toml")
    rates = cost.Rates.model_validate(
        {"minutes_per_run": 30, "dbu_price": 0.2, "machines": {"m6id.xlarge": {"hour": 1.0, "dbu": 2.0}}}
    )
    pool, schedule = cost.estimate(prod, rates).lines
    assert (pool.what, pool.dollars) == ("pool", 730.0)
    assert schedule.dollars == pytest.approx(365.25 / 12 * 0.5 * 1.4)
    page = cost.estimate(prod, rates).markdown()
    assert "an estimate from `infra/review/rates.toml`" in page
    assert "**$751.31** a month" in page


def test_a_machine_without_a_rate_is_not_guessed() -> None:
    prod = environment.load(ROOT / "tests" / "environments" / "prod.toml")
    page = cost.estimate(prod, cost.Rates(minutes_per_run=1, dbu_price=1)).markdown()
    assert page.count("no rate") == 2
    assert "**$0.00** a month, and 2 without a rate" in page


def test_what_is_paused_and_keeps_no_machine_costs_nothing() -> None:
    dev = environment.load(ROOT / "tests" / "environments" / "dev.toml")
    assert cost.estimate(dev).markdown() == ""


@pytest.mark.parametrize("text", ["minutes_per_run = 0\ndbu_price = 1", "x =", "dbu_price = 1"])
def test_rates_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=str(file)):
        cost.rates(file)
