import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from ml_pipeline.errors import InputError
from ml_pipeline.settings.files import TABLES, deployed_name, find, find_pipeline, is_pipeline, load, pipeline_name
from ml_pipeline.settings.messages import suggest
from ml_pipeline.settings.pipeline import Pipeline, Source, SourceColumn

PIPELINE: Mapping[str, Any] = {
    "experiment": "/Shared/churn",
    "model": "churn_model",
    "source": {"csv": "rows.csv", "separator": ";", "null_value": "NA"},
    "target": "churned",
    "key": ["customer id"],
    "features": ["age", "plan"],
    "transform": "own.add",
    "positive_class": "yes",
    "test_share": 0.25,
    "validation_share": 0.3,
    "stratify": True,
    "estimator": {
        "class": "sklearn.linear_model.LogisticRegression",
        "parameters": {"class_weight": "balanced"},
        "grid": {"C": [0.1, 1]},
    },
    "folds": 4,
    "metric": "f1",
    "threshold": 0.7,
    "tolerance": 0.02,
    "significance": 0.1,
    "on_inconclusive": "fail",
    "seed": 3,
    "n_jobs": 2,
    "search_on": "workers",
    "max_training_rows": 1000,
    "reason": "retraining",
    "checks": {"unique": ["customer id"]},
    "batch_inference": {"source": {"parquet": "today"}},
    "monitoring": {"max_drift": 0.3},
    "schedule": {"cron": "0 0 6 * * ?", "time_zone": "Europe/Berlin"},
}
REQUIRED = ["source", "target", "estimator", "estimator.class", "metric", "threshold"]
REMOVED = object()


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value) if type(value) is float else json.dumps(value, ensure_ascii=False)


def changed(**changes: object) -> dict[str, Any]:
    """Change the good settings; `a__b` is the key `b` of the table `a`."""
    content: dict[str, Any] = json.loads(json.dumps(PIPELINE))
    for path, value in changes.items():
        *tables, key = path.split("__")
        table = content
        for name in tables:
            table = table[name]
        if value is REMOVED:
            del table[key]
        else:
            table[key] = value
    return content


def change(key: str, value: object) -> dict[str, Any]:
    return changed(**{key.replace(".", "__"): value})


def write(folder: Path, pipeline: Mapping[str, Any], *, more: str = "") -> Path:
    """A pipeline's file."""
    file = folder / "churn.toml"
    lines = [f"{json.dumps(key)} = {toml(value)}\n" for key, value in pipeline.items()]
    file.write_text("".join(lines) + more, encoding="utf-8")
    return file


def environment(folder: Path, text: str, name: str = "env") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(file: Path, environment: Path | None = None) -> str:
    """Load a file that is refused; give the one line after the name of the environment's file, or of the pipeline's."""
    with pytest.raises(InputError) as caught:
        load(file, environment)
    message = str(caught.value)
    assert message.startswith(f"{environment or file}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{environment or file}: ")


def test_a_good_pipeline_is_read_as_it_is_written(tmp_path: Path) -> None:
    settings = load(write(tmp_path, PIPELINE))

    # The paths in these are made absolute, which counts as setting them.
    placed = {"source", "batch_inference", "monitoring"}
    read = settings.model_dump(by_alias=True, exclude_unset=True, exclude=placed)
    places = {"schema": "local.churn"}
    assert read == {key: value for key, value in PIPELINE.items() if key not in placed} | places
    assert settings.monitoring
    assert settings.monitoring.max_drift == 0.3


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    content = {key: PIPELINE[key] for key in PIPELINE if key in REQUIRED}

    settings = load(write(tmp_path, content))

    assert (settings.model, settings.key, settings.features, settings.positive_class) == ("model", [], [], "")
    assert (settings.test_share, settings.validation_share, settings.folds) == (0.2, 0.2, 5)
    assert (settings.tolerance, settings.significance, settings.seed, settings.n_jobs) == (0.01, 0.05, 0, -1)
    assert (settings.reason, settings.batch_inference.source, settings.schedule) == ("ci", None, None)
    assert (settings.schema_name, settings.experiment) == ("local.churn", "/Shared/churn")


def test_settings_can_not_be_changed(tmp_path: Path) -> None:
    settings = load(write(tmp_path, PIPELINE))

    with pytest.raises(ValidationError, match="frozen"):
        settings.threshold = 0.0  # type: ignore[misc]


def test_the_tables_of_the_deployment_are_left_to_it(tmp_path: Path) -> None:
    read = [table for table in TABLES if table not in ("pipelines", "workspace", "catalog")]
    where = environment(tmp_path, "\n".join(f"[{table}]\nanything = 1" for table in read))

    assert load(write(tmp_path, PIPELINE), where) == load(write(tmp_path, PIPELINE))


def deployed(tmp_path: Path, workspace: str = "") -> Path:
    return environment(tmp_path, f"[workspace]\n{workspace}\n[catalog]\nname = 'dev'\n")


@pytest.mark.parametrize(
    ("experiment", "workspace", "instance", "expected"),
    [
        (REMOVED, "", "", "/Shared/ml-pipeline-env/churn"),
        ("loss", "", "", "/Shared/ml-pipeline-env/loss"),
        ("loss", "", "pr-1", "/Shared/ml-pipeline-env-pr-1/loss"),
        ("loss", "folder = '/Users/me'", "", "/Users/me/ml-pipeline-env/loss"),
        ("/Shared/loss", "", "", "/Shared/loss"),
        ("/Shared/loss", "", "pr-1", "/Shared/loss-pr-1"),
    ],
)
def test_where_it_is_deployed_schema_and_experiment_are_placed(
    tmp_path: Path, experiment: object, workspace: str, instance: str, expected: str
) -> None:
    file = write(tmp_path, changed(experiment=experiment))
    settings = load(file, deployed(tmp_path, workspace), instance=instance)
    assert settings.experiment == expected
    assert settings.schema_name == ("dev.ml_pipeline_churn_pr_1" if instance else "dev.ml_pipeline_churn")


