"""Cron expressions as the Quartz scheduler takes them, which is what Databricks schedules by.

Six fields or seven: seconds, minutes, hours, day of month, month, day of week, and a year if wanted
(quartz-scheduler.org, CronTrigger tutorial).
"""

from __future__ import annotations

import calendar
import datetime
import itertools
import re
from typing import NamedTuple


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = ""
    """Pattern of what else this field takes, alone: in a list Quartz rejects it, or drops what is beside it."""


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Field("seconds", 0, 59),
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("day of month", 1, 31, special=r"\?|L(-([1-9]|[12]\d|30))?W?|([1-9]|[12]\d|3[01])W"),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 1, 7, _DAYS, special=r"\?|L|([1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(L|#[1-5])"),
    _Field("year", 1970, 2099),
)

_EVERY = ("*", "?", "")
"""A range of all that a field has; the empty one comes before a step, as in ``/5``."""


def checked(expression: str) -> str:
    """A Quartz cron expression, as it is.

    Raises:
        ValueError: it is not one; the message names the field.
    """
    if not _fires(_parsed(expression)):
        raise ValueError("never fires; accepted: an expression that fits a day from today on")
    return expression


def _parsed(expression: str) -> list[str]:
    if not re.fullmatch(r"[ \t!-~]*", expression):
        raise ValueError("holds other characters than ASCII; accepted: a Quartz cron expression, such as '0 0 6 * * ?'")
    parts = expression.upper().split()
    if len(parts) not in (6, 7):
        raise ValueError(
            f"has {len(parts)} fields; accepted: a Quartz cron expression of 6 or 7, seconds first, "
            "such as '0 0 6 * * ?' for six o'clock each day"
        )
    for field, part in zip(_FIELDS, parts, strict=False):
        if field.special and re.fullmatch(field.special, part):
            continue
        for item in part.split(","):
            _check(field, item)
    if [parts[3], parts[5]].count("?") != 1:
        raise ValueError("accepted: '?' in exactly one of day of month and day of week, as Quartz has it")
    return parts


def _fires(parts: list[str]) -> bool:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    # Not the decades that are past: each file's schedule is looked at on every start.
    years = [year for year in _values(_FIELDS[6], parts[6] if len(parts) == 7 else "*") if year >= today.year]
    for year, month in itertools.product(sorted(years), _values(_FIELDS[4], parts[4])):
        days = (datetime.date(year, month, day + 1) for day in range(calendar.monthrange(year, month)[1]))
        if any(day >= today and _on(day, parts[3], parts[5]) for day in days):
            return True
    return False


def times_of_day(expression: str) -> list[datetime.time]:
    """The times at which an expression fires on each of its days."""
    fields = zip(_FIELDS[:3], _parsed(expression), strict=False)
    seconds, minutes, hours = (sorted(_values(field, part)) for field, part in fields)
    return [datetime.time(*time) for time in itertools.product(hours, minutes, seconds)]


def fires_on(expression: str, day: datetime.date) -> bool:
    """Whether an expression fires on a day."""
    parts = _parsed(expression)
    years = _values(_FIELDS[6], parts[6]) if len(parts) == 7 else {day.year}
    return day.year in years and day.month in _values(_FIELDS[4], parts[4]) and _on(day, parts[3], parts[5])


def as_cron(expression: str) -> str:
    """The same times in the five fields that Airflow takes: no seconds, no year, and Sunday is 0.

    Lists of numbers take the place of what the two dialects read differently.

    Raises:
        ValueError: those five fields can't say it.
    """
    said = []
    for field, part in zip(_FIELDS, _parsed(expression), strict=False):
        values = _values(field, part)
        if not values or (field.name == "seconds" and values != {0}) or (field.name == "year" and part != "*"):
            raise ValueError(
                f"cron '{expression}': {field.name} '{part}' can't be said to Airflow; accepted with engine 'airflow': "
                "0 seconds, every year, and no L, W or #"
            )
        # Quartz counts the days of the week from 1.
        shift = 1 if field.names is _DAYS else 0
        every = len(values) == field.high - field.low + 1
        said.append("*" if every else ",".join(str(value - shift) for value in sorted(values)))
    return " ".join(said[1:6])


