"""The types of a source's columns: declared, kept from the first reading, or inferred by it.

Text that is written like a number has many readings. So a column that a model computes with is inferred from all of its
values, once; the tables and the model keep what was found, and later files and batches are read as that. Columns that
nothing computes with stay the text that they are.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.data import columns, sources
from ml_pipeline.data import functions as F
from ml_pipeline.data.columns import READABLE, TEXT, WHOLE, Reading, quote, type_name
from ml_pipeline.data.csv_files import path_of
from ml_pipeline.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from ml_pipeline.settings.pipeline import Source

_LONG, _DOUBLE, _CODE, _BOOLEAN, _DATE, _TIMESTAMP, _COMMA, _TEXT, _BROKEN = (2**place for place in range(9))
_NUMBERS = _LONG | _DOUBLE
# The kinds of values that a type holds, the narrowest first.
_HOLDS = {
    "long": _LONG,
    "double": _NUMBERS,
    "boolean": _BOOLEAN,
    "date": _DATE,
    "timestamp": _DATE | _TIMESTAMP,
    "string": 2 * _TEXT - 1,
}


@dataclass(frozen=True)
class _Found:
    """The values of a column in one file."""

    file: str
    kinds: int
    """The kinds that occur, as bits."""
    numbers: int
    values: int


def of_training(
    rows: DataFrame, source: Source, *, computed: Collection[str], target: str, before: Mapping[str, str]
) -> dict[str, Reading]:
    """How to read each column of a source that is learned from.

    Args:
        rows: The source as it is.
        source: Where its rows are, with the types that are declared.
        computed: The features and the target.
        target: The column to predict; fractions that are whole numbers are classes.
        before: The types of the columns in the table that holds the rows so far.

    Raises:
        InputError: a declared column is absent; a value can't be read as the declared type; a column of text and
            numbers could be either.
    """
    columns.require(rows, source.columns, where=f"source.columns: source {source}")
    declared = _declared(rows, source)
    known = {name: _reading(source, _own(rows, name, before.get(name))) for name in rows.columns} | declared
    names = [name for name in computed if name in rows.columns and name not in declared]
    open_ = [name for name in names if _is_open(rows, source, name, name == target, before.get(name))]
    fixed = [name for name in rows.columns if name not in open_ and columns.converts(rows, name, known[name])]
    with sources.reading(f"source {source}"):
        found = _inspect(rows, source, open_, {name: known[name] for name in fixed})
        types = {name: _infer(found[name], rows, source, name, before.get(name)) for name in open_}
    if new := [f"{name} {type_}" for name, type_ in types.items() if type_ != before.get(name)]:
        print(f"source {source}: types of columns: {', '.join(new)}", flush=True)
    return known | {name: _reading(source, type_) for name, type_ in types.items()}


def of_batch(
    rows: DataFrame,
    source: Source,
    *,
    kinds: Mapping[str, str],
    model: Mapping[str, str],
    table: Mapping[str, str],
    checked: Mapping[str, str],
) -> dict[str, Reading]:
    """How to read each column of a batch, whatever its values look like today.

    Args:
        rows: The batch as it is.
        source: Where its rows are, with the types that are declared.
        kinds: The features of the models, each a ``double`` or a ``string``.
        model: The types that the columns had where the champion was trained.
        table: The types of the columns in the table of predictions so far.
        checked: The types that the checks declare.

    Raises:
        InputError: a column can't be read as its type at all.
    """
    types = {
        name: _type_in_batch(
            rows, name, kinds.get(name), model.get(name), table.get(name), is_text=source.csv is not None
        )
        for name in rows.columns
    }
    declared = _declared(rows, source)
    open_ = [name for name in types.keys() - declared.keys() - checked.keys() if types[name] == "long"]
    types |= _with_fractions(rows, source, [name for name in open_ if type_name(rows, name) not in WHOLE])
    readings = {name: _reading(source, type_) for name, type_ in types.items()} | declared
    _require_readable(rows, {name: reading for name, reading in readings.items() if name not in checked}, source)
    return readings | {name: _reading(source, type_) for name, type_ in checked.items() if name in rows.columns}


def of_columns(rows: DataFrame, source: Source, types: Mapping[str, str]) -> dict[str, Reading]:
    """How to read columns of a source as the types that they have elsewhere, and the others as what they are.

    Raises:
        InputError: a column can't be read as its type at all.
    """
    known = {name: _reading(source, columns.canonical(rows, name)) for name in rows.columns} | _declared(rows, source)
    readings = {name: _reading(source, type_, known[name].format) for name, type_ in types.items()}
    _require_readable(rows, readings, source)
    return known | readings


def _require_readable(rows: DataFrame, readings: Mapping[str, Reading], source: Source) -> None:
    for name, reading in readings.items():
        readable = READABLE.get(reading.base, (type_name(rows, name),))
        # A column without any value has the type that its writer happened to give it.
        if type_name(rows, name) not in readable and not rows.where(F.col(quote(name)).isNotNull()).isEmpty():
            raise InputError(
                f"column '{name}' of source {source} is {rows.schema[name].dataType.simpleString()}, which can't be "
                f"read as {reading.type}; accepted: {', '.join(readable)}"
            )


def _type_in_batch(
    rows: DataFrame, name: str, kind: str | None, model: str | None, table: str | None, *, is_text: bool
) -> str:
    own = type_name(rows, name)
    if kind is None:
        kept, canonical = table or model or "", columns.canonical(rows, name)
        readable = own in READABLE.get(kept.partition("(")[0], ())
        # A file of text has no types. Any other source has: the table holds them, or becomes wide enough.
        holds = is_text or kept == "string" or columns.holds(kept, canonical)
        return kept if readable and (holds or (kept == "long" and own in ("float", "double"))) else canonical
    if kind == "string" or model in ("boolean", "date", "timestamp", "timestamp_ntz"):
        return kind if kind == "string" else str(model)
    # To the model whole numbers are fractions too.
    whole = own in WHOLE or (own in (*TEXT, "float", "double") and "long" in (table, model))
    return "long" if whole and table in (None, "long") else "double"


def _with_fractions(rows: DataFrame, source: Source, names: list[str]) -> dict[str, str]:
    """Columns that were whole numbers so far and have fractions today."""
    if not names:
        return {}
    whole, number = (
        [columns.read(rows, name, _reading(source, type_)) for name in names] for type_ in ("long", "double")
    )
    pairs = zip(whole, number, strict=True)
    counts = rows.agg(*(F.count_if(one.isNull() & other.isNotNull()) for one, other in pairs)).first()
    return {name: "double" for name, count in zip(names, counts or (), strict=True) if count}


def apply(rows: DataFrame, readings: Mapping[str, Reading]) -> DataFrame:
    """The rows with each column read as its type; NULL where it can't be."""
    if all(
        columns.canonical(rows, name) == rows.schema[name].dataType.simpleString()
        and not columns.converts(rows, name, readings[name])
        for name in rows.columns
    ):
        return rows
    return rows.select(*(columns.read(rows, name, readings[name]).alias(name) for name in rows.columns))