def project_of(folder: Path, text: str) -> Path:
    """The environment of a clone whose ``pyproject.toml`` has the text."""
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    (folder / "environments").mkdir()
    return deployed(folder / "environments")


@pytest.mark.parametrize(("instance", "name"), [("", "my-2nd-env"), ("pr-1", "my-2nd-env-pr-1")])
def test_all_that_is_deployed_has_the_name_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: str, name: str
) -> None:
    where = project_of(tmp_path, "[tool.ml-pipeline]\nproject = 'my-2nd'\n")
    file = write(tmp_path, changed(experiment=REMOVED))

    settings = load(file, where, instance=instance)

    assert settings.experiment == f"/Shared/{name}/churn"
    assert settings.schema_name == f"dev.my_2nd_churn{'_pr_1' if instance else ''}"
    assert deployed_name(where, instance) == name
    # Wherever the command is called.
    monkeypatch.chdir(where.parent)
    assert deployed_name(Path("env.toml"), instance) == name


@pytest.mark.parametrize("text", ["", "[project]\nname = 'wheel'\n", "[tool.ml-pipeline]\n", "[tool]\nother = 1\n"])
def test_without_a_name_the_project_has_the_default(tmp_path: Path, text: str) -> None:
    assert deployed_name(project_of(tmp_path, text)) == "ml-pipeline-env"


WRONG_NAMES = ["", "Churn", "2nd", "-a", "a-", "a_b", "a b", "a.b", "a/b", "ä", "a\n", "${a}", "a" * 31]


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        *((f"project = {toml(name)}", "project", "must be up to 30 lower-case letters") for name in WRONG_NAMES),
        ("project = 7", "project", "must be a text in quotes (given: 7)"),
        ("name = 'churn'", "name", "unknown key; accepted: project"),
    ],
)
def test_a_wrong_name_of_the_project_is_refused(tmp_path: Path, line: str, key: str, message: str) -> None:
    where = project_of(tmp_path, f"[tool.ml-pipeline]\n{line}\n")

    with pytest.raises(InputError) as caught:
        load(write(tmp_path, PIPELINE), where)

    (problem,) = str(caught.value).splitlines()
    assert problem.startswith(f"{tmp_path / 'pyproject.toml'}: tool.ml-pipeline.{key}: {message}")


@pytest.mark.parametrize("experiment", ["..", ".", "/", "a//b", "//a", "a/", "/Shared/../a", " ", "a/ /b", "a\nb"])
def test_where_it_is_deployed_an_experiment_is_a_clean_path(tmp_path: Path, experiment: str) -> None:
    file, where = write(tmp_path, changed(experiment=experiment)), deployed(tmp_path)

    with pytest.raises(InputError) as caught:
        load(file, where)

    message = str(caught.value)
    assert message.startswith(f"{file}: experiment: must be a path in the workspace without '.', '..' and empty parts")
    assert message.endswith(f"(given: {experiment!r})")
    assert load(file).experiment == experiment


def test_an_overridden_experiment_is_refused_where_it_is(tmp_path: Path) -> None:
    where = environment(tmp_path, "[workspace]\n[catalog]\nname = 'dev'\n[pipelines.churn]\nexperiment = '..'\n")

    assert refusal(write(tmp_path, PIPELINE), where).startswith("pipelines.churn.experiment: must be a path in the ")


@pytest.mark.parametrize(
    ("catalog", "schema"),
    [("", "local.churn"), ("[catalog]\nname = 'lake'", "lake.churn"), ("[catalog]\nname = 'a'\nschema = 'b'", "a.b")],
)
def test_the_environment_gives_the_catalog_and_the_pipeline_the_schema(
    tmp_path: Path, catalog: str, schema: str
) -> None:
    assert load(write(tmp_path, PIPELINE), environment(tmp_path, catalog)).schema_name == schema


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[workspace]\n", "the table [catalog] is missing"),
        ("[catalog]\n", "catalog.name: is missing"),
        ("[catalog]\nnam = 'a'\n", "catalog.nam: unknown key, did you mean 'name'?"),
        ("catalog = 'a'\n", "catalog: must be a table (given: 'a')"),
        ("[catalog]\nname = 'a.b'\n", "catalog.name: must be up to 255 letters"),
        ("[catalog]\nname = 'a'\nschema = 'B'\n", "catalog.schema: must be up to 224 lower-case letters"),
    ],
)
def test_a_wrong_catalog_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(write(tmp_path, PIPELINE), environment(tmp_path, text)).startswith(message)


def test_a_schema_belongs_to_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, {**PIPELINE, "schema": "dev.iris"})
    where = environment(tmp_path, "[pipelines.churn]\nschema = 'dev.iris'\n")

    message = "belongs to the environment; accepted: [catalog] of its file"
    assert refusal(file) == f"schema: {message}"
    assert refusal(write(tmp_path, PIPELINE), where) == f"pipelines.churn.schema: {message}"


