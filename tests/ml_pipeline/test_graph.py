import dataclasses
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ml_pipeline.graph import (
    DYNAMIC_VALUES,
    Job,
    JobParameter,
    Task,
    check_started,
    in_order,
    references,
    substitute,
)


@dataclass(frozen=True)
class Node:
    name: str
    depends_on: tuple[str, ...] = ()


def task(name: str, *depends_on: str, **others: Any) -> Task:
    return Task(**{"name": name, "entry_point": "steps:run", "parameters": {}, "depends_on": depends_on, **others})


def job(*tasks: Task, **others: Any) -> Job:
    return Job(**{"name": "job", "description": "", "tasks": tasks, **others})


def parameter(name: str, default: str = "") -> JobParameter:
    return JobParameter(name=name, default=default, description="")


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


@st.composite
def acyclic(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(0, 8))
    ordered = [f"n{i}" for i in range(count)]
    nodes = []
    for i, name in enumerate(ordered):
        before = draw(st.lists(st.sampled_from(ordered[:i]), unique=True)) if i else []
        nodes.append(Node(name, tuple(before)))
    return draw(st.permutations(nodes))


@given(acyclic())
def test_order_puts_each_node_once_and_after_what_it_depends_on(nodes: list[Node]) -> None:
    order = names(in_order(nodes, what="node"))

    assert sorted(order) == sorted(node.name for node in nodes)
    for node in nodes:
        for dependency in node.depends_on:
            assert order.index(dependency) < order.index(node.name)


@given(acyclic())
def test_order_returns_the_nodes_themselves(nodes: list[Node]) -> None:
    assert set(in_order(nodes, what="node")) == set(nodes)


@given(st.permutations(["a", "b", "c", "d"]))
def test_nodes_without_dependencies_keep_the_order_of_declaration(declared: list[str]) -> None:
    assert names(in_order([Node(name) for name in declared], what="node")) == declared


def test_ties_keep_the_order_of_declaration_when_dependents_come_first() -> None:
    declared = [Node("x", ("b",)), Node("y", ("a",)), Node("a"), Node("b")]

    assert names(in_order(declared, what="node")) == ["a", "b", "x", "y"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        pytest.param([Node("a"), Node("b"), Node("a")], "step 'a' is declared twice", id="declared twice"),
        pytest.param(
            [Node("a"), Node("b", ("c",))], "step 'b' depends on unknown 'c'; known: a, b", id="unknown dependency"
        ),
        pytest.param([Node("a", ("a",))], "steps depend on each other in a cycle: a -> a", id="depends on itself"),
        pytest.param(
            [Node("a", ("b",)), Node("b", ("a",))], "steps depend on each other in a cycle: a -> b -> a", id="cycle"
        ),
    ],
)
def test_a_graph_that_has_no_order_is_refused(nodes: list[Node], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        in_order(nodes, what="step")


@given(acyclic(), st.data())
def test_a_cycle_is_refused_wherever_it_is(nodes: list[Node], data: st.DataObject) -> None:
    dependent = [node for node in nodes if node.depends_on]
    assume(dependent)
    last = data.draw(st.sampled_from(dependent))
    first = data.draw(st.sampled_from(last.depends_on))
    closed = [Node(n.name, (*n.depends_on, last.name)) if n.name == first else n for n in nodes]

    with pytest.raises(ValueError, match="in a cycle: ") as caught:
        in_order(closed, what="node")

    cycle = str(caught.value).rpartition(": ")[2].split(" -> ")
    depends_on = {node.name: node.depends_on for node in closed}
    assert cycle[0] == cycle[-1]
    assert all(a in depends_on[b] or b in depends_on[a] for a, b in pairwise(cycle))


LITERALS = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=10)
REFERENCES = st.from_regex(r"[a-z_]+(\.[a-z_]+){0,2}", fullmatch=True)
SPACES = st.sampled_from(["", " ", "  "])
ANY_TEXT = st.text(max_size=10) | st.sampled_from(["{{a}}", r"\1", r"\g<0>", "{", "}}"])


@given(st.lists(st.tuples(LITERALS, SPACES, REFERENCES, SPACES, ANY_TEXT)), LITERALS)
def test_substitute_replaces_each_reference_and_nothing_else(
    pieces: list[tuple[str, str, str, str, str]], end: str
) -> None:
    values = {reference: value for _, _, reference, _, value in pieces}
    written = "".join(f"{text}{{{{{left}{name}{right}}}}}" for text, left, name, right, _ in pieces) + end
    expected = "".join(text + values[name] for text, _, name, _, _ in pieces) + end

    assert substitute(written, values) == expected
    assert references(written) == tuple(name for _, _, name, _, _ in pieces)


