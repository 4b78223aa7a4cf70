"""`python -m app repair` on rows as older hubs, imports and senders have left them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from app.commands import repair
from app.config import Config
from app.database.pool import Connection, Database
from app.domain.fields import DISK_FIELDS
from app.domain.rollups import Rollup
from app.domain.window import Window
from app.errors import ConfigError
from app.store import rollups
from app.store.repair import repair_jobs
from app.store.rollups import read_chunks
from jobs import refresh_rollups
from tests.chunks import DAY, HOUR, add_updates, every, materialised, table_of

pytestmark = pytest.mark.owner

MANY = repair.PAGE + 2  # more than one page


def make_job(
    database: Database,
    job_id: str,
    bytes_transferred: int = 0,
    status: str = "completed",
    disks: Sequence[tuple[int, bool]] = (),
    warnings: str = "{}",
) -> None:
    """A job's row as it is stored. `disks`: bytes of each, and whether the sender named them."""
    with database.transaction() as conn:
        conn.execute(
            "INSERT INTO jobs (job_id, job_type, status, bytes_transferred, warnings,"
            " completed_at, ended_by)"
            " VALUES (%(id)s, 'backup', %(status)s, %(bytes)s, %(warnings)s,"
            " CASE WHEN %(ended)s THEN now() END, CASE WHEN %(ended)s THEN 'sender' END)",
            {
                "id": job_id,
                "status": status,
                "bytes": bytes_transferred,
                "warnings": warnings,
                "ended": status == "completed",
            },
        )
        for index, (disk_bytes, is_named) in enumerate(disks):
            conn.execute(
                "INSERT INTO job_disks (job_id, disk_index, bytes_transferred, field_times)"
                " VALUES (%s, %s, %s, %s::bigint[])",
                (job_id, index, disk_bytes, _field_times(is_named)),
            )


def _field_times(is_named: bool) -> list[int | None]:
    if not is_named:
        return []  # as imported
    return [1 if name == "bytes_transferred" else None for name in DISK_FIELDS]


def run(config: Config, *options: str) -> int:
    parser = ArgumentParser()
    repair.add_arguments(parser)
    return repair.run(config, parser.parse_args(options))


def column(database: Database, job_id: str, name: str = "bytes_transferred") -> Any:
    with database.reading() as conn:
        query = "SELECT to_jsonb(jobs) FROM jobs WHERE job_id = %s"
        row = conn.execute(query, (job_id,)).fetchone()
    assert row is not None
    return row[0][name]


def events(database: Database) -> list[tuple[Any, ...]]:
    with database.reading() as conn:
        return conn.execute(
            "SELECT job_id, kind, actor, reason, evidence FROM job_events ORDER BY id"
        ).fetchall()


def test_zero_bytes_become_the_sum_over_the_disks(config: Config, database: Database) -> None:
    make_job(database, "old", disks=[(100, True), (23, True)])
    assert run(config) == 0
    assert column(database, "old") == 123


def test_imported_disks_without_instants_count_when_they_moved_bytes(
    config: Config, database: Database
) -> None:
    make_job(database, "imported", disks=[(100, False), (23, False)])
    run(config)
    assert column(database, "imported") == 123


def test_a_disk_that_reported_zero_bytes_has_reported(config: Config, database: Database) -> None:
    make_job(database, "one-empty-disk", disks=[(100, True), (0, True)])
    run(config)
    assert column(database, "one-empty-disk") == 100


def test_a_wrong_total_is_repaired_too(config: Config, database: Database) -> None:
    make_job(database, "wrong", 999, disks=[(100, True)])
    run(config)
    assert column(database, "wrong") == 100