WRONG_TYPES = {
    "experiment": ["/Shared/churn"],
    "model": True,
    "source": "rows.csv",
    "source.sklearn": 1,
    "source.csv": 1,
    "source.parquet": ["rows"],
    "source.table": {"name": "rows"},
    "source.separator": 1,
    "source.null_value": False,
    "target": 1,
    "key": "customer id",
    "features": "age, plan",
    "transform": 1,
    "test_share": "0.2",
    "validation_share": True,
    "stratify": "yes",
    "estimator": "LogisticRegression",
    "estimator.class": 1,
    "estimator.parameters": "C=1",
    "estimator.grid": ["C"],
    "estimator.grid.C": 1.0,
    "folds": 5.0,
    "metric": 1,
    "threshold": "0.7",
    "tolerance": [0.02],
    "significance": "5 %",
    "on_inconclusive": "warn",
    "seed": "3",
    "n_jobs": 1.5,
    "search_on": True,
    "max_training_rows": 1e6,
    "reason": 1,
    "checks": ["id"],
    "checks.columns": ["id"],
    "checks.unique": "id",
    "checks.max_quarantine_share": "10 %",
    "monitoring": 0.2,
    "batch_inference": "today.csv",
    "batch_inference.source": "today.csv",
    "schedule": "daily",
    "schedule.cron": 6,
    "schedule.time_zone": 1,
}


def test_the_wrong_types_below_cover_every_key() -> None:
    keys = {field.alias or name for name, field in Pipeline.model_fields.items()}

    # The positive class may be written as any type that a target has; it has a test of its own.
    assert keys == {key for key in WRONG_TYPES if "." not in key} | {"positive_class"}


@pytest.mark.parametrize("key", WRONG_TYPES)
def test_a_wrong_type_is_refused_by_its_key(tmp_path: Path, key: str) -> None:
    assert refusal(write(tmp_path, change(key, WRONG_TYPES[key]))).startswith(f"{key}: must be ")


@pytest.mark.parametrize(
    ("value", "text"),
    [("yes", "yes"), ("1", "1"), (1, "1"), (-3, "-3"), (1.0, "1.0"), (0.5, "0.5"), (True, "true"), (False, "false")],
)
def test_a_positive_class_of_any_type_is_read_as_text(tmp_path: Path, value: object, text: str) -> None:
    assert load(write(tmp_path, changed(positive_class=value))).positive_class == text


@pytest.mark.parametrize("value", [["yes"], {"value": "yes"}], ids=["list", "table"])
def test_a_positive_class_of_a_wrong_type_is_refused_once(tmp_path: Path, value: object) -> None:
    message = refusal(write(tmp_path, changed(positive_class=value)))

    assert message.startswith("positive_class: ")
    assert message.count("positive_class") == 1


def test_each_wrong_key_is_told_in_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, changed(folds=1, metric=REMOVED, source__csv=1, treshold=1))
    with pytest.raises(InputError) as caught:
        load(file)

    *problems, unknown = caught.value.problems
    assert problems == [
        f"{file}: source.csv: must be a text in quotes (given: 1)",
        f"{file}: folds: must be greater than or equal to 2 (given: 1)",
    ]
    assert unknown.startswith(f"{file}: treshold: unknown key, did you mean 'threshold'?")


OUT_OF_RANGE = [
    ("test_share", 0.0, "greater than 0"),
    ("test_share", 1.0, "less than 1"),
    ("validation_share", 0.0, "greater than 0"),
    ("validation_share", 1, "less than 1"),
    ("folds", 1, "greater than or equal to 2"),
    ("tolerance", -0.01, "greater than or equal to 0"),
    ("significance", 0.0, "greater than or equal to 0.000001"),
    ("significance", 1e-7, "greater than or equal to 0.000001"),
    ("significance", 0.5, "less than 0.5"),
    ("seed", -1, "greater than or equal to 0"),
    ("seed", 2**32, "less than 4294967296"),
]


@pytest.mark.parametrize(("key", "value", "accepted"), OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused_with_what_is_accepted(
    tmp_path: Path, key: str, value: float, accepted: str
) -> None:
    assert refusal(write(tmp_path, change(key, value))) == f"{key}: must be {accepted} (given: {value!r})"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("test_share", 0.001),
        ("test_share", 0.999),
        ("folds", 2),
        ("tolerance", 0),
        ("significance", 0.499),
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("threshold", -5),
    ],
)
def test_a_number_at_the_end_of_its_range_is_accepted(tmp_path: Path, key: str, value: float) -> None:
    assert getattr(load(write(tmp_path, change(key, value))), key) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", float("nan")),
        ("threshold", float("inf")),
        ("threshold", float("-inf")),
        ("tolerance", float("nan")),
        ("tolerance", float("inf")),
        ("significance", float("nan")),
        ("test_share", float("nan")),
        ("validation_share", float("inf")),
    ],
)
def test_a_number_that_is_none_is_refused(tmp_path: Path, key: str, value: float) -> None:
    assert refusal(write(tmp_path, change(key, value))).startswith(f"{key}: must be ")


@pytest.mark.parametrize("key", ["experiment", "model", "target", "metric", "estimator.class", "source.csv"])
def test_an_empty_text_is_refused(tmp_path: Path, key: str) -> None:
    assert refusal(write(tmp_path, change(key, ""))).startswith(f"{key}: ")


@pytest.mark.parametrize("name", ["Model", "1model", "my-model", "lake.model", "model\n", "mod\u0435l", "m" * 256])
def test_a_model_name_that_is_no_identifier_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(write(tmp_path, changed(model=name)))

    assert message.startswith("model: ")
    assert f"(given: {name!r})" in message
    assert "such as 'churn_model'" in message


