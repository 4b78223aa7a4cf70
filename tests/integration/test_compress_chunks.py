"""Old chunks are compressed, those of rollups later; what comes in afterwards is not lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.rollups import ROLLUPS
from app.domain.window import EPOCH
from app.errors import HubError
from app.ingest.transaction import Receipt, store_updates
from app.store import rollups
from app.store.rollups import Chunk, read_chunks, refresh_stale
from jobs import compress_chunks, refresh_rollups
from tests.chunks import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    add_snapshots,
    add_updates,
    every,
    materialised,
    starts,
)
from tests.factories import make_update

pytestmark = pytest.mark.owner

Run = Callable[..., dict[str, int]]


@pytest.fixture
def run(database: Database, config: Config) -> Run:
    """One run of the task, by default at NOW."""
    return lambda now=NOW: compress_chunks.run_once(database, config, now)


def compressed(conn: Connection, series: str) -> list[datetime]:
    """The starts of the chunks all of whose rows are compressed."""
    chunks = read_chunks(conn, series)
    return [chunk.start for chunk in chunks if chunk.is_compressed and not chunk.is_partial]


@pytest.mark.server
def test_a_chunk_that_is_being_read_waits_for_the_next_run(
    conn: Connection, run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptying it waits for the reader, and other readers would wait for that."""
    monkeypatch.setattr("app.store.rollups.LOCK_WAIT_MS", 50)
    add_updates(conn, [NOW - 2 * DAY])
    with database.connect() as reader:
        reader.execute("SELECT count(*) FROM job_telemetry")
        with pytest.raises(HubError, match="could not be compressed"):
            run()
        assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (1,)
    assert run()["job_telemetry"] == 1


def chunk(start: datetime, end: datetime, *, compressed: bool, partial: bool) -> Chunk:
    return Chunk("s", "n", start, end, is_compressed=compressed, is_partial=partial)