def _values(field: _Field, part: str) -> set[int]:
    """All that a field stands for; nothing where that depends on the month."""
    values: set[int] = set()
    for item in part.split(","):
        range_, _, step = item.partition("/")
        low, dash, high = range_.partition("-")
        first = field.low if range_ in _EVERY else _number(field, low)
        last = _number(field, high) if dash else (field.high if step or range_ in _EVERY else first)
        if first is None or last is None:
            return set()
        # Quartz takes a range that goes round, such as FRI-MON.
        size = field.high - field.low + 1
        span = range(first, last + 1 + (size if last < first else 0), int(step or 1))
        values |= {(value - field.low) % size + field.low for value in span}
    return values


def _check(field: _Field, item: str) -> None:
    range_, slash, step = item.partition("/")
    every = range_ == "*" or (slash and not range_)
    ends = [] if every else range_.split("-", 1)
    numbers = [_number(field, end) for end in ends]
    # Quartz reads on after a name only for a range of names.
    named = {end in field.names for end in ends}
    fits = None not in numbers and len(named) < 2 and not (slash and True in named)
    if fits and field.name == "year":
        fits = ends == sorted(ends)
    if not fits or (slash and not (re.fullmatch(r"[0-9]{1,4}", step) and 0 < int(step) <= field.high)):
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        special = ", or ?, L, W and # alone" if field.special else ""
        raise ValueError(
            f"{field.name} '{item}' is not a field of a Quartz cron expression; accepted: {field.low} to {field.high}"
            f"{names}, lists and ranges of them, steps of numbers, or *{special}"
        )


def _number(field: _Field, text: str) -> int | None:
    if text in field.names:
        return field.names.index(text) + field.low
    value = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else -1
    return value if field.low <= value <= field.high else None


def per_month(expression: str) -> float:
    """How often an expression comes true in a month, on the average of four years from this one on."""
    parts = _parsed(expression)
    months = _values(_FIELDS[4], parts[4])
    # A year that the expression names is not a usual one.
    first = datetime.date(datetime.datetime.now(tz=datetime.UTC).year, 1, 1)
    days = (first + datetime.timedelta(days=day) for day in range(4 * 365 + 1))
    matching = sum(day.month in months and _on(day, parts[3], parts[5]) for day in days)
    return len(times_of_day(expression)) * matching / 48


def _on(day: datetime.date, of_month: str, of_week: str) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if of_month != "?":
        return any(day.day in _of_month(day, item, last) for item in of_month.split(","))
    weekday = day.isoweekday() % 7 + 1
    for item in of_week.split(","):
        name, nth, rank = item.partition("#")
        is_last = item.endswith("L") and item != "L"
        if nth or is_last:
            right = _number(_FIELDS[5], name.removesuffix("L") if is_last else name) == weekday
            if right and (day.day > last - 7 if is_last else (day.day - 1) // 7 == int(rank) - 1):
                return True
        elif weekday in _values(_FIELDS[5], "7" if item == "L" else item):
            return True
    return False


def _of_month(day: datetime.date, item: str, last: int) -> set[int]:
    if not (item.startswith("L") or item.endswith("W")):
        return _values(_FIELDS[3], item)
    nearest, item = item.endswith("W"), item.removesuffix("W")
    wanted = last - int(item[2:] or 0) if item.startswith("L") else int(item)
    if not 1 <= wanted <= last:
        return set()
    if nearest:
        # The nearest day from Monday to Friday, in the same month.
        around = [wanted, wanted - 1, wanted + 1, wanted - 2, wanted + 2]
        wanted = next(
            one for one in around if 1 <= one <= last and datetime.date(day.year, day.month, one).isoweekday() < 6
        )
    return {wanted}