def test_no_process_is_none_to_search_with(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, changed(n_jobs=0))) == (
        "n_jobs: must not be 0; accepted: -1 for one of each core, or a number of processes (given: 0)"
    )
    assert [load(write(tmp_path, changed(n_jobs=n))).n_jobs for n in (-2, -1, 1)] == [-2, -1, 1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (f"a = {'1' * 5000}", "holds a number of thousands of digits; accepted: whole numbers of 64 bits"),
        (f"a = {'[' * 3000}{']' * 3000}", "is nested too deeply; accepted: "),
        (f"[compute{'.a' * 3000}]", "is nested too deeply; accepted: "),
        (f"[compute{'.a' * 99}]\nb = [[]]", "is nested too deeply; accepted: 100 levels"),
        (f"[compute]\nb = [0x{'f' * 5000}]", "compute.b: is too great a number; accepted: whole numbers of 64 bits"),
        ("[compute]\nb = 9223372036854775808", "compute.b: is too great a number; accepted: "),
    ],
    ids=["digits", "brackets", "tables", "levels", "hexadecimal", "65 bits"],
)
def test_what_no_parser_takes_is_one_message(tmp_path: Path, more: str, said: str) -> None:
    assert refusal(write(tmp_path, changed(estimator={"class": "a.B"}), more=more)).startswith(said)


@pytest.mark.parametrize("text", ["${name}", "%{if}", "$", "100 %"])
def test_what_terraform_reads_is_text_on_this_machine(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, changed(positive_class=text))).positive_class == text


def test_an_unknown_reason_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, changed(reason="fun"))) == (
        "reason: must be 'feature', 'ci' or 'retraining' (given: 'fun')"
    )


def test_an_empty_list_of_tries_is_refused(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, changed(estimator__grid__C=[])))

    assert message.startswith("estimator.grid.C: ")
    assert "at least 1" in message


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert refusal(write(tmp_path, change(key, REMOVED))) == f"{key}: is missing"


@pytest.mark.parametrize("key", [*PIPELINE, "source.csv", "estimator.class", "batch_inference.source"])
def test_a_misspelt_key_is_told_once_with_the_right_one(tmp_path: Path, key: str) -> None:
    table, _, name = key.rpartition(".")
    content = change(key, REMOVED)
    (content[table] if table else content)[name[:-1]] = PIPELINE.get(name, "x")

    message = refusal(write(tmp_path, content))

    assert message.startswith(f"{key[:-1]}: unknown key, did you mean '{name}'?; accepted: ")
    assert message.count("unknown key") == 1
    assert name in message.partition("accepted: ")[2].split(", ")


@pytest.mark.parametrize(
    ("key", "accepted"),
    [
        ("estimator.zzz", "class, parameters, grid"),
        ("source.zzz", "sklearn, csv, parquet, table, separator, null_value, encoding, decimal, quote, columns"),
        ("batch_inference.zzz", "source, mode, probabilities, minimum_agreement"),
        (
            "batch_inference.source.zzz",
            "sklearn, csv, parquet, table, separator, null_value, encoding, decimal, quote, columns",
        ),
        ("zzz", ", ".join(PIPELINE)),
    ],
)
def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path: Path, key: str, accepted: str) -> None:
    assert refusal(write(tmp_path, change(key, 1))) == f"{key}: unknown key; accepted: {accepted}"


@pytest.mark.parametrize(("table", "key", "attribute"), [("estimator.", "class", "class_")])
def test_the_name_of_an_attribute_is_no_key(tmp_path: Path, table: str, key: str, attribute: str) -> None:
    content = change(table + key, REMOVED)
    (content["estimator"] if table else content)[attribute] = "lake.churn"

    assert refusal(write(tmp_path, content)).startswith(f"{table}{attribute}: unknown key, did you mean '{key}'?")


@hypothesis_settings(deadline=None)
@given(name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda name: name not in PIPELINE))
def test_no_unknown_key_is_overlooked(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    message = refusal(write(tmp_path_factory.getbasetemp(), {**PIPELINE, name: 1}))

    assert message.startswith(f"{name}: unknown key")


def test_a_key_with_a_line_break_is_told_in_one_line(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, {**PIPELINE, "two\nlines": 1})).startswith("two lines: unknown key")
    assert refusal(write(tmp_path, {**PIPELINE, "two\n{{": 1})).startswith("two {{: holds '{{'")
    where = environment(tmp_path, '["two\\nlines"]')
    assert refusal(write(tmp_path, PIPELINE), where).startswith("two lines: unknown table")


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({}, "no source"),
        ({"separator": ";"}, "no source"),
        ({"csv": "a", "table": "b"}, "csv and table"),
        ({"sklearn": "iris", "csv": "a", "parquet": "b"}, "sklearn and csv and parquet"),
    ],
    ids=["none", "separator alone", "two", "three"],
)
@pytest.mark.parametrize("key", ["source", "batch_inference.source"])
def test_a_source_is_exactly_one(tmp_path: Path, key: str, source: dict[str, str], named: str) -> None:
    message = refusal(write(tmp_path, change(key, source)))

    assert message == f"{key}: names {named}; accepted: exactly one of sklearn, csv, parquet, table"


def test_an_unknown_data_set_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, changed(source={"sklearn": "boston"}))) == (
        "source.sklearn: must be 'iris', 'wine', 'breast_cancer' or 'digits' (given: 'boston')"
    )


@pytest.mark.parametrize("key", ["key", "features"])
def test_the_target_among_other_columns_is_refused(tmp_path: Path, key: str) -> None:
    message = refusal(write(tmp_path, change(key, ["age", "churned"])))

    assert message.startswith(f"{key}: names the target 'churned'; accepted: other columns")


