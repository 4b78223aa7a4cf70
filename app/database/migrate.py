"""Brings the schema up to date: numbered SQL files, each applied once, in order, forward only.

`migrations/0001_*.sql` … are each committed together with their row in schema_migrations. A file
that starts with `-- transaction: off` holds one statement that TimescaleDB refuses inside a
transaction; it must be repeatable. An applied file is changed only if a new version of TimescaleDB
refuses it: the result must be the same, and a line `-- replaces: <checksum>` names its earlier
text. `migrations/repeatable/*.sql` (views, functions, comments, grants) are applied again whenever
their text changes.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg

from app.config import ROOT
from app.database.pool import Connection
from app.errors import MigrationError, first_line

MIGRATIONS_DIR = ROOT / "migrations"
# Of those with which the whole test suite was run (docs/decisions/0028).
OLDEST_TIMESCALEDB = (2, 23)
NEWEST_TIMESCALEDB = (2, 29)
_LOCK_KEY = 7_305_118_042  # any number, the same in every hub: one migration at a time
# While a migration waits for a table, all later users of it wait too: the pushes of other hubs.
LOCK_WAIT_SECONDS = 5
LOCK_TRIES = 3  # another hub may be compressing; between two tries the others get their turn
LOCK_REST_SECONDS = 1
_REPLACES = re.compile(r"^-- replaces: ([0-9a-f]{64})$", re.MULTILINE)
_FILE_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")

_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_RECORD = """
INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = now()
"""


@dataclass(frozen=True)
class Migration:
    """One SQL file: its name in schema_migrations, its text, and how it is run."""

    name: str
    sql: str
    is_repeatable: bool

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def is_applied_as(self, checksum: str | None) -> bool:
        """Whether this text, or one that it replaces, is what a ledger's checksum stands for."""
        accepted = {self.checksum}
        if not self.is_repeatable:
            accepted.update(_REPLACES.findall(self.sql))
        return checksum in accepted

    @property
    def refuses_transaction(self) -> bool:
        return self.sql.startswith("-- transaction: off")


def read_migrations(directory: Path = MIGRATIONS_DIR) -> list[Migration]:
    """Every file of `directory` in the order to apply: numbered ones, then repeatable ones.

    Raises MigrationError for a name that is not NNNN_words.sql or a number used twice.
    """
    numbered = sorted(directory.glob("*.sql"))
    for file in numbered:
        if not _FILE_NAME.fullmatch(file.name):
            raise MigrationError(f"{file.name}: a migration is named like 0001_what_it_does.sql.")
    for file, following in pairwise(numbered):
        if following.name[:4] == file.name[:4]:
            raise MigrationError(f"{file.name} and {following.name} have the same number.")
    repeatable = sorted((directory / "repeatable").glob("*.sql"))
    return [
        *(Migration(file.name, file.read_text(), is_repeatable=False) for file in numbered),
        *(
            Migration(f"repeatable/{file.name}", file.read_text(), is_repeatable=True)
            for file in repeatable
        ),
    ]


def migrate(conn: Connection, directory: Path = MIGRATIONS_DIR) -> list[str]:
    """Apply what is missing; return the names of the files applied, none if all was up to date.

    `conn` must be in autocommit. Raises MigrationError if TimescaleDB is missing, too old or
    without its community features, if a file was edited after it was applied, if a file failed,
    or if it could not lock a table LOCK_TRIES times.
    Safe to run from several processes at once, and again after any failure.
    """
    migrations = read_migrations(directory)
    conn.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
    try:
        require_timescaledb(conn)
        conn.execute(_CREATE_LEDGER)
        applied = _ledger(conn)
        _refuse_edited(migrations, applied)
        missing = [m for m in migrations if not m.is_applied_as(applied.get(m.name))]
        conn.execute(f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'")
        for migration in missing:
            _apply(conn, migration)
        return [migration.name for migration in missing]
    finally:
        if not conn.closed:
            conn.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])
            conn.execute("RESET lock_timeout")


def pending(conn: Connection, directory: Path = MIGRATIONS_DIR) -> list[str]:
    """The names of the files that `migrate` would apply. Writes nothing."""
    exists = conn.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
    applied = _ledger(conn) if exists and exists[0] else {}
    return [m.name for m in read_migrations(directory) if not m.is_applied_as(applied.get(m.name))]


