"""`export` and `import`: everything is in the other database, each row once and as it was."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from app.clock import to_micros, utc_now
from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Connection, Database
from app.domain.rollups import RAW_SERIES, ROLLUPS
from app.domain.updates import Update
from app.errors import ConfigError
from app.transfer import export as exports
from app.transfer.export import Filters, export
from app.transfer.load import import_all
from app.transfer.rows import Rows, columns_of
from app.transfer.tables import LEFT_OUT, PRIVATE, TABLES
from jobs import drop_expired_chunks, judge_runs, refresh_rollups, summarise_finished_jobs
from tests.chunks import DAY, HOUR, add_snapshots, add_updates, keep_alive
from tests.storing import store
from tools import engine_template

pytestmark = [pytest.mark.owner, pytest.mark.timeout(300)]

NOW = utc_now().replace(minute=0, second=0, microsecond=0)
MIDNIGHT = NOW.replace(hour=0)
SHORT: dict[str, Any] = {
    "late_data_days": 1,
    "raw_retention_days": 2,
    "rollup_1m_retention_days": 3,
}
SPECIAL = 'a "quoted", text\nwith two lines; \\N, \\. and é'


def update(job_id: str, hours: float, **fields: Any) -> Update:
    time = to_micros(NOW - timedelta(hours=hours))
    status = str(fields.pop("status", "running"))
    return Update("backup", job_id, status, timestamp=time, fields=fields, time=time)


@pytest.fixture
def source(conn: Connection, database: Database, config: Config) -> Database:
    """A hub with tables of all kinds, and awkward texts."""
    conn.execute("TRUNCATE job_telemetry, disk_telemetry, node_telemetry")
    add_updates(conn, [MIDNIGHT - DAY, MIDNIGHT - DAY + HOUR], job_id="old")
    add_snapshots(conn, [NOW - HOUR])
    store(conn, update("a", 3, bytes_transferred=5, vm_name="db"))
    store(conn, update("a", 2, status="failed", error_message=SPECIAL, bytes_transferred=9))
    store(conn, update("b", 2, status="completed", bytes_transferred=7, error_message=""))
    store(conn, update("c", 1, bytes_transferred=1))
    conn.execute(
        "INSERT INTO nodes (node_id, last_seen_at, newest_snapshot_at) VALUES ('n', now(), now())"
    )
    conn.execute(
        "UPDATE jobs SET last_telemetry_at = now() - interval '1 hour' WHERE job_id <> 'c'"
    )
    summarise_finished_jobs.run_once(database, config)
    judge_runs.run_once(database, config)
    return database


@pytest.fixture
def dropped(source: Database, conn: Connection, config: Config) -> Database:
    """The same, where rollups alone have some of the past, and hours alone the oldest."""
    add_updates(conn, [MIDNIGHT - days * DAY for days in (5, 3)], job_id="old")
    add_snapshots(conn, [MIDNIGHT - 5 * DAY])
    keep_alive(conn, NOW)
    refresh_rollups.run_once(source, config)
    drop_expired_chunks.run_once(source, replace(config, **SHORT), NOW)
    return source


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[Database, Config]]:
    """Another hub, which is empty."""
    data_dir = tmp_path / "other"
    engine_template.copy_to(data_dir)
    engine = EmbeddedEngine(data_dir, port=0, durable=False)
    engine.start()
    config = Config(data_dir=data_dir)
    database = Database.of_owner(config)
    database.open()
    with database.connect(autocommit=True) as conn:
        migrate(conn)
    yield database, config
    database.close()
    engine.stop()


def quiet(table: str, rows: int) -> None:
    """Shows no progress."""


def contents(conn: Connection) -> dict[str, tuple[int, str]]:
    """How many rows each table and series has, and their checksums."""
    names = (*TABLES, *RAW_SERIES, *(rollup.name for rollup in ROLLUPS))
    return {
        name: Rows(sql.Identifier(name), columns_of(conn, name), sql.SQL("true")).count(conn)
        for name in names
    }


def test_everything_is_in_the_other_hub(
    dropped: Database, conn: Connection, target: tuple[Database, Config], tmp_path: Path
) -> None:
    database, config = target
    manifest = export(dropped, tmp_path / "out", Filters(), quiet)
    assert import_all(database, config, tmp_path / "out", quiet) == manifest
    refresh_rollups.run_once(database, config)
    refresh_rollups.run_once(dropped, config)
    dropped_hours = "SELECT count(*) FROM job_speed_1h WHERE bucket < %s"
    assert conn.execute(dropped_hours, [MIDNIGHT - 4 * DAY]).fetchone() == (1,)
    before = contents(conn)
    assert {name for name, (rows, _) in before.items() if rows == 0} <= {
        *("tokens", "maintenance", "rules", "hub_absences", "node_events", "sender_losses"),
        *("job_runs", "job_disks", "attention", "destinations", "destination_addresses"),
        "notification_routes",
    }
    edges = "SELECT series, dropped_before::text FROM series_edges ORDER BY series"
    counts = "SELECT job_type, status, sum(jobs) FROM machine_job_counts GROUP BY 1, 2 ORDER BY 1"
    with database.connect(autocommit=True) as other:
        assert contents(other) == before
        assert other.execute(edges).fetchall() == conn.execute(edges).fetchall()
        assert other.execute(counts).fetchall() == conn.execute(counts).fetchall()
        # What was acknowledged there is known here, and new rows get numbers of their own.
        (again,) = store(other, update("c", 1, bytes_transferred=1))
        assert again.is_duplicate
        store(other, update("new", 0.5))
        error = other.execute("SELECT error_message FROM jobs WHERE job_id = 'a'").fetchone()
        assert error == (SPECIAL,)


def test_an_export_goes_on_and_has_what_came_in_the_meantime(
    source: Database, conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(exports, "_write_table", fail)
        with pytest.raises(OSError, match="No space"):
            export(source, tmp_path / "out", Filters(), quiet)
    with pytest.raises(ConfigError, match="not completed: run it again"):
        import_all(source, Config(), tmp_path / "out", quiet)
    old = tmp_path / "out" / "job_telemetry" / f"{MIDNIGHT - DAY:%Y-%m-%dT%H-%M-%S}.csv.gz"
    written = old.stat().st_mtime_ns
    store(conn, update("late", 2.5, bytes_transferred=4))
    manifest = export(source, tmp_path / "out", Filters(), quiet)
    assert old.stat().st_mtime_ns == written
    (updates,) = conn.execute("SELECT count(*) FROM job_telemetry").fetchone() or (0,)
    exported = [part for part in manifest.parts if part.table == "job_telemetry"]
    assert sum(part.rows for part in exported) == updates
    for part in manifest.parts:
        with gzip.open(tmp_path / "out" / part.file, "rt") as file:
            assert len(file.readlines()) >= 1 + part.rows  # a text may have several lines
    with pytest.raises(ConfigError, match="complete export already"):
        export(source, tmp_path / "out", Filters(), quiet)


def test_an_import_goes_on_after_a_damaged_file(
    source: Database, target: tuple[Database, Config], conn: Connection, tmp_path: Path
) -> None:
    database, config = target
    out = tmp_path / "out"
    manifest = export(source, out, Filters(), quiet)
    part = next(part for part in manifest.parts if part.table == "job_telemetry")
    good = (out / part.file).read_bytes()
    text = gzip.decompress(good).decode()
    (out / part.file).write_bytes(gzip.compress(text.replace("running", "stalled", 1).encode()))
    with pytest.raises(ConfigError, match="the file was changed"):
        import_all(database, config, out, quiet)
    (out / part.file).write_bytes(good)
    import_all(database, config, out, quiet)
    names = (*TABLES, *RAW_SERIES)
    with database.connect(autocommit=True) as other:
        here, there = contents(conn), contents(other)
        assert {name: there[name] for name in names} == {name: here[name] for name in names}
    with pytest.raises(ConfigError, match="has jobs or nodes already"):
        import_all(database, config, out, quiet)


def test_an_export_of_one_job_is_for_analysts(
    source: Database, target: tuple[Database, Config], tmp_path: Path
) -> None:
    database, config = target
    manifest = export(source, tmp_path / "a", Filters(job_id="a"), quiet)
    assert manifest.filters == {"job_id": "a"}
    rows = {part.table: part.rows for part in manifest.parts if part.rows}
    assert rows["jobs"] == 1
    assert sum(part.rows for part in manifest.parts if part.table == "job_telemetry") == 2
    since = export(source, tmp_path / "b", Filters(since=NOW - 2.5 * HOUR), quiet)
    assert sum(part.rows for part in since.parts if part.table == "job_telemetry") == 3
    assert not {part.table for part in since.parts} & set(PRIVATE)
    with pytest.raises(ConfigError, match="limited by --since or --job"):
        import_all(database, config, tmp_path / "a", quiet)


def test_another_version_is_refused(
    source: Database, target: tuple[Database, Config], tmp_path: Path
) -> None:
    database, config = target
    out = tmp_path / "out"
    export(source, out, Filters(), quiet)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "schema": "0099_new.sql"}))
    with pytest.raises(ConfigError, match="bring both hubs to the same version"):
        import_all(database, config, out, quiet)
    (out / "manifest.json").write_text(json.dumps({**manifest, "format": 9}))
    with pytest.raises(ConfigError, match="format 9"):
        import_all(database, config, out, quiet)


def test_each_table_is_transferred_or_left_out_on_purpose(conn: Connection) -> None:
    rows = conn.execute(
        """SELECT relname FROM pg_class
           WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"""
    )
    assert {name for (name,) in rows} == {*TABLES, *LEFT_OUT, *RAW_SERIES}
