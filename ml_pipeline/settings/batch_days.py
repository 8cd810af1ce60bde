"""Whether a schedule gives each day one batch: batches are named after the day on which their run starts, in UTC."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

from ml_pipeline.settings import quartz

_DAYS = 5 * 366
"""How far ahead the rules of a time zone are looked at."""


def check(cron: str, time_zone: str) -> None:
    """Reject a schedule that would replace the batch of a day, or leave a day out.

    Raises:
        ValueError: it fires more than once a day; its day in UTC is not always as far from its own day, which daylight
            saving time changes; or its time of day is skipped or repeated when the clocks change.
    """
    times = quartz.times_of_day(cron)
    if len(times) != 1:
        raise ValueError(
            f"cron '{cron}' fires {len(times):,} times a day, and each run would replace the batch of the day; "
            "accepted: once a day"
        )
    (time,), zone = times, ZoneInfo(time_zone)
    where = f"cron '{cron}': {time:%H:%M} in {time_zone}"
    shifts: dict[int, datetime.date] = {}
    before = None
    for day in _days():
        local = datetime.datetime.combine(day, time, zone)
        offset = local.utcoffset()
        if offset == before:
            continue
        # The clocks changed within the last 24 hours: only then can a time be skipped or repeated.
        for near in (local - datetime.timedelta(1), local):
            if near.utcoffset() != near.replace(fold=1).utcoffset() and quartz.fires_on(cron, near.date()):
                raise ValueError(f"{where} is skipped or repeated on {near.date()}; accepted: another time of day")
        before = offset
        shifts.setdefault((local.astimezone(datetime.UTC).date() - day).days, day)
    if len(shifts) > 1 and len(_fired(cron, time, zone)) > 1:
        raise ValueError(
            f"{where} is another day in UTC, which names the batch, from {max(shifts.values())} on; accepted: a time "
            "whose day in UTC is the same all year"
        )


def _days() -> list[datetime.date]:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return [today + datetime.timedelta(days) for days in range(_DAYS)]


def _fired(cron: str, time: datetime.time, zone: ZoneInfo) -> set[int]:
    """By how many days the days in UTC differ from the days on which the schedule fires."""
    fired = (day for day in _days() if quartz.fires_on(cron, day))
    return {(datetime.datetime.combine(day, time, zone).astimezone(datetime.UTC).date() - day).days for day in fired}