@pytest.mark.parametrize(
    ("compressed", "partial", "is_due"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_only_what_has_uncompressed_rows_is_due(
    compressed: bool, partial: bool, is_due: bool
) -> None:
    ended = chunk(NOW - HOUR, NOW, compressed=compressed, partial=partial)
    assert compress_chunks.is_due(ended, NOW) == is_due
    assert not compress_chunks.is_due(ended, NOW - timedelta(microseconds=1))


def test_a_chunk_is_compressed_once_it_has_ended_a_day_ago(conn: Connection, run: Run) -> None:
    add_updates(conn, every(3 * HOUR, NOW - 2 * DAY, NOW))
    done = run()
    for series in ("job_telemetry", "disk_telemetry"):
        chunks = starts(conn, series)
        old = [start for start in chunks if start + 6 * HOUR <= NOW - DAY]
        assert compressed(conn, series) == old
        assert 0 < len(old) < len(chunks)
        assert done[series] == len(old)


def test_nodes_are_compressed_too(conn: Connection, run: Run) -> None:
    add_snapshots(conn, [NOW - 20 * DAY, NOW])
    assert run()["node_telemetry"] == 1


def test_a_second_run_has_nothing_to_do(conn: Connection, run: Run) -> None:
    add_updates(conn, [NOW - 3 * DAY])
    assert run()["job_telemetry"] == 1
    assert set(run().values()) == {0}


def test_compressing_changes_no_row(conn: Connection, run: Run) -> None:
    add_updates(conn, every(10 * MINUTE, NOW - 3 * DAY, NOW))
    sql = "SELECT * FROM job_telemetry ORDER BY time"
    before = conn.execute(sql).fetchall()
    run()
    assert conn.execute(sql).fetchall() == before != []


def test_batches_fit_their_blocks(conn: Connection, run: Run) -> None:
    start = (NOW - 3 * DAY).replace(hour=6, minute=0, second=0, microsecond=0)
    add_updates(conn, every(timedelta(seconds=10), start, start + 4 * HOUR))
    run()
    (table,) = conn.execute(
        """SELECT compress_relid::regclass::text
           FROM _timescaledb_catalog.compression_settings
           JOIN timescaledb_information.chunks
             ON relid = format('%I.%I', chunk_schema, chunk_name)::regclass
           WHERE hypertable_name = 'job_telemetry' AND is_compressed"""
    ).fetchone() or ("",)
    sizes = conn.execute(f"SELECT _ts_meta_count FROM {table} ORDER BY 1".encode()).fetchall()
    assert sizes == [(520,), (920,)]


def test_a_late_row_in_a_compressed_chunk_is_compressed_by_the_next_run(
    conn: Connection, run: Run
) -> None:
    late = NOW - 3 * DAY
    add_updates(conn, every(MINUTE, late, late + HOUR))
    run()
    add_updates(conn, [late + timedelta(seconds=7)])
    assert compressed(conn, "job_telemetry") == []
    assert run()["job_telemetry"] == 1
    assert compressed(conn, "job_telemetry") == starts(conn, "job_telemetry")
    assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (61,)


def test_late_rows_in_compressed_chunks_are_in_the_rollups_after_a_tick(
    conn: Connection, run: Run, database: Database, config: Config
) -> None:
    late = NOW - 3 * DAY
    add_updates(conn, every(MINUTE, late, late + HOUR))
    refresh_rollups.run_once(database, config, NOW)
    run()
    add_updates(conn, [late + timedelta(seconds=7)], job_id="late", speed=99)
    refresh_rollups.run_once(database, config, NOW)
    for rollup in ("job_speed_1m", "job_speed_1h", "disk_speed_1m"):
        assert ("late", 99) in materialised(conn, rollup, "job_id, speed_max"), rollup
        assert sum(row[0] for row in materialised(conn, rollup, "updates")) == 61, rollup


def test_an_update_that_is_compressed_is_not_stored_a_second_time(
    conn: Connection, database: Database, config: Config
) -> None:
    def push() -> bool:
        with conn.transaction():
            (outcome,) = store_updates(conn, [make_update(-3 * 86_400)], 28)
        assert isinstance(outcome, Receipt)
        return outcome.is_duplicate

    assert not push()
    assert compress_chunks.run_once(database, config)["job_telemetry"] == 1
    assert push()
    assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (1,)


# Rollups.


def fill_rollups(conn: Connection) -> None:
    """Chunks of rollups on both sides of the age at which they are compressed."""
    times = every(12 * HOUR, NOW - 9 * DAY, NOW - 5 * DAY)
    add_updates(conn, times)
    add_snapshots(conn, [NOW - 20 * DAY, *times])
    for rollup in ROLLUPS:
        refresh_stale(conn, rollup, EPOCH, NOW - 4 * DAY)


def test_rollups_are_compressed_when_late_data_is_no_longer_likely(
    conn: Connection, run: Run
) -> None:
    fill_rollups(conn)
    run()
    lengths = {"job_speed_1m": DAY, "disk_speed_1m": DAY, "node_telemetry_1m": 7 * DAY}
    for rollup, length in lengths.items():
        old = [start for start in starts(conn, rollup) if start + length <= NOW - 7 * DAY]
        assert compressed(conn, rollup) == old
        assert 0 < len(old) < len(starts(conn, rollup))


def test_rollups_are_never_compressed_before_their_series(
    conn: Connection, database: Database, config: Config
) -> None:
    fill_rollups(conn)
    patient = replace(config, compress_after_hours=24 * 30)
    assert set(compress_chunks.run_once(database, patient, NOW).values()) == {0}


def test_a_late_row_in_a_compressed_rollup_is_refreshed_and_compressed_again(
    conn: Connection, run: Run, database: Database, config: Config
) -> None:
    fill_rollups(conn)
    run()
    add_updates(conn, [NOW - 9 * DAY], job_id="late")
    refresh_rollups.run_once(database, config, NOW)
    assert ("late", 1) in materialised(conn, "job_speed_1m", "job_id, updates")
    before = len(materialised(conn, "job_speed_1m"))
    assert run()["job_speed_1m"] == 1
    assert len(materialised(conn, "job_speed_1m")) == before


# What may go wrong.


def test_one_chunk_that_fails_does_not_stop_the_others(
    conn: Connection, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    add_updates(conn, every(DAY, NOW - 5 * DAY, NOW - 2 * DAY))
    frozen = read_chunks(conn, "job_telemetry")[0]
    set_frozen = "SELECT _timescaledb_functions.{}_chunk(%s::regclass)"
    name = [frozen.identifier.as_string(conn)]
    conn.execute(set_frozen.format("freeze").encode(), name)
    try:
        with pytest.raises(HubError, match=f"^{frozen.name} could not be compressed"):
            run()
    finally:
        conn.execute(set_frozen.format("unfreeze").encode(), name)
    assert compressed(conn, "job_telemetry") == starts(conn, "job_telemetry")[1:]
    assert compressed(conn, "disk_telemetry") == starts(conn, "disk_telemetry")
    assert any(message.startswith(frozen.name) for message in caplog.messages)


def test_a_chunk_that_was_dropped_since_it_was_listed_is_not_a_failure(
    conn: Connection, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_updates(conn, every(DAY, NOW - 5 * DAY, NOW - 2 * DAY))
    read = rollups.read_chunks

    def read_and_drop(conn: Connection, series: str) -> list[Chunk]:
        chunks = read(conn, series)
        if series == "job_telemetry":
            rollups.drop_chunk(conn, series, chunks[0])
        return chunks

    with monkeypatch.context() as patch:
        patch.setattr(rollups, "read_chunks", read_and_drop)
        done = run()
    assert done["job_telemetry"] == len(read(conn, "job_telemetry"))


def test_an_empty_hub_has_nothing_to_compress(run: Run) -> None:
    assert set(run()) == {
        "job_telemetry",
        "disk_telemetry",
        "node_telemetry",
        *(rollup.name for rollup in ROLLUPS),
    }