@pytest.mark.parametrize("key", ["key", "features"])
def test_a_column_named_twice_is_refused(tmp_path: Path, key: str) -> None:
    assert refusal(write(tmp_path, change(key, ["b", "a", "b", "c", "a"]))).startswith(
        f"{key}: names 'a', 'b' more than once"
    )


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("experiment", "/Shared/{{job.run_id}}", "experiment"),
        ("key", ["id", "{{name}}"], "key"),
        ("positive_class", "{{", "positive_class"),
        ("source.csv", "{{day}}.csv", "source.csv"),
        ("batch_inference.source", {"table": "{{name}}"}, "batch_inference.source.table"),
        ("estimator.parameters", {"a": [{"b": "{{c}}"}]}, "estimator.parameters.a.b"),
        ("estimator.parameters", {"{{a}}": 1}, "estimator.parameters.{{a}}"),
        ("estimator.grid", {"a": ["x", "{{b}}"]}, "estimator.grid.a"),
    ],
)
def test_a_text_that_databricks_would_replace_is_refused(tmp_path: Path, key: str, value: object, named: str) -> None:
    assert refusal(write(tmp_path, change(key, value))) == (
        f"{named}: holds '{{{{', by which Databricks refers to values of a run"
    )


@pytest.mark.parametrize("text", ["{single}", "{ {apart} }", "}}"])
def test_other_braces_are_text(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, changed(positive_class=text))).positive_class == text


@pytest.mark.parametrize(("value", "said"), [("", "at least 1 character"), (1, "must be a text in quotes")])
def test_a_column_without_a_name_is_refused(tmp_path: Path, value: object, said: str) -> None:
    message = refusal(write(tmp_path, changed(features=["age", value])))

    assert message.startswith("features.1: ")
    assert said in message


MALFORMED = [
    pytest.param("[source\n", "is not valid TOML: ", id="bracket left open"),
    pytest.param("folds = \n", "is not valid TOML: ", id="value left out"),
    pytest.param("folds = 1\nfolds = 2\n", "is not valid TOML: ", id="key twice"),
    pytest.param("reason = ci\n", "is not valid TOML: ", id="text without quotes"),
]
MOVED = "[pipeline] is no longer part of an environment; move its keys to the top of a pipeline file (ml_pipeline/"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *MALFORMED,
        pytest.param("[pipelin]\n", "pipelin: unknown table, did you mean 'pipelines'?; ", id="misspelt table"),
        pytest.param("[zzz]\n", f"zzz: unknown table; accepted: {', '.join(TABLES)}", id="unknown table"),
        pytest.param("[pipeline]\nfolds = 2\n", MOVED, id="old file"),
        pytest.param("[[pipeline]]\n", MOVED, id="old table twice"),
        pytest.param("pipelines = 1\n", "pipelines: must be a table (given: 1)", id="no table"),
        pytest.param("[pipelines]\nchurn = 1\n", "pipelines.churn: must be a table (given: 1)", id="no table inside"),
    ],
)
def test_a_malformed_environment_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(write(tmp_path, PIPELINE), environment(tmp_path, text)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *MALFORMED,
        pytest.param("[pipeline]\nfolds = 2\n", MOVED, id="old file"),
        pytest.param("[workspace]\n", "workspace: unknown key; accepted: experiment, ", id="environment"),
    ],
)
def test_a_malformed_pipeline_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(write(tmp_path, {}, more=text)).startswith(message)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "churn.toml"
    file.write_bytes("target = 'größe'\n".encode("latin-1"))

    assert refusal(file) == "is not text in UTF-8; expected a TOML file"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "churn.toml") == "can't be read: No such file or directory"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "churn.toml").mkdir()
    assert refusal(tmp_path / "churn.toml") == "can't be read: Is a directory"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("path", ["rows", "folder/rows", "./rows", "../rows"])
def test_a_relative_path_is_counted_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    (tmp_path / "environments").mkdir()
    write(tmp_path / "environments", changed(source={kind: path}, batch_inference__source={kind: path}))
    monkeypatch.chdir(tmp_path)

    settings = load(Path("environments/churn.toml"))

    expected = str(tmp_path / "environments" / path)
    assert getattr(settings.source, kind) == expected
    assert getattr(settings.batch_inference.source, kind) == expected


def test_a_relative_path_of_a_delta_table_is_counted_from_the_folder_of_the_file(tmp_path: Path) -> None:
    source = load(write(tmp_path, changed(source={"table": "./rows"}))).source

    assert source.table == str(tmp_path / "rows")


@pytest.mark.parametrize(
    "source",
    [
        {"csv": "/data/rows.csv"},
        {"parquet": "/Volumes/lake/churn/rows"},
        {"table": "/data/rows"},
        {"csv": "dbfs:/data/rows.csv"},
        {"parquet": "s3://bucket/rows"},
        {"table": "abfss://container@account.dfs.core.windows.net/rows"},
        {"table": "lake.churn.rows"},
        {"table": "rows"},
        {"sklearn": "iris"},
    ],
    ids=lambda source: next(iter(source.values())),
)
def test_what_is_no_relative_path_is_left_alone(tmp_path: Path, source: dict[str, Any]) -> None:
    assert load(write(tmp_path, changed(source=source))).source == Source(**source)


def test_the_format_of_a_source_survives_its_path(tmp_path: Path) -> None:
    source = load(write(tmp_path, PIPELINE)).source

    assert source == Source(csv=str(tmp_path / "rows.csv"), separator=";", null_value="NA")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (Source(sklearn="iris"), "sklearn iris"),
        (Source(csv="a.csv", separator=";"), "csv a.csv"),
        (Source(parquet="rows"), "parquet rows"),
        (Source(table="a.b.c"), "table a.b.c"),
    ],
    ids=str,
)
def test_a_source_names_itself(source: Source, text: str) -> None:
    assert str(source) == text