def types_of(rows: DataFrame) -> dict[str, str]:
    """The types of a table's columns, as they are kept."""
    return {name: columns.canonical(rows, name) for name in rows.columns}


def unreadable(rows: DataFrame, name: str, reading: Reading) -> Column:
    """Whether there is a value, and not one of the type."""
    return ~columns.missing(rows, name, reading) & columns.read(rows, name, reading).isNull()


def _declared(rows: DataFrame, source: Source) -> dict[str, Reading]:
    given = {name: column for name, column in source.columns.items() if name in rows.columns}
    return {name: _reading(source, column.type, column.format) for name, column in given.items()}


def _reading(source: Source, type_: str, format_: str | None = None) -> Reading:
    if not source.csv:
        return Reading(type_, format_)
    return Reading(type_, format_, source.decimal, source.encoding)


def _own(rows: DataFrame, name: str, kept: str | None) -> str:
    own = columns.canonical(rows, name)
    return "double" if (own, kept) == ("long", "double") else own


def _is_open(rows: DataFrame, source: Source, name: str, is_target: bool, kept: str | None) -> bool:
    """Whether only the values tell a column's type."""
    own = type_name(rows, name)
    if own in TEXT:
        return kept != "string" and (kept is not None or source.csv is not None)
    return own in ("float", "double", "decimal") and (is_target or kept == "long")