def require_timescaledb(conn: Connection) -> None:
    """Raise MigrationError unless the server has TimescaleDB, new enough, with all its features."""
    row = conn.execute(
        "SELECT installed_version FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).fetchone()
    if row is not None and row[0] is None:
        _create_extension(conn)
    version, licence = (None, "") if row is None else _version_and_licence(conn)
    if complaint := server_complaint(version, licence):
        raise MigrationError(complaint)


def server_complaint(version: str | None, licence: str) -> str | None:
    """What the server lacks, as a sentence; None if it has what the hub needs.

    `version`: TimescaleDB's, None if it is not available; `licence`: timescaledb.license.
    """
    if version is None:
        return (
            "This PostgreSQL server has no TimescaleDB extension: install it, or unset "
            "DATABASE_URL to use the embedded one."
        )
    if version_tuple(version) < OLDEST_TIMESCALEDB:
        oldest = ".".join(map(str, OLDEST_TIMESCALEDB))
        return (
            f"TimescaleDB {version} is too old: the hub needs {oldest} or newer "
            "(ALTER EXTENSION timescaledb UPDATE)."
        )
    if licence != "timescale":
        return (
            f"TimescaleDB runs with timescaledb.license = '{licence}', which has no continuous "
            "aggregates and no compression: install the community edition and set "
            "timescaledb.license = 'timescale'."
        )
    return None


def version_tuple(version: str) -> tuple[int, ...]:
    """`2.23.0-dev` as (2, 23, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("-")[0]))


def _create_extension(conn: Connection) -> None:
    try:
        conn.execute("CREATE EXTENSION timescaledb")
    except psycopg.Error as exc:
        raise MigrationError(
            "TimescaleDB is installed but could not be created in this database "
            f"({first_line(exc)}): add it to shared_preload_libraries and run "
            "CREATE EXTENSION timescaledb as a superuser."
        ) from exc


def _version_and_licence(conn: Connection) -> tuple[str, str]:
    row = conn.execute(
        "SELECT extversion, coalesce(current_setting('timescaledb.license', true), '') "
        "FROM pg_extension WHERE extname = 'timescaledb'"
    ).fetchone()
    if row is None:  # dropped between the two statements
        raise MigrationError(
            "TimescaleDB's extension was dropped during the migration: run it again."
        )
    return row[0], row[1]


def _ledger(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("SELECT name, checksum FROM schema_migrations").fetchall())


def _refuse_edited(migrations: list[Migration], applied: dict[str, str]) -> None:
    known = {migration.name for migration in migrations}
    for migration in migrations:
        stored = applied.get(migration.name)
        if stored is None or migration.is_repeatable:
            continue
        if not migration.is_applied_as(stored):
            raise MigrationError(
                f"migrations/{migration.name} was edited after it was applied: restore it and "
                "write the change as a new file."
            )
    missing = sorted(n for n in applied if n not in known and not n.startswith("repeatable/"))
    if missing:
        raise MigrationError(
            f"A newer version of the hub has migrated this database: {missing[0]} is not part of "
            "this version. Install the newer one."
        )


def _apply(conn: Connection, migration: Migration) -> None:
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            return _run(conn, migration)
        except psycopg.errors.LockNotAvailable as exc:
            if not tries_left:
                raise MigrationError(
                    f"migrations/{migration.name} waits for a table that an open transaction or "
                    "a hub's task is using (pg_stat_activity lists them): try again when those "
                    "have ended."
                ) from exc
            time.sleep(LOCK_REST_SECONDS)
        except psycopg.Error as exc:
            raise MigrationError(f"migrations/{migration.name} failed: {first_line(exc)}") from exc


def _run(conn: Connection, migration: Migration) -> None:
    if migration.refuses_transaction:
        conn.execute(migration.sql.encode())
        conn.execute(_RECORD, [migration.name, migration.checksum])
        return
    with conn.transaction():
        conn.execute(migration.sql.encode())
        conn.execute(_RECORD, [migration.name, migration.checksum])