def test_an_environment_is_found_by_its_name_or_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = environment(tmp_path, "")
    monkeypatch.chdir(tmp_path)

    assert find("env", folder=tmp_path) == file
    assert find("env.toml", folder=tmp_path / "elsewhere") == Path("env.toml")
    assert find(str(file), folder=tmp_path / "elsewhere") == file


@pytest.mark.parametrize(
    ("files", "accepted"),
    [(["prod.toml", "dev.toml", "notes.md"], "dev, prod"), ([], "none is there")],
    ids=["others", "none"],
)
def test_an_unknown_environment_is_refused_with_the_known_ones(tmp_path: Path, files: list[str], accepted: str) -> None:
    for file in files:
        (tmp_path / file).touch()

    with pytest.raises(InputError) as caught:
        find("pord", folder=tmp_path)

    assert str(caught.value) == (
        f"environment 'pord': no file {tmp_path / 'pord.toml'}; accepted: {accepted}, or the path of a .toml file"
    )


@pytest.mark.parametrize("path", ["nowhere.toml", "nowhere/env", "nowhere/env.toml"])
def test_a_path_without_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=f"^{re.escape(path)}: no such environment file$"):
        find(path, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("metrc", ("model", "metric"), ", did you mean 'metric'?; accepted: model, metric"),
        ("zzz", ("model", "metric"), "; accepted: model, metric"),
        ("zzz", (), ""),
    ],
    ids=["close", "far", "nothing known"],
)
def test_a_suggestion(name: str, known: tuple[str, ...], said: str) -> None:
    assert suggest(name, known) == said


CHECKS: Mapping[str, Any] = {
    "columns": {
        "sepal length (cm)": {"required": True, "type": "double", "minimum": 0, "maximum": 10.5},
        "plan": {"accepted": ["basic", "plus"]},
        "rank": {"accepted": [1, 2.5, True]},
    },
    "unique": ["customer id", "day"],
    "max_quarantine_share": 0.25,
}


def test_checks_are_read_as_they_are_written(tmp_path: Path) -> None:
    checks = load(write(tmp_path, changed(checks=CHECKS))).checks

    assert checks.model_dump(exclude_unset=True) == CHECKS
    assert list(map(type, checks.columns["rank"].accepted or [])) == [int, float, bool]


def test_without_checks_there_are_none(tmp_path: Path) -> None:
    checks = load(write(tmp_path, changed(checks=REMOVED))).checks

    assert (checks.columns, checks.unique, checks.max_quarantine_share) == ({}, [], 0.1)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"column": {}}, "column: unknown key, did you mean 'columns'?"),
        ({"columns": {"a": {"min": 1}}}, "columns.a.min: unknown key, did you mean 'minimum'?; accepted: required"),
        ({"columns": {"a": {"requird": 1}}}, "columns.a.requird: unknown key, did you mean 'required'?"),
        ({"columns": {"a": 1}}, "columns.a: must be a table (given: 1)"),
        ({"columns": {"a": {"type": "float"}}}, "columns.a.type: must be 'boolean', 'long', 'double'"),
        ({"columns": {"a": {"minimum": 2, "maximum": 1.5}}}, "columns.a: minimum 2 is above maximum 1.5"),
        ({"columns": {"a": {"minimum": "0"}}}, "columns.a.minimum: must be a number without quotes (given: '0')"),
        ({"columns": {"a": {"maximum": float("inf")}}}, "columns.a.maximum: must be a finite number"),
        ({"columns": {"a": {"type": "date", "minimum": 1}}}, "columns.a: type 'date' has no minimum and maximum"),
        ({"columns": {"a": {"accepted": []}}}, "columns.a.accepted: List must have at least 1 item"),
        ({"columns": {"a": {"required": "yes"}}}, "columns.a.required: must be true or false, without quotes"),
        ({"columns": {"": {"required": True}}}, "columns.[key]: String must have at least 1 character"),
        ({"unique": ["a", "b", "a"]}, "unique: names 'a' more than once"),
        ({"unique": "a"}, "unique: must be a list in brackets (given: 'a')"),
        ({"max_quarantine_share": -0.1}, "max_quarantine_share: must be greater than or equal to 0 (given: -0.1)"),
        ({"max_quarantine_share": 1.1}, "max_quarantine_share: must be less than or equal to 1 (given: 1.1)"),
        ({"max_quarantine_share": float("nan")}, "max_quarantine_share: must be "),
    ],
)
def test_checks_that_make_no_sense_are_refused(tmp_path: Path, checks: dict[str, Any], message: str) -> None:
    assert refusal(write(tmp_path, changed(checks=checks))).startswith(f"checks.{message}")


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0])
def test_a_share_at_the_end_of_its_range_is_accepted(tmp_path: Path, share: float) -> None:
    settings = load(write(tmp_path, changed(checks={"max_quarantine_share": share})))

    assert settings.checks.max_quarantine_share == share


OVERRIDES = """
[pipelines.churn]
reason = "ci"
n_jobs = 1
features = ["plan"]
[pipelines.churn.estimator.grid]
C = [1]
penalty = ["l1", "l2"]
[pipelines.churn.batch_inference]
mode = "shadow"
[pipelines.churn.monitoring]
max_lateness_hours = 24.0
"""