def _inspect(
    rows: DataFrame, source: Source, open_: list[str], fixed: Mapping[str, Reading]
) -> dict[str, list[_Found]]:
    """What the values of each open column are, by file; a value that a fixed column can't have is an error."""
    if not open_ and not fixed:
        return {}
    file = F.input_file_name() if source.csv else F.lit("")
    kinds = [_kind(rows, name, source.decimal).alias(f"kind{place}") for place, name in enumerate(open_)]
    bad = [unreadable(rows, name, reading).alias(f"bad{place}") for place, (name, reading) in enumerate(fixed.items())]
    counts = [
        count
        for place in range(len(open_))
        for kind in [F.col(f"kind{place}")]
        for count in (F.bit_or(kind), F.count_if(kind.isin(_LONG, _DOUBLE)), F.count_if(kind > 0))
    ]
    counts += [F.count_if(f"bad{place}") for place in range(len(fixed))]
    found = rows.select(file.alias("file"), *kinds, *bad).groupBy("file").agg(*counts).collect()
    for place, (name, reading) in enumerate(fixed.items(), 1 + 3 * len(open_)):
        if any(row[place] for row in found):
            raise _unread(rows, source, name, reading)
    return {
        name: [_Found(row[0], *row[place : place + 3]) for row in found if row[place]]
        for name, place in zip(open_, range(1, 3 * len(open_), 3), strict=True)
    }


def _kind(rows: DataFrame, name: str, decimal: str) -> Column:
    """The kind of a column's value; 0 where there is none."""
    value = F.col(quote(name))
    if type_name(rows, name) not in TEXT:
        whole = F.when(value == F.floor(value), _LONG).otherwise(_DOUBLE)
        return F.when(columns.missing(rows, name, None), 0).otherwise(whole)
    bare = F.trim(value)
    number = bare if decimal == "." else F.when(~bare.contains("."), F.replace(bare, F.lit(decimal), F.lit(".")))
    is_date, is_time = (columns.read(rows, name, Reading(type_)).isNotNull() for type_ in ("date", "timestamp"))
    return (
        F.when(value.isNull() | F.lower(bare).isin("", "nan"), 0)
        # Also numbers that no column of whole numbers holds, and those of telephones: as quantities they would change.
        .when(bare.rlike(r"^[+-]?\d{19}|^[+-]?0\d|^\+\d{7}"), _CODE)
        .when(number.rlike(r"^[+-]?(0|[1-9]\d{0,17})(\.0*)?$"), _LONG)
        .when(number.rlike(columns.NUMBER), _DOUBLE)
        .when(F.lower(bare).isin("true", "false"), _BOOLEAN)
        .when(is_date, _DATE)
        .when(is_time, _TIMESTAMP)
        .when(bare.contains(columns.UNDECODED), _BROKEN)
        .when(bare.rlike(r"^[+-]?\d+,\d+$"), _COMMA)
        .otherwise(_TEXT)
    )


def _infer(found: list[_Found], rows: DataFrame, source: Source, name: str, kept: str | None) -> str:
    """The type of a column by its values in each file: the one that is kept, if it holds them."""
    kinds = functools.reduce(operator.or_, (file.kinds for file in found), 0)
    if kept and not kinds & ~_HOLDS.get(kept, 0):
        return kept
    if not source.csv:
        return "long" if kinds == _LONG else columns.canonical(rows, name)
    if kinds & _BROKEN:
        raise _unread(rows, source, name, _reading(source, "string"))
    where = f"source {source}: column '{name}'"
    declare = f"declare its type: [source.columns] {name} = 'double' or 'string'"
    if kinds & _COMMA and not kinds & _TEXT:
        raise InputError(f"{where} holds numbers with a decimal comma; set source.decimal = ',', or {declare}")
    text = [file for file in found if file.kinds & _TEXT]
    numbers = [file for file in found if file.kinds & _NUMBERS and not file.kinds & ~_NUMBERS]
    for file in text:
        other = numbers[0] if numbers else file if 2 * file.numbers > file.values else None
        if other:
            in_file = (F.input_file_name() == file.file) & (_kind(rows, name, source.decimal) == _TEXT)
            example = rows.where(in_file).select(quote(name)).first()
            raise InputError(
                f"{where} has {other.numbers:,} numbers in {path_of(other.file)}, and {path_of(file.file)} has text, "
                f"such as {(example or [''])[0]!r}; if it stands for a missing value, set source.null_value; {declare}"
            )
    return next((type_ for type_, held in _HOLDS.items() if not kinds & ~held), "string")


def _unread(rows: DataFrame, source: Source, name: str, reading: Reading) -> InputError:
    found = rows.where(unreadable(rows, name, reading)).select(F.col(quote(name)).cast("string"), F.input_file_name())
    value, file = found.first() or ("", "")
    where = f"source {source}: column '{name}' has {found.count():,} values that are not"
    if reading.type == "string":
        return InputError(f"{where} text in {source.encoding}, such as {value!r}; set source.encoding to the file's")
    return InputError(
        f"{where} of its type {reading.type}, such as {value!r}{f' in {path_of(file)}' if file else ''}; if "
        f"it stands for a missing value, set source.null_value; else declare it: [source.columns] {name} = 'string'"
    )
