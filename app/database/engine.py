"""Starts, stops and restarts the embedded TimescaleDB (embedded/) of one data directory."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from app.database.addresses import (
    keep_analyst_password,
    read_analyst_password,
    remove_addresses,
    write_addresses,
)
from app.database.engine_ping import EnginePing
from app.database.engine_process import EngineProcess
from app.database.lock import DATABASE_FOLDER, lock_directory
from app.database.lockout import LOCKOUT_SECONDS, WITHIN_SECONDS, AnalystLockout
from app.errors import EngineError

# A first start takes 3 s on a laptop; a slow disk or a long recovery may take ten times that.
START_TIMEOUT_SECONDS = 120.0
# The engine of a hub that was killed notices within 1.5 s and unlocks the directory.
LOCK_WAIT_SECONDS = 5.0
STOP_SECONDS = 10.0
# The engine's memory grows with the largest statement and never shrinks. A start takes 180 MiB.
MEMORY_MIB = 768
LITTLE_ROOM_BYTES = 2 << 20  # two WAL segments, without which the engine cannot start

logger = logging.getLogger("engine")


class EmbeddedEngine:
    """One database directory and the process that serves it.

    `start`, `stop` and `restart` may be called from any thread; they run one at a time. Port and
    passwords stay the same over restarts, so the addresses stay valid.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        durable: bool = True,
        lock_wait_seconds: float = LOCK_WAIT_SECONDS,
        memory_mib: int = MEMORY_MIB,
    ) -> None:
        """`port`: 0 for a free one. `durable=False` is for tests: it saves the sync at each commit.

        Commits then survive the end of the process, but not a power cut. With more memory than
        `memory_mib` the engine ends at a quiet moment, to be started again.
        """
        self._data_dir = data_dir
        self._port = port
        self._durable = durable
        self._lock_wait_seconds = lock_wait_seconds
        self._memory_mib = memory_mib
        self._hub_password = secrets.token_urlsafe(32)
        self._owner_password = secrets.token_urlsafe(32)
        self._analyst_password = ""
        self._lock_fd: int | None = None
        self._process: EngineProcess | None = None
        self._announced_pid: int | None = None
        self._ping = EnginePing()
        self._lockout = AnalystLockout()
        self._lifecycle = threading.RLock()

    def __enter__(self) -> EmbeddedEngine:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def dsn(self) -> str:
        """For the web workers, with the rights of telemetry_hub."""
        return self._dsn("hub", self._hub_password)

    @property
    def owner_dsn(self) -> str:
        """For migrations and tasks, with all rights."""
        return self._dsn("owner", self._owner_password)

    @property
    def analyst_dsn(self) -> str:
        """For people and their tools: read-only, in autocommit or short transactions."""
        return self._dsn("analyst", self._analyst_password)

    def _dsn(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start the engine, creating the database if there is none. Raises EngineError."""
        with self._lifecycle:
            if self.is_alive():
                return
            if self._lock_fd is None:
                self._lock_fd = lock_directory(self._data_dir, self._lock_wait_seconds)
            try:
                self._launch()
            except BaseException:
                self._unlock()
                raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Close the database and unlock the directory; kill the engine after `timeout` seconds."""
        with self._lifecycle:
            self._stop_process(timeout)
            if self._lock_fd is not None:
                remove_addresses(self._data_dir)
                self._announced_pid = None
            self._unlock()

    def restart(self, timeout: float = 3.0) -> None:
        """Stop the engine, in whatever state it is, and start it on the same port.

        Raises EngineError, also if the database's files are gone, instead of creating a new one.
        """
        with self._lifecycle:
            self._note_end()
            self._stop_process(timeout)
            self._refuse_to_replace(had_database=True)
            self.start()

    def _note_end(self) -> None:
        process = self._process
        if process is None or not process.was_ended_by("analyst") or not self._lockout.note_end():
            return
        logger.warning(
            "statements of analysts have ended the embedded database twice within %.0f minutes: "
            "analysts may not connect for %.0f minutes",
            WITHIN_SECONDS / 60,
            LOCKOUT_SECONDS / 60,
        )

    def announce(self) -> None:
        """Write the files with the addresses, unless that is done. Raises OSError (a full disk).

        Files that an earlier engine wrote stay readable, and their addresses are still right.
        """
        with self._lifecycle:
            if self._process is None or self._announced_pid == self._process.pid:
                return
            pid, dsns = self._process.pid, {"dsn": self.dsn, "analyst_dsn": self.analyst_dsn}
            write_addresses(
                self._data_dir, {"port": self._port, "pid": pid, **dsns}, self.owner_dsn
            )
            self._announced_pid = pid

    def is_alive(self) -> bool:
        """Whether the process runs. It ends by itself when the engine in it fails."""
        process = self._process
        return process is not None and process.is_alive()

    def has_room(self) -> bool:
        """Whether the disk has enough free space for a start."""
        try:
            return shutil.disk_usage(self._data_dir).free >= LITTLE_ROOM_BYTES
        except FileNotFoundError:  # the start will report it
            return True

    def answers(self, timeout_seconds: float) -> bool:
        """Whether a query for the hub's tables is answered in time.

        If not, the engine may be busy: it runs one query at a time.
        """
        return self._ping.ask(self.dsn, timeout_seconds)

    def _launch(self) -> None:
        try:
            kept = read_analyst_password(self._data_dir)
        except OSError as exc:
            raise EngineError(_describe(exc, self._data_dir)) from exc
        self._refuse_to_replace(had_database=kept is not None)
        with suppress(OSError):  # the start will report it
            (self._data_dir / DATABASE_FOLDER).chmod(0o700)  # an earlier hub let others read it
        self._analyst_password = kept or self._analyst_password or secrets.token_urlsafe(24)
        self._process = self._start_process()
        try:
            keep_analyst_password(self._data_dir, self._analyst_password)
            self.announce()
        except OSError as exc:
            if self._announced_pid is None:  # no other process could find the engine
                self._stop_process(STOP_SECONDS)
                raise EngineError(_describe(exc, self._data_dir)) from exc
            logger.error("%s", _describe(exc, self._data_dir))

    def _refuse_to_replace(self, *, had_database: bool) -> None:
        """Raise EngineError where a new database would hide that there was one."""
        folder = self._data_dir / DATABASE_FOLDER
        if (folder / "PG_VERSION").exists():
            return
        if folder.exists():
            raise EngineError(
                f"{folder} is not a database, or not a whole one: is it mounted? Restore a backup "
                "(docs/operations.md), or move it away for a new database."
            )
        if had_database:
            raise EngineError(
                f"The database in {self._data_dir} is gone: is it mounted? Restore a backup "
                "(docs/operations.md), or delete analyst.password there for a new database."
            )

    def _start_process(self) -> EngineProcess:
        passwords = {
            "HUB_PASSWORD": self._hub_password,
            "OWNER_PASSWORD": self._owner_password,
            "ANALYST_PASSWORD": self._analyst_password,
            "FSYNC": "on" if self._durable else "off",
        }
        folder = self._data_dir / DATABASE_FOLDER
        options = [
            f"--memory-mib={self._memory_mib}",
            f"--refuse-analysts={self._lockout.seconds_left():.0f}",
        ]
        process = EngineProcess(folder, self._port, passwords, self._lock_fd, options)
        try:
            ready = process.wait_until_ready(START_TIMEOUT_SECONDS)
        except BaseException as exc:
            process.stop(0)
            if isinstance(exc, EngineError) and not self.has_room():
                raise EngineError(f"The disk of {self._data_dir} is full.") from exc
            raise
        self._port = int(ready["port"])
        logger.info("%s on port %d", ready["version"], self._port)
        return process

    def _stop_process(self, timeout: float) -> None:
        self._ping.forget()
        if self._process is not None:
            self._process.stop(timeout)
            self._process = None

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def has_database(data_dir: Path) -> bool:
    """Whether a data directory has the files of a database."""
    return (data_dir / DATABASE_FOLDER / "PG_VERSION").exists()


def _describe(exc: OSError, data_dir: Path) -> str:
    return f"{exc.filename or data_dir} cannot be read or written ({exc.strerror})."