def test_an_environment_overrides_keys_and_keeps_the_others(tmp_path: Path) -> None:
    file = write(tmp_path, PIPELINE)
    own, overridden = load(file), load(file, environment(tmp_path, OVERRIDES))

    changed = {"reason", "n_jobs", "features", "estimator", "batch_inference", "monitoring"}
    assert overridden.model_dump(exclude=changed) == own.model_dump(exclude=changed)
    assert (overridden.reason, overridden.n_jobs, overridden.features) == ("ci", 1, ["plan"])
    assert overridden.estimator.parameters == {"class_weight": "balanced"}
    assert overridden.estimator.grid == {"C": [1], "penalty": ["l1", "l2"]}
    assert (overridden.batch_inference.mode, overridden.batch_inference.source) == (
        "shadow",
        own.batch_inference.source,
    )
    assert overridden.monitoring
    assert (overridden.monitoring.max_drift, overridden.monitoring.max_lateness_hours) == (0.3, 24.0)


def test_an_environment_without_overrides_changes_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, PIPELINE), environment(tmp_path, "")) == load(write(tmp_path, PIPELINE))


def test_an_environment_turns_monitoring_off(tmp_path: Path) -> None:
    where = environment(tmp_path, "[pipelines.churn]\nmonitoring = false\n")

    assert load(write(tmp_path, PIPELINE), where).monitoring is None


def test_another_kind_of_source_replaces_the_whole_source(tmp_path: Path) -> None:
    file = write(tmp_path, PIPELINE)

    other = environment(tmp_path, "[pipelines.churn.source]\ntable = 'lake.churn.rows'\n")
    assert load(file, other).source == Source(table="lake.churn.rows")
    same = environment(tmp_path, "[pipelines.churn.source]\ncsv = '/data/rows.csv'\n")
    assert load(file, same).source == Source(csv="/data/rows.csv", separator=";", null_value="NA")


def test_another_class_replaces_the_whole_estimator(tmp_path: Path) -> None:
    where = environment(tmp_path, "[pipelines.churn.estimator]\nclass = 'a.B'\n")

    estimator = load(write(tmp_path, PIPELINE), where).estimator
    assert (estimator.class_, estimator.parameters, estimator.grid) == ("a.B", {}, {})


def test_the_relative_path_of_an_override_is_counted_from_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    where = environment(tmp_path / "environments", "[pipelines.churn.source]\ncsv = 'other.csv'\n")

    settings = load(write(tmp_path, PIPELINE), where)

    assert settings.source.csv == str(tmp_path / "environments" / "other.csv")
    assert settings.batch_inference.source == Source(parquet=str(tmp_path / "today"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metric = 1", "pipelines.churn.metric: must be a text in quotes (given: 1)"),
        ("metrc = 'f1'", "pipelines.churn.metrc: unknown key, did you mean 'metric'?"),
        ("features = ['a', 1]", "pipelines.churn.features.1: must be a text in quotes (given: 1)"),
        ("key = ['churned']", "pipelines.churn.key: names the target 'churned'; accepted: other columns"),
        ("source.csv = 1", "pipelines.churn.source.csv: must be a text in quotes (given: 1)"),
        ("estimator.grid.C = 1", "pipelines.churn.estimator.grid.C: must be a list in brackets (given: 1)"),
        ("monitoring.max_drft = 1", "pipelines.churn.monitoring.max_drft: unknown key, did you mean 'max_drift'?"),
        ("schedule.cron = '0 6 * * *'", "pipelines.churn.schedule.cron: has 5 fields; accepted: a Quartz"),
        ("positive_class = '{{a}}'", "pipelines.churn.positive_class: holds '{{'"),
    ],
)
def test_a_mistake_in_an_override_names_the_environment(tmp_path: Path, override: str, message: str) -> None:
    where = environment(tmp_path, f"[pipelines.churn]\n{override}\n")

    assert refusal(write(tmp_path, PIPELINE), where).startswith(message)


def test_mistakes_in_two_files_name_both(tmp_path: Path) -> None:
    file = write(tmp_path, changed(metric=REMOVED, folds=1))
    where = environment(tmp_path, "[pipelines.churn]\nseed = -1\n")

    with pytest.raises(InputError) as caught:
        load(file, where)

    assert str(caught.value) == (
        f"{file}: folds: must be greater than or equal to 2 (given: 1); {file}: metric: is missing; "
        f"{where}: pipelines.churn.seed: must be greater than or equal to 0 (given: -1)"
    )


def test_overrides_of_an_unknown_pipeline_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    where = environment(tmp_path, "[pipelines.churm]\nseed = 1\n")

    message = "pipelines.churm: unknown pipeline, did you mean 'churn'?; accepted: churn, iris"
    assert refusal(write(tmp_path, PIPELINE), where) == message


def test_overrides_of_another_pipeline_do_not_count(tmp_path: Path) -> None:
    where = environment(tmp_path, "[pipelines.iris]\nseed = 99\n")

    assert load(write(tmp_path, PIPELINE), where).seed == 3


def project(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / "ml_pipeline" / "pipelines" / name).mkdir(parents=True)
        (folder / "ml_pipeline" / "pipelines" / name / "pipeline.toml").touch()
    return folder


def test_a_pipeline_is_found_by_its_name_or_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, "churn", "sales"))
    (tmp_path / "my.toml").touch()
    churn = Path("ml_pipeline/pipelines/churn/pipeline.toml")

    assert find_pipeline("churn") == find_pipeline(str(churn)) == churn
    assert find_pipeline("my.toml") == Path("my.toml")
    assert [pipeline_name(churn), pipeline_name(Path("my.toml"))] == ["churn", "my"]
    assert list(map(is_pipeline, ("churn", "nowhere.toml", "training"))) == [True, True, False]


