"""A schedule that is accepted gives each of its days one batch, whatever the clocks do."""

from __future__ import annotations

import datetime
import os
import random
import zoneinfo
from collections import Counter

import pytest

from ml_pipeline.settings import batch_days, quartz

ROUNDS = int(os.environ.get("SCHEDULES", "1"))
"""Of random schedules, each for another time zone."""
ZONES = 60
DAYS = ("* * ?", "? * MON-FRI", "? * SUN", "1 * ?", "L * ?", "? * 1#4")


def instants(cron: str, time_zone: str, first: datetime.date) -> list[datetime.datetime]:
    """Each instant of five years at which the clock shows the schedule's time, found without its rules."""
    zone, (time,) = zoneinfo.ZoneInfo(time_zone), quartz.times_of_day(cron)
    found = []
    for number in range(5 * 365):
        day = first + datetime.timedelta(number)
        if quartz.fires_on(cron, day):
            local = datetime.datetime.combine(day, time)
            at = {local.replace(tzinfo=zone, fold=fold).astimezone(datetime.UTC) for fold in (0, 1)}
            found += sorted(each for each in at if each.astimezone(zone).replace(tzinfo=None) == local)
    return found


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_an_accepted_schedule_gives_each_of_its_days_one_batch(round_: int) -> None:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    chosen, outcomes = random.Random(round_), Counter[bool]()
    for time_zone in chosen.sample(sorted(zoneinfo.available_timezones()), ZONES):
        cron = f"{chosen.randrange(60)} {chosen.randrange(60)} {chosen.randrange(24)} {chosen.choice(DAYS)}"
        try:
            batch_days.check(cron, time_zone)
        except ValueError:
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        found = instants(cron, time_zone, today)
        fired = sum(quartz.fires_on(cron, today + datetime.timedelta(number)) for number in range(5 * 365))
        keys = {instant.date() for instant in found}
        assert len(found) == len(keys) == fired, (cron, time_zone)
        if cron.endswith("* * ?"):
            assert len(keys) == (max(keys) - min(keys)).days + 1, (cron, time_zone)
    assert outcomes[True] > outcomes[False] > 0


@pytest.mark.parametrize(
    ("cron", "time_zone", "message"),
    [
        ("0 30 1 * * ?", "Europe/Berlin", "01:30 in Europe/Berlin is another day in UTC.*from 20.*accepted: a time"),
        ("0 30 2 * * ?", "Europe/Berlin", "02:30 in Europe/Berlin is skipped or repeated on 20.*another time of day"),
        ("0 0 * * * ?", "UTC", "fires 24 times a day.*accepted: once a day"),
        ("0 0 6,18 * * ?", "UTC", "fires 2 times a day"),
        ("0/30 0 6 * * ?", "UTC", "fires 2 times a day"),
    ],
)
def test_a_schedule_that_gives_a_day_no_batch_or_two_is_rejected(cron: str, time_zone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch_days.check(cron, time_zone)


@pytest.mark.parametrize(
    ("cron", "time_zone"),
    [
        ("0 30 1 * * ?", "UTC"),
        ("0 0 6 * * ?", "Europe/Berlin"),
        ("0 30 1 ? JUL *", "Europe/Berlin"),
        ("0 30 2 ? * MON-FRI", "Europe/Berlin"),
        ("0 0 9 * * ?", "Asia/Tokyo"),
        ("0 0 3 * * ?", "Asia/Tokyo"),
    ],
)
def test_other_schedules_are_accepted(cron: str, time_zone: str) -> None:
    batch_days.check(cron, time_zone)