@given(st.lists(st.tuples(LITERALS, REFERENCES)))
def test_substituting_each_reference_by_itself_changes_nothing(pieces: list[tuple[str, str]]) -> None:
    written = "".join(f"{text}{{{{{name}}}}}" for text, name in pieces)

    assert substitute(written, {name: f"{{{{{name}}}}}" for _, name in pieces}) == written


@pytest.mark.parametrize("value", ["", "text", "{job.run_id}", '{"a": {"b": 1}}', "job.run_id", "{{open"])
def test_text_without_a_reference_stays(value: str) -> None:
    assert references(value) == ()
    assert substitute(value, {}) == value


def test_a_reference_without_a_value_is_no_empty_text() -> None:
    with pytest.raises(KeyError, match="unknown"):
        substitute("{{unknown}}", {"known": ""})


@pytest.mark.parametrize("name", ["", "Train", "1st", "two words", "train-it", "_train", "train\n", "träin"])
def test_names_are_lower_case_with_underscores(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"task name '{name}' is not lower case with underscores")):
        task(name)
    with pytest.raises(ValueError, match=re.escape(f"job name '{name}' is not lower case with underscores")):
        job(task("a"), name=name)


@pytest.mark.parametrize("entry_point", ["", "train", "ml.training", "ml.training:", ":train", "a:b:c", "a b:c", "a:1"])
def test_an_entry_point_is_a_module_and_a_function(entry_point: str) -> None:
    message = f"task 'a': entry point '{entry_point}' is not 'package.module:function'"

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Task(name="a", entry_point=entry_point, parameters={})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"timeout_seconds": 0}, "task 'a': timeout_seconds 0 is not above 0", id="no time"),
        pytest.param({"timeout_seconds": -1}, "task 'a': timeout_seconds -1 is not above 0", id="negative time"),
        pytest.param({"max_retries": -1}, "task 'a': max_retries -1 is below 0", id="negative retries"),
    ],
)
def test_a_limit_out_of_range_is_refused(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        task("a", **given)


def test_the_smallest_limits_are_accepted() -> None:
    smallest = task("a", timeout_seconds=1, max_retries=0)

    assert (smallest.timeout_seconds, smallest.max_retries) == (1, 0)


def test_a_task_is_the_command_line_of_run_task() -> None:
    step = task("a", parameters={"table": "local.iris.train", "run": "id {{job.run_id}}", "empty": ""})

    assert step.arguments({"job.run_id": "7"}) == [
        "--entry-point=steps:run",
        "--table=local.iris.train",
        "--run=id 7",
        "--empty=",
    ]


def test_a_job_has_its_tasks_in_dependency_order() -> None:
    declared = job(task("last", "middle"), task("middle", "first"), task("first"))

    assert [step.name for step in declared.tasks] == ["first", "middle", "last"]


@pytest.mark.parametrize(
    ("tasks", "others", "message"),
    [
        pytest.param((), {}, "job 'job' has no task", id="no task"),
        pytest.param((task("a"), task("a")), {}, "job 'job': task 'a' is declared twice", id="task twice"),
        pytest.param(
            (task("a", "b"),), {}, "job 'job': task 'a' depends on unknown 'b'; known: a", id="unknown dependency"
        ),
        pytest.param(
            (task("a", "b"), task("b", "a")),
            {},
            "job 'job': tasks depend on each other in a cycle: a -> b -> a",
            id="cycle",
        ),
        pytest.param(
            (task("a"),),
            {"parameters": (parameter("p"), parameter("q"), parameter("p"))},
            "job 'job' declares a parameter twice",
            id="parameter twice",
        ),
        pytest.param(
            (task("a", parameters={"x": "{{job.parameters.q}}"}),),
            {"parameters": (parameter("p"),)},
            "job 'job': task 'a': parameter 'x' refers to unknown 'job.parameters.q'; "
            "known: job.run_id, job.start_time.iso_date, job.parameters.p",
            id="reference to an undeclared parameter",
        ),
        pytest.param(
            (task("a", parameters={"x": "{{job.run_id}} {{task.name}}"}),),
            {},
            "job 'job': task 'a': parameter 'x' refers to unknown 'task.name'; "
            "known: job.run_id, job.start_time.iso_date",
            id="second reference of a value",
        ),
        pytest.param(
            (task("a"),),
            {"parameters": (parameter("p"), parameter("q", "{{job.parameters.p}}"))},
            "job 'job': parameter 'q' refers to unknown 'job.parameters.p'; known: job.run_id, job.start_time.iso_date",
            id="default that refers to a parameter",
        ),
    ],
)
def test_a_job_that_can_not_run_is_refused(tasks: tuple[Task, ...], others: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        job(*tasks, **others)


def test_a_job_tells_what_its_tasks_may_refer_to() -> None:
    declared = job(task("a"), parameters=(parameter("p"), parameter("q")))

    assert declared.values == (*DYNAMIC_VALUES, "job.parameters.p", "job.parameters.q")


def test_a_job_can_not_be_changed() -> None:
    declared = job(task("a"))

    with pytest.raises(dataclasses.FrozenInstanceError):
        declared.name = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        declared.tasks[0].entry_point = "other:run"  # type: ignore[misc]


def test_a_run_takes_given_values_and_defaults() -> None:
    declared = job(
        task("a"),
        parameters=(parameter("given", "unused"), parameter("left_out", "default"), parameter("cleared", "default")),
    )

    values = declared.values_of_run(run_id="7", start_date="2024-02-29", parameters={"given": "x", "cleared": ""})

    assert values == {
        "job.run_id": "7",
        "job.start_time.iso_date": "2024-02-29",
        "job.parameters.given": "x",
        "job.parameters.left_out": "default",
        "job.parameters.cleared": "",
    }


def test_a_default_may_refer_to_a_dynamic_value() -> None:
    dated = (parameter("day", "{{job.start_time.iso_date}}"), parameter("run", "run {{ job.run_id }}"))

    values = job(task("a"), parameters=dated).values_of_run(run_id="7", start_date="2024-02-29", parameters={})

    assert values["job.parameters.day"] == "2024-02-29"
    assert values["job.parameters.run"] == "run 7"


@pytest.mark.parametrize(
    ("declared", "accepted"), [((), "none"), ((parameter("p"), parameter("q")), "p, q")], ids=["none", "two"]
)
def test_a_run_refuses_a_parameter_that_is_not_declared(declared: tuple[JobParameter, ...], accepted: str) -> None:
    with pytest.raises(ValueError, match=f"^job 'job' has no parameter 'r'; accepted: {accepted}$"):
        job(task("a"), parameters=declared).values_of_run(run_id="7", start_date="2024-02-29", parameters={"r": ""})


def test_every_reference_of_a_job_has_a_value_in_each_run() -> None:
    declared = job(
        task("a", parameters={"all": "{{job.run_id}}/{{job.start_time.iso_date}}/{{job.parameters.p}}"}),
        parameters=(parameter("p", "default"),),
    )

    values = declared.values_of_run(run_id="7", start_date="2024-02-29", parameters={})

    assert set(values) == set(declared.values)
    assert declared.tasks[0].arguments(values)[1] == "--all=7/2024-02-29/default"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"run_job": "other"}, "task 'a' has an entry point and runs a job; accepted: one of the two", id="both"
        ),
        pytest.param(
            {"run_if": "ALL_DONE", "depends_on": ("b",)},
            "task 'a': run_if 'ALL_DONE'; accepted: ALL_SUCCESS, AT_LEAST_ONE_FAILED",
            id="unknown condition",
        ),
        pytest.param(
            {"run_if": "AT_LEAST_ONE_FAILED"},
            "task 'a': run_if 'AT_LEAST_ONE_FAILED' needs a task that it depends on",
            id="nothing can fail before it",
        ),
    ],
)
def test_a_task_that_can_not_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Task(**{"name": "a", "entry_point": "steps:run", "parameters": {}, **given})


def starts(run_job: str, **parameters: str) -> Task:
    return Task(name="a", run_job=run_job, parameters=parameters)


def test_a_task_that_runs_a_job_gives_it_parameters() -> None:
    other = job(task("b"), name="other", parameters=(parameter("p"),))
    starting = job(starts("other", p="run {{job.run_id}}"), name="starting")

    check_started([other, starting])

    assert starting.tasks[0].job_parameters({"job.run_id": "7"}) == {"p": "run 7"}


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        pytest.param([job(starts("job"))], "job 'job': task 'a' runs job 'job'; accepted: none", id="itself"),
        pytest.param(
            [job(task("b"), name="x"), job(starts("z"), name="y"), job(task("c"), name="z")],
            "job 'y': task 'a' runs job 'z'; accepted: x",
            id="one that comes later",
        ),
        pytest.param(
            [job(task("b"), name="x", parameters=(parameter("p"),)), job(starts("x", q="1"), name="y")],
            "job 'y': task 'a': job 'x' has no parameter 'q'; accepted: p",
            id="unknown parameter",
        ),
    ],
)
def test_a_job_that_can_not_be_run_by_a_task_is_refused(jobs: list[Job], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_started(jobs)