def test_the_only_pipeline_needs_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, "churn"))

    assert find_pipeline() == Path("ml_pipeline/pipelines/churn/pipeline.toml")


def test_outside_of_the_repository_the_installed_pipelines_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert find_pipeline().parts[-4:] == ("ml_pipeline", "pipelines", "iris", "pipeline.toml")


@pytest.mark.parametrize(
    ("pipelines", "name", "message"),
    [
        (("churn", "sales"), "", "there are 2 pipelines; name one; accepted: churn, sales, or the path of a .toml"),
        (("churn",), "chrn", "pipeline 'chrn' is unknown; accepted: churn, or the path of a .toml file"),
        (("churn",), "chrn.toml", "chrn.toml: no such pipeline file"),
    ],
)
def test_an_unknown_pipeline_is_refused_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: tuple[str, ...], name: str, message: str
) -> None:
    monkeypatch.chdir(project(tmp_path, *pipelines))

    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        find_pipeline(name)


def test_an_environment_chooses_the_pipeline_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, "churn", "sales"))
    environment = tmp_path / "dev.toml"

    environment.write_text('[catalog]\nname = "dev"\n[pipelines.sales]\n')
    assert find_pipeline(environment=environment) == Path("ml_pipeline/pipelines/sales/pipeline.toml")
    assert find_pipeline("churn", environment) == Path("ml_pipeline/pipelines/churn/pipeline.toml")

    for text, problem in (
        ("", "dev.toml: pipelines: there are 2 pipelines; name one; accepted: churn, sales"),
        ("[pipelines.sales]\n[pipelines.churn]\n", "dev.toml: pipelines: there are 2 pipelines; name one"),
        ("[pipelines.chrun]\n", "dev.toml: pipelines.chrun: unknown pipeline, did you mean 'churn'?"),
    ):
        environment.write_text(f'[catalog]\nname = "dev"\n{text}')
        with pytest.raises(InputError, match=re.escape(problem)):
            find_pipeline(environment=environment)


def test_an_environment_that_names_none_chooses_the_only_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(tmp_path, "churn"))
    (tmp_path / "dev.toml").write_text('[catalog]\nname = "dev"\n')

    assert find_pipeline(environment=tmp_path / "dev.toml") == Path("ml_pipeline/pipelines/churn/pipeline.toml")


def test_a_pipeline_that_has_the_name_of_a_job_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a job has the name 'training'; accepted: another name for the pipeline"):
        pipeline_name(tmp_path / "training" / "pipeline.toml")


@pytest.mark.parametrize("name", ["My", "my-data", "1st", "_a", "a" * 61, "ä", "a b"])
def test_a_file_whose_name_can_not_name_a_pipeline_is_refused(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, PIPELINE).rename(tmp_path / f"{name}.toml")

    with pytest.raises(InputError, match=rf"a pipeline can't be called '{name}'; accepted: up to 60 lower-case"):
        load(file)


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for each in (field.annotation, *get_args(field.annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from keys(each)


def test_the_pipeline_file_shows_every_key() -> None:
    text = (Path(__file__).parents[3] / "ml_pipeline" / "pipelines" / "iris" / "pipeline.toml").read_text()
    shown = {*re.findall(r"^\W*([a-z_]+) = ", text, flags=re.MULTILINE), *re.findall(r"([a-z_]+) = ", text)}
    shown |= {part for table in re.findall(r"\[([a-z_.]+)\]", text) for part in table.split(".")}
    assert {*keys(Pipeline)} - shown == set()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x00\x1b[31m\xff\xfe", "is not text in UTF-8; expected a TOML file"),
        (b"target = '\x1b[31m'", "is not valid TOML: "),
        (b"\x7fELF\x02\x01", "is not valid TOML: Invalid statement"),
    ],
    ids=["bytes", "escape", "program"],
)
def test_a_binary_file_is_not_toml(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "churn.toml"
    file.write_bytes(content)
    message = refusal(file)
    assert message.startswith(problem)
    assert message.isprintable()


def test_a_byte_order_mark_is_no_part_of_the_content(tmp_path: Path) -> None:
    file = write(tmp_path, PIPELINE)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(file).target == "churned"


def test_a_folder_is_neither_a_pipeline_nor_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").mkdir()
    with pytest.raises(InputError, match=r"^my.toml: is a folder; expected the pipeline file in it"):
        find_pipeline("my.toml")
    with pytest.raises(InputError, match=r"^my.toml: is a folder; expected the environment file in it"):
        find("my.toml", folder=tmp_path)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"type": "date", "format": "dd.mm.yyyy"}, "lacks M: y is the year, M the month"),
        ({"type": "date", "format": "TT.MM.JJJJ"}, "lacks d, y: "),
        ({"type": "date", "format": "dd.MM.yyyyb"}, "has b, which Spark does not read"),
        ({"type": "date", "format": "dd.MM.yyyy HH:mm"}, "has the time of a day; declare a timestamp"),
        ({"type": "timestamp", "format": "HH:mm"}, "lacks M, d, y: "),
        ({"type": "timestamp", "format": "E dd.MM.yyyy"}, "has E, which Spark does not read"),
        ({"type": "date", "format": "YYYY-MM-dd"}, "lacks y: "),
    ],
)
def test_a_format_that_would_read_something_else_is_rejected(column: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceColumn.model_validate(column)


@pytest.mark.parametrize("format_", ["dd.MM.yyyy", "d/M/yy", "yyyyMMdd", "d 'of' MMMM yyyy"])
def test_a_format_of_days_is_accepted(format_: str) -> None:
    assert SourceColumn.model_validate({"type": "date", "format": format_}).format == format_
