"""`python -m app repair` on rows as older hubs, imports and senders have left them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import pytest

from app import repair
from app.config import Config
from app.db import Database
from app.domain.updates import DISK_FIELDS

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
        row = conn.execute("SELECT to_jsonb(jobs) FROM jobs WHERE job_id = %s", (job_id,))
        return row.fetchone()[0][name]


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
        "2 jobs completed with 0 bytes and no disks that could say more.",
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


def test_a_repair_is_no_sign_of_life(config: Config, database: Database) -> None:
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
        assert repair.store.repair_jobs(conn, ["old"]) == []
    assert events(database) == []
