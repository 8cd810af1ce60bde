import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ml_pipeline import entry_point
from ml_pipeline.errors import InputError
from ml_pipeline.settings.pipeline import Source

STEPS = """
from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from ml_pipeline.settings.pipeline import EstimatorSettings, Source
from ml_pipeline.settings.types import Columns, Share

calls = []


def step(*, table: str, share: Share, rows: int = 10, columns: Columns = [], label: str = "none") -> dict[str, str]:
    calls.append((table, share, rows, columns, label))
    return {table: f"{rows} rows"}


def quiet(*, table: str) -> None:
    calls.append(table)


def broken(*, table: str) -> dict[str, str]:
    raise LookupError(table)


def text(*, value: str) -> None: ...
def whole(*, value: int) -> None: ...
def optional(*, value: int | None = None) -> None: ...
def share(*, value: Share) -> None: ...
def folds(*, value: Annotated[int, Field(ge=2)]) -> None: ...
def flag(*, value: bool) -> None: ...
def date(*, value: datetime.date) -> None: ...
def choice(*, value: Literal["feature", "ci"]) -> None: ...
def columns(*, value: Columns) -> None: ...
def source(*, value: Source) -> None: ...
def estimator(*, value: EstimatorSettings) -> None: ...


class Step:
    pass


constant = 1
"""


