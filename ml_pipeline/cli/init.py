"""The command init, which writes a pipeline's file from data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from ml_pipeline.cli import options
from ml_pipeline.errors import InputError
from ml_pipeline.settings import files, messages
from ml_pipeline.settings.pipeline import Source

if TYPE_CHECKING:
    from ml_pipeline.data.survey import Survey

_SHARES = {"test_share": 0.2, "validation_share": 0.2}
_FOLDS = 5
_DIALECT = ("separator", "decimal", "quote", "null_value", "encoding")
_PIPELINES = Path("ml_pipeline/pipelines")
_SCHEMA = Path("docs/schemas/pipeline.schema.json")


@click.command("init")
@click.argument("name")
@click.option("--csv", "csv", default="", metavar="PATH", help="CSV file, or a folder of them.")
@click.option("--parquet", default="", metavar="PATH", help="Parquet file or folder.")
@click.option("--table", default="", metavar="NAME|PATH", help="Delta table.")
@click.option("--target", required=True, metavar="COLUMN", help="Column to predict.")
@click.option("--separator", default=",", show_default=True, help="Separates the columns of a CSV file.")
@click.option("--decimal", default=".", show_default=True, help="Decimal separator in a CSV file.")
@click.option("--quote", default='"', show_default=True, help="Encloses text in a CSV file.")
@click.option("--null-value", default="", help="Stands for a missing value in a CSV file.")
@click.option("--encoding", default="UTF-8", show_default=True, help="Encoding of a CSV file.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write instead of the pipeline's own.")
@options.STATE
@options.VERBOSE
def init(name: str, target: str, output: Path | None, state: Path, **choices: str) -> int:
    """Write a pipeline file from data, with types, key, metric, estimator and checks.

    The file is ml_pipeline/pipelines/NAME/pipeline.toml, or NAME.toml outside of the repository.
    """
    own = _PIPELINES / name / "pipeline.toml" if _PIPELINES.is_dir() else Path(f"{name}.toml")
    file = output or own
    if Path(name).name != name:
        raise InputError(f"init: {name!r} is not a pipeline's name; expected letters, digits and underscores")
    files.pipeline_name(file)
    if file.exists():
        raise InputError(f"{file}: already exists; choose another name, or another --output")
    given = {kind: value for kind in ("csv", "parquet", "table") if (value := choices[kind])}
    if len(given) != 1:
        raise InputError(f"init: {len(given)} sources are named; expected exactly one of --csv, --parquet, --table")
    ((kind, place),) = given.items()
    is_path = kind != "table" or "/" in place
    dialect = {key: choices[key] for key in _DIALECT if kind == "csv"}
    try:
        source = Source.model_validate({kind: str(Path(place).resolve()) if is_path else place, **dialect})
    except ValidationError as error:
        raise InputError("init: --" + messages.explain(error, Source)) from None
    options.state_folder(state)
    from ml_pipeline.data import survey

    found = survey.of(source, target, **_SHARES)
    shown = os.path.relpath(Path(place).resolve(), file.parent.resolve()) if is_path else place
    text = _text(source, kind, f"./{shown}" if kind == "table" and is_path else shown, target, found)
    if _SCHEMA.is_file():
        text = f"#:schema {os.path.relpath(_SCHEMA.resolve(), file.parent.resolve())}\n{text}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    try:
        files.load(file)
    except InputError:
        file.unlink()
        raise
    print(f"wrote {file}; next: ml-pipeline run {name if file == own and _PIPELINES.is_dir() else file}")
    return 0


def _text(source: Source, kind: str, place: str, target: str, found: Survey) -> str:
    names = [name for name in found.columns if name not in (target, found.key)]
    left_out = {name: reason for name in names if (reason := found.reason_to_leave_out(name))}
    features = [name for name in names if name not in left_out]
    if not features:
        raise InputError(f"source {source}: has no column to learn from: {left_out}; expected at least one")
    counts, total = [*found.classes.values()], found.rows
    balanced = counts[0] >= 0.5 * total / len(counts)
    chance = counts[-1] / total if balanced else 1 / len(counts)
    scarce = min(found.learnable, key=lambda value: found.learnable[value])
    folds = min(_FOLDS, found.learnable[scarce])
    if folds < 2:
        raise InputError(
            f"--target: class {scarce!r} of column '{target}' has {found.classes[scarce]:,} rows; training "
            f"gets {folds} beside test and validation; expected at least 2"
        )
    shares = ", ".join(f"{_quoted(str(value))} {count / total:.0%}" for value, count in [*found.classes.items()][:5])
    others = [name for name in found.keys if name != found.key]
    lines = [
        "# What to learn. All keys are in ml_pipeline/pipelines/iris/pipeline.toml.",
        f"target = {_quoted(target)}",
        f"# Its classes are {shares}{', ...' if len(counts) > 5 else ''}.",
        f"key = [{_quoted(found.key)}]" if found.key else "# key = []                   # columns that identify a row",
        *([f"# Each row has another value of {', '.join(map(_quoted, others))} too."] if others else []),
        *(f"# Left out: {_quoted(name)} ({reason})." for name, reason in left_out.items()),
        f"{'' if left_out else '# '}features = [{', '.join(map(_quoted, features))}]",
        *(f"{name} = {share}" for name, share in _SHARES.items()),
        f"folds = {folds}",
        f'metric = "{"accuracy" if balanced else "balanced_accuracy"}"',
        f"threshold = {min(0.99, chance + 0.1 * (1 - chance)):.2f}             # guessing reaches {chance:.2f}",
        "tolerance = 0.01",
        "seed = 21",
        "",
        "[source]",
        f"{kind} = {_quoted(place)}",
    ]
    if source.csv:
        lines += [f"{key} = {_quoted(getattr(source, key))}" for key in _DIALECT]
        lines += ["", "[source.columns]"]
        # What is not declared stays text, or is inferred and becomes wider if it has to, as whole numbers may.
        types = {name: found.columns[name].type for name in (*features, target)}
        lines += [
            f"{'# ' if type_ == 'long' else ''}{_quoted(name)} = {_quoted(type_)}" for name, type_ in types.items()
        ]
    lines += [
        "",
        "[estimator]",
        'class = "sklearn.ensemble.RandomForestClassifier"',
        "",
        "[estimator.parameters]",
        'class_weight = "balanced"',
        "",
        "[estimator.grid]",
        "max_depth = [3, 10]",
        "n_estimators = [50]",
        "",
        "# A row of a batch that fails a check goes to the quarantine table.",
        "[checks.columns]",
    ]
    for name in features:
        one = found.columns[name]
        required = str(one.present == total).lower()
        seen = "" if one.least is None else f"  # seen: minimum = {one.least}, maximum = {one.greatest}"
        lines.append(f"{_quoted(name)} = {{ required = {required} }}{seen}")
    lines += ["", "[monitoring]", "", "[schedule]", 'cron = "0 0 6 * * ?"', 'time_zone = "UTC"', ""]
    return "\n".join(lines)


def _quoted(text: str | None) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


COMMANDS = (init,)