def test_a_disk_that_never_reported_leaves_the_job_as_it_is(
    config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    make_job(database, "partly", disks=[(100, True), (0, False)])
    make_job(database, "no-disks")
    assert run(config) == 0
    assert column(database, "partly") == 0
    assert capsys.readouterr().out.splitlines() == [
        "0 jobs repaired.",
        "2 jobs completed with 0 bytes: not all disks have reported theirs.",
    ]


def test_only_completed_jobs_are_repaired(config: Config, database: Database) -> None:
    make_job(database, "live", status="running", disks=[(100, True)])
    run(config)
    assert column(database, "live") == 0


def test_a_repair_is_an_event_with_both_numbers(config: Config, database: Database) -> None:
    make_job(database, "old", 7, disks=[(100, True)])
    run(config)
    assert events(database) == [
        (
            "old",
            "warning",
            "operator",
            "Bytes recomputed from the disks: 7 became 100.",
            {"bytes_before": 7, "bytes_after": 100},
        )
    ]


def test_the_warning_about_no_bytes_goes_and_others_stay(
    config: Config, database: Database
) -> None:
    make_job(database, "old", disks=[(100, True)], warnings='{"no_bytes": "none", "other": "kept"}')
    run(config)
    assert column(database, "old", "warnings") == {"other": "kept"}


def test_a_repair_is_not_a_sign_of_life(config: Config, database: Database) -> None:
    make_job(database, "old", disks=[(100, True)])
    run(config)
    assert column(database, "old", "last_telemetry_at") is None


def test_a_second_run_changes_nothing(config: Config, database: Database) -> None:
    make_job(database, "old", disks=[(100, True)])
    run(config)
    assert run(config) == 0
    assert len(events(database)) == 1


def test_a_dry_run_says_what_it_would_do(
    config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    make_job(database, "old", disks=[(100, True)])
    assert run(config, "--dry-run") == 0
    assert capsys.readouterr().out == "old: 0 -> 100 bytes\n1 job would be repaired.\n"
    assert column(database, "old") == 0
    assert events(database) == []


def test_one_job_can_be_named(config: Config, database: Database) -> None:
    make_job(database, "mine", disks=[(100, True)])
    make_job(database, "other", disks=[(100, True)])
    assert run(config, "--job", "mine") == 0
    assert (column(database, "mine"), column(database, "other")) == (100, 0)


def test_an_unknown_or_live_job_is_refused_with_a_sentence(
    config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    make_job(database, "live", status="running")
    assert run(config, "--job", "nobody") == 1
    assert run(config, "--job", "live") == 1
    assert capsys.readouterr().out.splitlines() == [
        "There is no job nobody.",
        "live is running: only completed jobs are repaired.",
    ]


def test_a_sum_beyond_bigint_is_cut_to_it(config: Config, database: Database) -> None:
    make_job(database, "huge", disks=[(2**63 - 1, True), (2**63 - 1, True)])
    run(config)
    assert column(database, "huge") == 2**63 - 1


def test_more_jobs_than_a_page_are_all_repaired(config: Config, database: Database) -> None:
    with database.transaction() as conn:
        conn.execute(
            "INSERT INTO jobs (job_id, job_type, status, completed_at, ended_by)"
            " SELECT 'job-' || n, 'backup', 'completed', now(), 'sender'"
            " FROM generate_series(1, %s) AS n",
            (MANY,),
        )
        conn.execute(
            "INSERT INTO job_disks (job_id, disk_index, bytes_transferred)"
            " SELECT job_id, 0, 5 FROM jobs"
        )
    run(config)
    with database.reading() as conn:
        row = conn.execute("SELECT count(*) FROM jobs WHERE bytes_transferred = 5").fetchone()
    assert row == (MANY,)


def test_a_job_that_was_put_right_meanwhile_is_left_alone(
    config: Config, database: Database
) -> None:
    make_job(database, "old", 100, disks=[(100, True)])
    with database.transaction() as conn:
        assert repair_jobs(conn, ["old"]) == []
    assert events(database) == []


# Rollups.


def spoil(conn: Connection) -> None:
    """Give every materialised bucket a wrong number, behind the back of TimescaleDB."""
    for rollup in ("job_speed_1m", "job_speed_1h", "disk_speed_1m", "disk_speed_1h"):
        conn.execute(f"UPDATE {table_of(conn, rollup)} SET speed_max = 12345".encode())


def maxima(conn: Connection, rollup: str = "job_speed_1m") -> dict[datetime, int]:
    return dict(materialised(conn, rollup, "bucket, speed_max"))


def fill(conn: Connection, database: Database, config: Config) -> datetime:
    """Two days of updates, refreshed and then spoiled; the first one's time."""
    row = conn.execute("SELECT date_trunc('hour', now()) - interval '2 days'").fetchone()
    assert row is not None
    start: datetime = row[0]
    add_updates(conn, every(2 * HOUR, start, start + 2 * DAY))
    refresh_rollups.run_once(database, config)
    spoil(conn)
    return start


def test_rollups_are_rebuilt(
    conn: Connection, config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    start = fill(conn, database, config)
    assert run(config, "--rollups") == 0
    for rollup in ("job_speed_1m", "job_speed_1h", "disk_speed_1m", "disk_speed_1h"):
        assert set(maxima(conn, rollup).values()) == {5}, rollup
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("job_speed_1m rebuilt from ")
    assert lines[4].startswith("node_telemetry_1m")  # another test may have left it a chunk
    refresh_rollups.run_once(database, config)
    assert min(maxima(conn)) == start, "nothing was lost by it"


def test_a_stray_update_of_long_ago_does_not_cost_all_the_time_since(
    conn: Connection, config: Config, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = fill(conn, database, config)
    add_updates(conn, [start - 300 * DAY])
    refreshed: list[Window] = []
    refresh = rollups.refresh

    def refresh_and_note(conn: Connection, rollup: Rollup, part: Window, **kw: bool) -> None:
        refreshed.append(part)
        refresh(conn, rollup, part, **kw)

    monkeypatch.setattr(rollups, "refresh", refresh_and_note)
    run(config, "--rollups")
    assert len(refreshed) < 300  # of 2,400 a rollup
    assert start - 300 * DAY in maxima(conn)


def test_only_the_time_asked_for_is_rebuilt(
    conn: Connection, config: Config, database: Database
) -> None:
    start = fill(conn, database, config)
    window = (start + 10 * HOUR, start + 20 * HOUR)
    run(config, "--rollups", "--from", window[0].isoformat(), "--to", window[1].isoformat())
    made = {bucket for bucket, speed in maxima(conn).items() if speed == 5}
    assert made == {bucket for bucket in maxima(conn) if window[0] <= bucket < window[1]} != set()


def test_nothing_is_rebuilt_from_before_the_edge(
    conn: Connection, config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    start = fill(conn, database, config)
    kept = max(chunk.end for chunk in read_chunks(conn, "job_telemetry")[:2])
    conn.execute(
        "UPDATE series_edges SET dropped_before = %s WHERE series = 'job_telemetry'", [kept]
    )
    conn.execute("DELETE FROM job_telemetry WHERE time < %s", [kept])
    run(config, "--rollups", "--from", (start - DAY).isoformat())
    made = {bucket for bucket, speed in maxima(conn).items() if speed == 5}
    assert made == {bucket for bucket in maxima(conn) if bucket >= kept}
    assert start in maxima(conn), "what is older is still there"
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(
        f"job_speed_1m rebuilt from {kept.isoformat()}, where job_telemetry begins, to "
    )


def test_nothing_is_rebuilt_where_the_series_has_no_chunks(
    conn: Connection, config: Config, database: Database
) -> None:
    """Also where an operator has dropped them, which no edge tells of."""
    start = fill(conn, database, config)
    first = read_chunks(conn, "job_telemetry")[0]
    conn.execute("SELECT drop_chunks('job_telemetry', older_than => %s)", [first.end])
    run(config, "--rollups", "--from", (start - DAY).isoformat())
    assert start in maxima(conn)


def test_a_dry_run_leaves_rollups_as_they_are(
    conn: Connection, config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(conn, database, config)
    run(config, "--rollups", "--dry-run")
    assert set(maxima(conn).values()) == {12345}
    assert capsys.readouterr().out.startswith("job_speed_1m would be rebuilt from ")


def test_a_time_without_data_has_nothing_to_rebuild(
    conn: Connection, config: Config, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(conn, database, config)
    assert run(config, "--rollups", "--to", "2020-01-01T00:00:00Z") == 0
    assert "job_speed_1m: job_telemetry has no data in that time." in capsys.readouterr().out
    assert set(maxima(conn).values()) == {12345}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rollups", "--job", "j"], "leave --job out"),
        (["--from", "2026-03-10T00:00:00Z"], "--from and --to need --rollups"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    config: Config, options: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(config, *options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("yesterday", "'yesterday' is not a time such as"),
        ("2026-03-10T00:00:00", "has no offset from UTC: write 2026-03-10T00:00:00Z for UTC"),
    ],
)
def test_an_instant_must_be_certain(
    config: Config, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    with pytest.raises(SystemExit):
        run(config, "--rollups", "--from", text)
    assert sentence in capsys.readouterr().err