def use(folder: Path, name: str, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(folder)


def forget(*modules: str) -> None:
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(autouse=True)
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    use(tmp_path, "made_up_steps", STEPS, monkeypatch)
    import made_up_steps  # type: ignore[import-not-found]

    yield made_up_steps
    forget("made_up_steps")


def parse(function: str, *parameters: str) -> entry_point.Call:
    return entry_point.parse([f"--entry-point=made_up_steps:{function}", *parameters])


def value(function: str, text: str) -> object:
    return parse(function, f"--value={text}").arguments["value"]


def refusal(*arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        entry_point.parse(arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def refused_value(function: str, text: str) -> str:
    message = refusal(f"--entry-point=made_up_steps:{function}", f"--value={text}")
    assert message.startswith("value")
    return message.removeprefix("value")


def test_a_call_has_the_function_and_its_parsed_parameters(steps: ModuleType) -> None:
    call = parse("step", "--table=a.b.c", "--share=0.5", "--rows=3", '--columns=["x", "y"]', "--label=l")

    assert call.function is steps.step
    assert call.arguments == {"table": "a.b.c", "share": 0.5, "rows": 3, "columns": ["x", "y"], "label": "l"}


def test_parsing_runs_nothing_and_calling_runs_the_step_once(steps: ModuleType) -> None:
    call = parse("step", "--table=a.b.c", "--share=0.5")
    assert steps.calls == []

    assert call() == {"a.b.c": "10 rows"}
    assert steps.calls == [("a.b.c", 0.5, 10, [], "none")]


def test_a_step_that_made_nothing_returns_nothing() -> None:
    assert parse("quiet", "--table=t")() == {}


def test_what_a_step_raises_is_its_own() -> None:
    with pytest.raises(LookupError, match=r"^t$"):
        parse("broken", "--table=t")()


def test_the_entry_point_may_come_last() -> None:
    call = entry_point.parse(["--table=t", "--entry-point=made_up_steps:quiet"])

    assert call.arguments == {"table": "t"}


def test_a_value_may_hold_anything_after_the_first_equals_sign() -> None:
    assert value("text", "a=b --c=d = ") == "a=b --c=d = "


@pytest.mark.parametrize("text", ["[1, 2]", "{}", "{x", "null", "1", " padded ", "'quoted'", '"quoted"', "größe", ""])
def test_text_stays_as_it_is(text: str) -> None:
    assert value("text", text) == text


@pytest.mark.parametrize("name", ["rows", "columns", "label"])
def test_an_empty_optional_parameter_takes_the_default(steps: ModuleType, name: str) -> None:
    call = parse("step", "--table=t", "--share=0.5", f"--{name}=")

    assert name not in call.arguments
    call()
    assert steps.calls == [("t", 0.5, 10, [], "none")]


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        pytest.param("whole", "-3", -3, id="whole number"),
        pytest.param("optional", "12", 12, id="optional whole number"),
        pytest.param("share", "0.25", 0.25, id="number"),
        pytest.param("folds", "2", 2, id="number at its bound"),
        pytest.param("flag", "true", True, id="true"),
        pytest.param("flag", "false", False, id="false"),
        pytest.param("date", "2024-02-29", datetime.date(2024, 2, 29), id="date"),
        pytest.param("choice", "ci", "ci", id="choice"),
        pytest.param("columns", "[]", [], id="empty list"),
        pytest.param("columns", '["a b", "größe"]', ["a b", "größe"], id="list"),
        pytest.param("source", '{"sklearn": "iris"}', Source(sklearn="iris"), id="model"),
        pytest.param("source", ' {"csv": "a", "separator": ";"}', Source(csv="a", separator=";"), id="model, padded"),
    ],
)
def test_a_value_is_parsed_by_its_annotation(function: str, text: str, expected: object) -> None:
    parsed = value(function, text)

    assert (type(parsed), parsed) == (type(expected), expected)


@pytest.mark.parametrize(
    ("function", "text", "said"),
    [
        pytest.param("whole", "many", ": must be a valid integer", id="no number"),
        pytest.param("whole", "1.5", ": must be a valid integer", id="fraction"),
        pytest.param("whole", "", ": must be a valid integer", id="empty but required"),
        pytest.param("optional", "many", ": must be a valid integer", id="optional but no number"),
        pytest.param("share", "1", ": must be less than 1 (given: '1')", id="above its range"),
        pytest.param("share", "0", ": must be greater than 0 (given: '0')", id="below its range"),
        pytest.param("share", "nan", ": must be less than 1 (given: 'nan')", id="not a number"),
        pytest.param("folds", "1", ": must be greater than or equal to 2 (given: '1')", id="below its bound"),
        pytest.param("flag", "maybe", ": must be a valid boolean", id="no boolean"),
        pytest.param("date", "today", ": must be a valid date", id="no date"),
        pytest.param("date", "2023-02-29", ": must be a valid date", id="a day that is not"),
        pytest.param("date", "29.02.2024", ": must be a valid date", id="another order"),
        pytest.param("choice", "fun", ": must be 'feature' or 'ci' (given: 'fun')", id="no choice"),
        pytest.param("columns", "a", ": Invalid JSON", id="text for a list"),
        pytest.param("columns", '["a"', ": Invalid JSON", id="list left open"),
        pytest.param("columns", '{"a": 1}', ": must be a list in brackets", id="table for a list"),
        pytest.param("columns", '["a", 1]', ".1: must be a text in quotes", id="wrong item"),
        pytest.param("columns", '["a", "a"]', ": names 'a' more than once", id="column twice"),
        pytest.param("source", "iris", ": Invalid JSON", id="text for a model"),
        pytest.param("source", "", ": Invalid JSON", id="empty model"),
        pytest.param("source", "[]", ": must be an object", id="list for a model"),
        pytest.param("source", "{}", ": names no source; accepted: exactly one of ", id="no source"),
        pytest.param("source", '{"csv": 1}', ".csv: must be a text in quotes", id="wrong field"),
        pytest.param(
            "source", '{"cvs": "a"}', ".cvs: unknown key, did you mean 'csv'?; accepted: ", id="unknown field"
        ),
        pytest.param("estimator", "{}", ".class: is missing", id="missing field, by its alias"),
    ],
)
def test_a_wrong_value_is_refused_by_name(function: str, text: str, said: str) -> None:
    assert refused_value(function, text).startswith(said)


def test_an_unknown_parameter_is_refused_with_the_right_one_and_all_of_them() -> None:
    assert refusal("--entry-point=made_up_steps:step", "--table=t", "--shard=0.5") == (
        "made_up_steps:step: shard: unknown parameter, did you mean 'share'?; "
        "accepted: table, share, rows, columns, label"
    )


def test_a_missing_parameter_is_refused_by_name() -> None:
    assert refusal("--entry-point=made_up_steps:step", "--table=t") == "made_up_steps:step: share: is missing"


@pytest.mark.parametrize("second", ["--table=u", "--table=t"], ids=["other value", "same value"])
def test_a_parameter_given_twice_is_refused(second: str) -> None:
    assert refusal("--entry-point=made_up_steps:quiet", "--table=t", second) == "run-task: --table is given twice"


def test_two_entry_points_are_refused() -> None:
    arguments = ["--entry-point=made_up_steps:quiet", "--entry-point=made_up_steps:step"]

    assert refusal(*arguments) == "run-task: --entry-point is given twice"


@pytest.mark.parametrize("argument", ["table", "table=t", "-table=t", "--table", "", "-"])
def test_what_is_no_parameter_is_refused(argument: str) -> None:
    message = refusal("--entry-point=made_up_steps:quiet", argument)

    assert message == f"run-task: '{argument}' is not a parameter; accepted: --NAME=VALUE"


@pytest.mark.parametrize("arguments", [[], ["--table=t"]], ids=["nothing", "a parameter"])
def test_a_missing_entry_point_is_refused(arguments: list[str]) -> None:
    assert refusal(*arguments) == "run-task: --entry-point=PACKAGE.MODULE:FUNCTION is missing"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("made_up_steps:nothing", id="unknown function"),
        pytest.param("made_up_steps:Step", id="class"),
        pytest.param("made_up_steps:constant", id="constant"),
        pytest.param("made_up_steps", id="no function"),
        pytest.param("made_up_steps:", id="empty function"),
        pytest.param(":step", id="empty module"),
        pytest.param("", id="empty"),
        pytest.param("nowhere:step", id="unknown module"),
        pytest.param("ml_pipeline.nowhere:step", id="unknown module of a package"),
        pytest.param("nowhere.steps:step", id="unknown package"),
        pytest.param("made_up_steps.deeper:step", id="module that is no package"),
        pytest.param("made_up_steps:step:step", id="two functions"),
        pytest.param(".steps:step", id="relative"),
    ],
)
def test_an_entry_point_that_does_not_exist_is_refused(name: str) -> None:
    assert refusal(f"--entry-point={name}") == (
        f"run-task: entry point '{name}' does not exist; accepted: PACKAGE.MODULE:FUNCTION"
    )


def test_nothing_runs_when_a_parameter_is_wrong(steps: ModuleType) -> None:
    for wrong in (["--share=2"], ["--share=0.5", "--row=1"], ["--share=0.5", "--rows=x"], []):
        refusal("--entry-point=made_up_steps:step", "--table=t", *wrong)

    assert steps.calls == []


@pytest.mark.parametrize("missing", ["a_library_that_is_not_there", "ml_pipeline.not_there", "needy.not_there"])
def test_a_step_that_lacks_one_of_its_own_imports_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    use(tmp_path, "needy", f"import {missing}\ndef step() -> None: ...\n", monkeypatch)

    with pytest.raises(ModuleNotFoundError, match=missing):
        entry_point.parse(["--entry-point=needy:step"])
    forget("needy")


@pytest.mark.parametrize("error", [ImportError, RuntimeError, TypeError, AttributeError, ValueError])
def test_a_step_whose_module_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    use(tmp_path, "failing", f"raise {error.__name__}('its own trouble')\n", monkeypatch)

    with pytest.raises(error, match=r"^its own trouble$"):
        entry_point.parse(["--entry-point=failing:step"])
