"""The database: connections, transactions, and the translation of psycopg's errors into ours."""

from __future__ import annotations

import logging
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from app.config import Config
from app.database.addresses import check_dsn, hub_dsn, owner_dsn
from app.errors import (
    DatabaseDamaged,
    DatabaseUnavailable,
    Unavailable,
    first_line,
)

set_json_loads(orjson.loads)  # three times as fast as the standard library's

Connection = psycopg.Connection[TupleRow]
DatabaseError = psycopg.Error  # what a statement raises
LockNotAvailable = psycopg.errors.LockNotAvailable
ForeignKeyViolation = psycopg.errors.ForeignKeyViolation
SerializationFailure = psycopg.errors.SerializationFailure
DeadlockDetected = psycopg.errors.DeadlockDetected
# A wrecked page of a table or an index; what does not need it still works.
DAMAGES = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted)

logger = logging.getLogger("hub.database")

READ_TIMEOUT_SECONDS = 30  # a chart that takes longer is of no use
CONNECT_TIMEOUT_SECONDS = 5
# For a server that has vanished without closing its connections. By default a connection to it
# hangs for 15 minutes while sending, and for two hours while waiting for an answer.
NETWORK_OPTIONS = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
PREPARE_AFTER = 5  # executions, as psycopg's default
POOL_SIZE = 4  # few, and kept open: the first chart of a new session takes up to 57 ms longer
POOL_WAIT_SECONDS = 5.0
MOST_WAITING_READS = 64
MOST_READS = POOL_SIZE + MOST_WAITING_READS
RECONNECT_SECONDS = 2.0  # then the next request tries again; a longer back-off only adds waiting


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise DatabaseUnavailable or Unavailable for a database that is away, damaged or busy."""
    try:
        yield
    except DAMAGES as exc:
        logger.error("the database is damaged: %s", first_line(exc))
        raise DatabaseDamaged from exc
    except psycopg.errors.QueryCanceled as exc:
        raise Unavailable("The database took too long to answer: request less data.") from exc
    except psycopg.errors.ProgramLimitExceeded:
        raise  # the statement asks too much, as with a key too long for an index
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.ReadOnlySqlTransaction,  # a standby, or a server set to read-only
    ) as exc:
        raise DatabaseUnavailable from exc
    except (PoolTimeout, TooManyRequests) as exc:
        raise DatabaseUnavailable("No database connection became free in time; try again.") from exc


def _check_if_readable(conn: Connection) -> None:
    """Check a connection before it is used, if there is something to read from it.

    An idle connection has nothing to read; one that a restarted database has closed has its end.
    A query each time would cost every read a round trip. Raises psycopg.OperationalError.
    """
    poller = select.poll()
    poller.register(conn.fileno(), select.POLLIN)
    if poller.poll(0):
        ConnectionPool.check_connection(conn)


class Database:
    """A bounded pool of connections. Thread-safe. Open it after a fork, close it on exit."""

    def __init__(self, dsn: str, *, is_embedded: bool, variable: str = "DATABASE_URL") -> None:
        """`variable`: the setting that holds `dsn`. Raises ConfigError naming it."""
        check_dsn(dsn, variable)
        self._dsn = dsn
        # The embedded engine is one session, so a generic plan is made for all chunks that exist,
        # and reads that differ would fill its memory with plans. It has no statement_timeout
        # either. A server gets both.
        self.is_embedded = is_embedded
        self._options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
        if is_embedded:
            self._options["prepare_threshold"] = None
        else:
            # The address's own options come first.
            known = {**NETWORK_OPTIONS, **conninfo_to_dict(dsn)}
            self._options |= {name: known[name] for name in NETWORK_OPTIONS}
            # The planner overestimates what a chart reads, and compiling takes longer than that.
            self._options["options"] = "-c timezone=UTC -c jit=off"
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            kwargs={**self._options, "autocommit": True},
            min_size=1,
            max_size=POOL_SIZE,
            max_waiting=MOST_WAITING_READS,
            timeout=POOL_WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=self._limit_reads,
            check=_check_if_readable,
            open=False,
            name="hub",
        )

    @classmethod
    def from_config(cls, config: Config) -> Database:
        """The database of `config`, as the hub's own user. Not opened yet."""
        return cls(hub_dsn(config), is_embedded=config.is_embedded)

    @classmethod
    def of_owner(cls, config: Config) -> Database:
        """The same, as the user who may change the schema, refresh, compress and drop."""
        variable = "DATABASE_URL" if config.owner_url is None else "HUB_OWNER_URL"
        return cls(owner_dsn(config), is_embedded=config.is_embedded, variable=variable)

    @classmethod
    def of_standby(cls, config: Config) -> Database | None:
        """The standby that requests read from, as the hub's own user; None if there is none."""
        if config.read_url is None:
            return None
        return cls(config.read_url, is_embedded=False, variable="HUB_READ_URL")

    def open(self) -> None:
        """Start the pool, without waiting for the database."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close every pooled connection. Idempotent."""
        self._pool.close(timeout=2)

    def renew(self) -> None:
        """Replace every pooled connection; those in use, when they are returned.

        A connection opened while the database was read-only stays read-only, and one that hung
        while the database was away may hang for longer.
        """
        self._pool.drain()

    def connect(self, *, autocommit: bool = False, by_key: bool = False) -> Connection:
        """A connection outside the pool, only for the caller. Raises DatabaseUnavailable.

        `by_key`: it repeats few statements, which look up rows by their keys. They are prepared on
        the embedded engine too. A server's planner would read whole tables before their first
        ANALYZE; this keeps it from that.
        """
        options = dict(self._options)
        if by_key and self.is_embedded:
            options["prepare_threshold"] = PREPARE_AFTER
        elif by_key:
            options["options"] += " -c enable_seqscan=off"
        try:
            with translated_errors():
                return psycopg.connect(self._dsn, autocommit=autocommit, **options)
        except DatabaseUnavailable as exc:
            exc.reason = self._describe(exc.__cause__)
            raise

    @contextmanager
    def reading(self, wait_seconds: float = POOL_WAIT_SECONDS) -> Iterator[Connection]:
        """A pooled connection in autocommit, without a transaction. Raises DatabaseUnavailable."""
        with translated_errors(), self._pool.connection(wait_seconds) as conn:
            yield conn

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A pooled connection in a transaction: committed at the end, rolled back on an error.

        Raises DatabaseUnavailable. On the embedded engine nothing else runs until it ends, so do
        not use a second connection inside.
        """
        with translated_errors(), self._pool.connection() as conn:
            try:
                with conn.transaction():
                    yield conn
            except psycopg.errors.ReadOnlySqlTransaction:
                self.renew()
                raise

    def _describe(self, cause: BaseException | None) -> str:
        """Why no connection could be made: for the operator, without the password."""
        parts = conninfo_to_dict(self._dsn)
        host, port = parts.get("host", "localhost"), parts.get("port", "5432")
        said = first_line(cause) if cause is not None else "no reason is known"
        return (
            f"The database {parts.get('dbname', '')} at {host}:{port} cannot be used by "
            f"{parts.get('user', 'the default user')}: {said}."
        )

    def _limit_reads(self, conn: Connection) -> None:
        if not self.is_embedded:
            conn.execute(f"SET statement_timeout = '{READ_TIMEOUT_SECONDS}s'")
