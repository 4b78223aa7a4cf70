"""The model of bench/attention.py says the same as the tasks and the database: night by night."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.config import Config
from app.database.pool import Database
from app.domain.updates import Update
from bench.attention import DAY, FIRST_DAY, Hub, Night, Plan, Watcher, make_fleet
from jobs import find_attention
from tests.integration.test_attention import Fleet
from tests.storing import store

NIGHTS = 16
SERIES = 4


def choose_plans(weeks: int) -> list[Plan]:
    """Series with several troubles of ended or missing runs, as many weeks later."""
    plans = [
        plan
        for plan in make_fleet(40, NIGHTS, seed=4)
        if 8 <= len(plan.nights) <= 25 and plan.series.job_type != "restore"
    ]
    plans.sort(key=lambda plan: len({each.kind for each in plan.troubles}), reverse=True)
    for plan in plans[:SERIES]:
        plan.nights = [as_stored(night, weeks * 7 * DAY) for night in plan.nights]
    return plans[:SERIES]


def as_stored(night: Night, later: float) -> Night:
    """A night with an end of its own: the detector and dry runs are tested elsewhere."""
    reported = {"percent": 50.0, "bytes": None, "total_bytes": None}
    is_other = "is_dry_run" in night.reported or "disks" in night.reported
    return replace(
        night,
        start=night.start + later,
        status="failed" if night.is_silent else night.status,
        is_silent=False,
        reported=reported if is_other else night.reported,
    )


def updates_of(plan: Plan, number: int) -> Iterator[Update]:
    """All updates of a night."""
    night, sender = plan.nights[number], plan.sender
    reported = {
        "bytes": night.bytes if sender.bytes else None,
        "total_bytes": night.bytes if sender.bytes and sender.total else None,
        "percent": 100.0 if sender.percent else None,
        **night.reported,
    }
    for seconds, moved in night.progress()[:-1:4]:
        done = None if reported["bytes"] is None else round(moved)
        yield make_update(plan, number, night.start + seconds, "running", bytes_transferred=done)
    yield make_update(
        *(plan, number, night.end, night.status),
        bytes_transferred=reported["bytes"],
        total_bytes=reported["total_bytes"],
        progress_percent=reported["percent"],
    )


def make_update(plan: Plan, number: int, at: float, status: str, **fields: Any) -> Update:
    time = round(at * 1_000_000)
    fields |= {"vm_name": plan.machine, "backup_type": plan.series.backup_type}
    fields = {name: value for name, value in fields.items() if value is not None}
    job_id = f"{plan.series.id}-{number}"
    return Update("backup", job_id, status, timestamp=time, fields=fields, time=time)


def open_kinds(fleet: Fleet) -> dict[tuple[str, str | None], set[str]]:
    """The kinds of the open items, by machine and backup type."""
    found = defaultdict(set)
    with fleet.owner.connect() as conn:
        rows = conn.execute(
            "SELECT attention.vm_name, backup_type, kind FROM attention"
            " JOIN series ON series.id = series_id WHERE until IS NULL"
        )
        for vm_name, backup_type, kind in rows:
            found[vm_name, backup_type].add(kind)
    return found


def test_the_simulation_and_the_tasks_say_the_same(owner: Database, config: Config) -> None:
    find_attention._thresholds.clear()
    fleet = Fleet(owner, config)
    fleet.now = fleet.now.replace(hour=12, minute=0, second=0)  # the clock of every look
    weeks = (fleet.now.date() - FIRST_DAY - timedelta(NIGHTS + 1)).days // 7
    plans = choose_plans(weeks)
    first = datetime(
        FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, 12, tzinfo=fleet.now.tzinfo
    ) + timedelta(weeks=weeks)
    compared, seen = 0, set()
    waiting = [(night.end, plan, n) for plan in plans for n, night in enumerate(plan.nights)]
    for day in range(1, NIGHTS + 1):
        until = (first + timedelta(days=day)).timestamp()
        due = [(plan, n) for end, plan, n in waiting if end < until]
        waiting = [each for each in waiting if each[0] >= until]
        with owner.connect() as conn:
            store(conn, *(update for plan, n in due for update in updates_of(plan, n)))
        fleet.judge()
        fleet.look(until - fleet.now.timestamp())
        said = open_kinds(fleet)
        for plan in plans:
            watcher = Watcher(plan, Hub())
            watcher.watch(until)
            if not watcher.live:
                kinds = set(watcher.opened)
                assert said[plan.machine, plan.series.backup_type] == kinds, (
                    day,
                    plan.series.title,
                )
                compared += 1
                seen |= kinds
    assert compared > 0.8 * SERIES * NIGHTS
    assert len(seen) >= 3
