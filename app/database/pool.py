"""The database: connections, transactions, and the translation of psycopg's errors into ours.

No Flask and no SQL of the application here.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from app.config import Config
from app.errors import ConfigError, DatabaseUnavailable, Unavailable

Connection = psycopg.Connection[TupleRow]

READ_TIMEOUT_SECONDS = 30  # a chart that takes longer is of no use to whoever waits for it
CONNECT_TIMEOUT_SECONDS = 5
# A server that has vanished without a word. By default a connection to it hangs for a quarter of an
# hour where something was sent, and for two hours where an answer is waited for.
NETWORK_OPTIONS = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
POOL_SIZE = 4  # few, kept open: a fresh session's first chart costs up to 57 ms
POOL_WAIT_SECONDS = 5.0
MOST_WAITING_READS = 64
MOST_READS = POOL_SIZE + MOST_WAITING_READS
RECONNECT_SECONDS = 2.0  # then the next request tries anew; backing off further only adds waiting


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn 'the database is away or busy' into DatabaseUnavailable; let everything else pass."""
    try:
        yield
    except psycopg.errors.QueryCanceled as exc:
        raise Unavailable("The database took too long to answer; ask for less.") from exc
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.ReadOnlySqlTransaction,  # a standby, or one that was told to be
    ) as exc:
        raise DatabaseUnavailable from exc
    except (PoolTimeout, TooManyRequests) as exc:
        raise DatabaseUnavailable("No database connection became free in time.") from exc


def _check_if_it_stirs(conn: Connection) -> None:
    """Notice a connection that a restarted database has cut before it is handed out.

    Its end waits to be read, where an idle connection has nothing to read. Asking the database each
    time would cost every read a round trip. Raises psycopg.OperationalError.
    """
    stirs = select.poll()
    stirs.register(conn.fileno(), select.POLLIN)
    if stirs.poll(0):
        ConnectionPool.check_connection(conn)


class Database:
    """A bounded pool of connections. Thread-safe. Open it after a fork, close it on exit."""

    def __init__(self, dsn: str, *, is_embedded: bool, variable: str = "DATABASE_URL") -> None:
        """`variable`: the setting that `dsn` is from. Raises ConfigError naming it."""
        try:
            conninfo_to_dict(dsn)
        except psycopg.ProgrammingError as exc:
            raise ConfigError(
                f"{variable} is no address of a database: {str(exc).strip()}"
            ) from exc
        self._dsn = dsn
        # The embedded engine is one session: statement names would be shared by all connections,
        # and it knows no statement_timeout. On a server both are wanted.
        self.is_embedded = is_embedded
        self._options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
        if is_embedded:
            self._options["prepare_threshold"] = None
        else:
            # After the address's own, which may have them as well.
            known = {**NETWORK_OPTIONS, **conninfo_to_dict(dsn)}
            self._options |= {name: known[name] for name in NETWORK_OPTIONS}
            self._options["options"] = "-c timezone=UTC"
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            kwargs={**self._options, "autocommit": True},
            min_size=1,
            max_size=POOL_SIZE,
            max_waiting=MOST_WAITING_READS,
            timeout=POOL_WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=self._limit_reads,
            check=_check_if_it_stirs,
            open=False,
            name="hub",
        )

    @classmethod
    def from_config(cls, config: Config) -> Database:
        """The database that `config` names, as the hub's own user. Not opened yet."""
        return cls(config.dsn(), is_embedded=config.is_embedded)

    @classmethod
    def of_owner(cls, config: Config) -> Database:
        """The same as the user who may change the schema, refresh, compress and drop."""
        variable = "DATABASE_URL" if config.owner_url is None else "HUB_OWNER_URL"
        return cls(config.owner_dsn(), is_embedded=config.is_embedded, variable=variable)

    def open(self) -> None:
        """Start the pool; does not wait for the database (it may come later)."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close every pooled connection. Idempotent."""
        self._pool.close(timeout=2)

    def renew(self) -> None:
        """Replace every pooled connection, those in use when they come back.

        What was connected while the database was to be read only stays so; and what hung while it
        was away may hang on.
        """
        self._pool.drain()

    def connect(self, *, autocommit: bool = False) -> Connection:
        """A connection of the caller's own, outside the pool: for the writer and migrations.

        Raises DatabaseUnavailable.
        """
        with translated_errors():
            return psycopg.connect(self._dsn, autocommit=autocommit, **self._options)

    @contextmanager
    def reading(self, wait_seconds: float = POOL_WAIT_SECONDS) -> Iterator[Connection]:
        """A pooled connection in autocommit, so that no read holds a transaction open.

        Raises DatabaseUnavailable.
        """
        with translated_errors(), self._pool.connection(wait_seconds) as conn:
            yield conn

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A pooled connection inside a transaction: committed at the end, rolled back on an error.

        Raises DatabaseUnavailable. On the embedded engine nothing else runs until it ends, so
        never ask for a second connection inside.
        """
        with translated_errors(), self._pool.connection() as conn:
            try:
                with conn.transaction():
                    yield conn
            except psycopg.errors.ReadOnlySqlTransaction:
                self.renew()
                raise

    def _limit_reads(self, conn: Connection) -> None:
        if not self.is_embedded:
            conn.execute(f"SET statement_timeout = '{READ_TIMEOUT_SECONDS}s'")
