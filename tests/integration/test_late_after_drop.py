"""What arrives for a job of which something has been dropped: nothing that is known gets lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.charts.job import read_history
from app.clock import to_micros
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rollups import ROLLUPS
from app.domain.updates import Update
from app.domain.window import Window
from app.ingest.transaction import Receipt
from app.store import rollups
from app.store.rollups import read_stale_windows
from jobs import drop_expired_chunks, refresh_rollups, summarise_finished_jobs
from tests import series
from tests.chunks import keep_alive
from tests.series import Row
from tests.storing import store

DAY = 86_400.0


@pytest.fixture(autouse=True)
def _in_use(owner: Database) -> None:
    """Retention trusts the clock of a hub that receives something."""
    with owner.connect(autocommit=True) as conn:
        keep_alive(conn, datetime.now(UTC))


def at(days: float) -> int:
    """That many days before now, at the start of an hour."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return to_micros(hour - timedelta(days=days))


def push(conn: Connection, days_ago: float, status: str = "running", **fields: Any) -> Receipt:
    disks = fields.pop("disks", {})
    [receipt] = store(conn, Update("backup", "j", status, at(days_ago), fields, disks))
    return receipt


def row(conn: Connection, query: str) -> Any:
    return conn.execute(query.encode()).fetchone()


def shorter(config: Config, **days: int) -> Config:
    settings: dict[str, Any] = {"late_data_days": 5, "raw_retention_days": 6, **days}
    return replace(config, **settings)


def test_a_straggler_leaves_what_was_dropped_as_it_is(
    owner: Database, config: Config, conn: Connection
) -> None:
    disks = {0: {"bytes_transferred": 5, "status": "completed"}, 1: {"bytes_transferred": 7}}
    push(conn, 20, vm_name="vm1", repository_id="repo", total_bytes=10**12, disks=disks)
    push(conn, 2, current_phase="transferring", bytes_transferred=500)
    push(conn, 1, "completed")
    shown = row(conn, "SELECT vm_name, repository_id, total_bytes, current_phase FROM jobs")
    refresh_rollups.run_once(owner, config)
    dropped = drop_expired_chunks.run_once(owner, shorter(config))
    assert dropped["job_telemetry"].chunks >= 1  # empty ones of other tests may be left
    push(conn, 1.5, bytes_transferred=499)
    assert row(conn, "SELECT vm_name, repository_id, total_bytes, current_phase FROM jobs") == shown
    assert conn.execute(
        "SELECT disk_index, bytes_transferred, status FROM job_disks ORDER BY 1"
    ).fetchall() == [(0, 5, "completed"), (1, 7, "transferring")]


def test_nothing_is_stored_behind_what_was_dropped(
    owner: Database, config: Config, conn: Connection
) -> None:
    push(conn, 20, bytes_transferred=1)
    push(conn, 1, bytes_transferred=2)
    refresh_rollups.run_once(owner, config)
    drop_expired_chunks.run_once(owner, shorter(config))
    # A minute later, in the chunk that was dropped; inside the late horizon of 28 days.
    receipt = push(conn, 20 - 1 / 1440, bytes_transferred=3)
    assert receipt.time > at(1)
    assert "clock_shifted" in row(conn, "SELECT warnings FROM jobs")[0]


def test_a_stray_update_years_later_does_not_take_the_chart(
    owner: Database, database: Database, config: Config, conn: Connection
) -> None:
    for minute in range(200):
        push(conn, 10 - minute / 1440, bytes_transferred=minute, transfer_speed_bps=minute)
    push(conn, 9, "completed")
    refresh_rollups.run_once(owner, config)
    conn.execute("UPDATE jobs SET last_telemetry_at = now() - interval '9 days'")
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    summary = row(conn, "SELECT performance_metrics FROM jobs")
    short = shorter(config, rollup_1m_retention_days=7)
    assert drop_expired_chunks.run_once(owner, short)["job_speed_1m"].chunks == 2
    push(conn, 0, "completed", bytes_transferred=9)
    first = "SELECT performance_metrics FROM jobs WHERE job_id = 'j'"
    assert row(conn, first) == summary
    assert read_history(conn, "j", points=300).statistics.updates == 1  # a run of its own
    history = read_history(conn, "j/1", points=300)
    assert history.source == "summary"
    assert history.statistics.peak_speed_bps == 199


def test_old_updates_of_an_older_hub_are_rolled_up_first(
    owner: Database, database: Database, config: Config, conn: Connection
) -> None:
    """They are older than the late horizon, and nothing was ever refreshed."""
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps)
           SELECT date_trunc('hour', now()) - interval '40 days' + n * interval '5 s', 0, 'j',
                  'running', n
           FROM generate_series(1, 1500) AS n"""
    )
    conn.execute(
        """INSERT INTO jobs (job_id, job_type, status, ended_by, started_at, newest_update_at,
               completed_at, last_telemetry_at)
           SELECT 'j', 'backup', 'completed', 'sender', min(time), max(time), max(time), max(time)
           FROM job_telemetry"""
    )
    assert summarise_finished_jobs.run_once(owner, config).written == 1
    assert row(conn, "SELECT performance_metrics -> 'snapshots' FROM jobs") == (1500,)
    refresh_rollups.run_once(owner, config)
    assert drop_expired_chunks.run_once(owner, config)["job_telemetry"].chunks >= 1
    assert read_history(conn, "j", points=300).statistics.peak_speed_bps == 1500


def test_a_summary_does_not_wait_for_the_rollups_of_nodes(
    owner: Database,
    config: Config,
    conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(conn, 1)
    push(conn, 1, "completed")
    conn.execute("UPDATE jobs SET last_telemetry_at = now() - interval '1 day'")
    real = rollups.refresh_stale

    def broken(*args: Any) -> Any:
        if args[1].name == "node_telemetry_1h":
            args[0].execute("SELECT 1 / 0")
        return real(*args)

    monkeypatch.setattr(rollups, "refresh_stale", broken)
    with pytest.raises(Exception, match="node_telemetry_1h"):
        refresh_rollups.run_once(owner, config)
    assert summarise_finished_jobs.run_once(owner, config).written == 1


def test_a_rebuilt_rollup_is_up_to_date(owner: Database, config: Config, conn: Connection) -> None:
    from app.commands.repair import rebuild_rollup

    for hours in range(20):
        push(conn, 3 - hours / 24)
    refresh_rollups.run_once(owner, config)
    window = Window(
        datetime.fromtimestamp(at(4) / 1e6, UTC), datetime.fromtimestamp(at(1) / 1e6, UTC)
    )
    with owner.connect(autocommit=True) as owning:
        rebuild_rollup(owning, ROLLUPS[0], window)
        assert read_stale_windows(owning, ROLLUPS[0], window) == []


# What is too old to be charted.


def stored(conn: Connection) -> int:
    return int(row(conn, "SELECT count(*) FROM job_telemetry")[0])


def events_of(conn: Connection) -> list[Any]:
    return conn.execute(
        "SELECT evidence FROM job_events WHERE kind = 'warning' AND evidence ? 'update'"
    ).fetchall()


@pytest.mark.parametrize("days_ago", [40, -1], ids=["before the horizon", "in the future"])
def test_an_update_that_is_too_late_for_an_ended_job_is_an_event(
    conn: Connection, days_ago: float
) -> None:
    push(conn, 5, transfer_speed_bps=100, current_phase="transferring")
    push(conn, 5 - 75 / 1440, "completed")
    before, history = row(conn, "SELECT * FROM jobs"), read_history(conn, "j", points=300)
    chart = (history.points, history.statistics, history.stretches, history.window)
    disks = {1: {"bytes_transferred": 3}}
    for is_repeat in (False, True):
        receipt = push(conn, days_ago, transfer_speed_bps=10**9, current_phase="odd", disks=disks)
        assert (receipt.is_applied, receipt.is_duplicate) == (False, is_repeat)
        assert "the update is kept as an event" in (receipt.reason or "")
    history = read_history(conn, "j", points=300)
    assert row(conn, "SELECT * FROM jobs") == before
    assert (history.points, history.statistics, history.stretches, history.window) == chart
    assert stored(conn) == 2
    [(evidence,)] = events_of(conn)
    assert evidence["update"] == {
        "status": "running",
        "transfer_speed_bps": 10**9,
        "current_phase": "odd",
        "disks": {"1": {"bytes_transferred": 3}},
    }
    assert evidence["time"].startswith(str(datetime.fromtimestamp(at(days_ago) / 1e6, UTC))[:10])
    push(conn, days_ago, transfer_speed_bps=7)  # another one
    assert len(events_of(conn)) == 2


def test_a_straggler_of_an_ended_job_with_a_wrong_clock_is_charted_in_its_run(
    conn: Connection,
) -> None:
    push(conn, 400, transfer_speed_bps=1)
    push(conn, 400 - 60 / 86_400, "completed")
    receipt = push(conn, 400 - 30 / 86_400, transfer_speed_bps=2)
    assert not receipt.is_duplicate
    assert stored(conn) == 3
    assert events_of(conn) == []
    history = read_history(conn, "j", points=300)
    assert [point.t for point in history.points] == [0, 30, 60]


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_repeat_of_a_dropped_update_is_not_stored_again(
    owner: Database, config: Config, conn: Connection, has_ended: bool
) -> None:
    push(conn, 20, bytes_transferred=1)
    push(conn, 1, "completed" if has_ended else "running", bytes_transferred=2)
    refresh_rollups.run_once(owner, config)
    drop_expired_chunks.run_once(owner, shorter(config))
    before = row(conn, "SELECT * FROM jobs")
    for _ in range(2):
        receipt = push(conn, 20, bytes_transferred=1)
        assert (receipt.is_duplicate, receipt.is_applied) == (True, False)
    assert row(conn, "SELECT * FROM jobs") == before
    assert stored(conn) == 1
    assert events_of(conn) == []


# Once the minutes are gone.


def drop(owner: Database, config: Config) -> None:
    """Refresh, summarise what has ended, and drop the minutes of a job of March."""
    refresh_rollups.run_once(owner, config)
    summarise_finished_jobs.run_once(owner, config)
    dropped = drop_expired_chunks.run_once(owner, shorter(config, rollup_1m_retention_days=7))
    assert dropped["job_speed_1m"].chunks >= 1


@pytest.mark.parametrize("points", [10, 40, 300, 5000])
def test_gaps_and_phases_are_those_of_the_summary_once_the_minutes_are_gone(
    owner: Database, config: Config, conn: Connection, points: int
) -> None:
    rows = [
        Row(3600.0 * hour + 30 * n, speed=5, bytes=hour, phase="ab"[hour // 15])
        for hour in range(30)
        for n in range(120)
        if not (3 <= hour < 27 and 10 <= n < 20 + hour)
    ]
    series.store(conn, rows)
    conn.execute("UPDATE jobs SET status = 'completed', ended_by = 'sender', completed_at = now()")
    before = read_history(conn, "j", points=points).stretches
    assert len(before.gaps) == 24
    drop(owner, config)
    history = read_history(conn, "j", points=points)
    stretches = history.stretches
    assert stretches.phases == before.phases
    assert len(stretches.gaps) == 20
    assert set(stretches.gaps) < set(before.gaps)
    assert stretches.gaps_omitted == 4
    assert history.statistics.updates == len(rows)
    window = rows[0].time + timedelta(hours=26), rows[0].time + timedelta(hours=27)
    cut = read_history(conn, "j", points=points, from_at=window[0], before_at=window[1]).stretches
    assert set(cut.gaps) <= set(stretches.gaps)


def test_phases_of_a_job_without_summary_are_those_of_the_hours(
    owner: Database, config: Config, conn: Connection
) -> None:
    series.store(conn, [Row(60.0 * n, phase="a" if n < 90 else "b") for n in range(180)])
    drop(owner, config)
    phases = read_history(conn, "j", points=300).stretches.phases
    assert [phase.phase for phase in phases] == ["a", "b"]


def test_a_disk_has_its_hours_once_the_minutes_are_gone(
    owner: Database, config: Config, conn: Connection
) -> None:
    series.store(conn, [Row(60.0 * n) for n in range(180)])
    with owner.transaction() as owning:
        owning.execute(
            """INSERT INTO disk_telemetry (time, job_id, disk_index, transfer_speed_bps,
                   bytes_transferred)
               SELECT time, job_id, 1, 1000 + row_number() OVER (ORDER BY time), 7
               FROM job_telemetry"""
        )
        owning.execute("INSERT INTO job_disks (job_id, disk_index) VALUES ('j', 1)")
    before = read_history(conn, "j", points=300, disk=1)
    drop(owner, config)
    after = read_history(conn, "j", points=300, disk=1)
    assert (after.source, after.resolution_seconds) == ("1h", 3600)
    assert after.statistics == before.statistics
    assert after.statistics.updates == 180
    assert [bucket.bytes for bucket in after.buckets] == [7] * 3
