"""`python -m app serve`: starts, watches and stops everything a hub consists of.

One process tree: this supervisor, the embedded database (unless DATABASE_URL is set), the scheduled
tasks (`python -m jobs`) and the web workers. Whatever dies is started again; when the supervisor
dies, all of it ends (`app.lifeline`, and the engine's standard input).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings

from app.auth.keys import read_keys
from app.checks.rights import describe_rights
from app.config import ROOT, Config
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Database
from app.errors import EngineError, StartError
from app.lifeline import PARENT_VARIABLE

logger = logging.getLogger("hub.serve")

WATCH_SECONDS = 1.0
# A busy engine answers nobody else. What takes longest is compressing a chunk, at 650,000 rows a
# second: 100 s for 6 hours of 3,000 updates a second, all that the engine can take in. One that has
# died, or runs a statement for ever, ends by itself.
ENGINE_SILENCE_SECONDS = 120.0
ENGINE_ANSWER_SECONDS = 2.0
LASTING_SECONDS = 30.0  # a process that ran so long did not fail at its start
PORT_WAIT_SECONDS = 3.0  # the workers of a hub that was just killed need a moment to end
STOP_SECONDS = 15
# Open connections, most of them idle senders between two pushes; what they may hold is bounded by
# the gate and the queue.
CONNECTIONS = 20_000
OTHER_FILES = 1_000  # the database's connections, libraries, logs
# The server counts the wait for a connection's next request as reading its head. Nodes push every
# 60 s, and a connection that is closed just as it is used again costs its sender an error.
KEEP_ALIVE_SECONDS = 75
LARGEST_HEAD = 64 * 1024  # bytes; the server keeps so much of each connection at most
RESPAWN_SECONDS = 0.2
# The web server's own log, in the hub's form.
_SERVER_LOGGING = {
    "formatters": {"json": {"()": "app.logs.JsonFormatter"}},
    "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {"_granian": {"handlers": ["json"], "propagate": False}},
}


def serve(config: Config) -> None:
    """Run the hub until it is told to stop (SIGTERM, SIGINT).

    Raises StartError with a sentence when it cannot start.
    """
    _require_safe_address(config)
    _require_certificate(config)
    _wait_for_free_port(config.host, config.port)
    engine = EmbeddedEngine(config.data_dir, config.embedded_port) if config.is_embedded else None
    watcher = _Watcher()
    try:
        if engine is not None:
            engine.start()
            watcher.watch(_EngineCheck(engine))
        _migrate(config)
        for sentence in describe_rights(config):
            logger.warning("%s", sentence)
        watcher.watch(_Child([sys.executable, "-m", "jobs"], config))
        watcher.start()
        _announce(config, engine)
        _run_web(config)
    finally:
        watcher.stop()
        if engine is not None:
            engine.stop()
        logger.info("stopped")


def _require_safe_address(config: Config) -> None:
    if config.token_key_file is not None:
        read_keys(config.token_key_file)  # else it would be the workers that die of it
    elif not config.is_loopback:
        raise StartError(
            f"HUB_HOST is {config.host}, where others can reach the hub, and without a key for "
            "tokens it serves this machine only: name the file of one in HUB_TOKEN_KEY_FILE "
            "(`python -m app token key FILE` makes it), or use 127.0.0.1."
        )


def _require_certificate(config: Config) -> None:
    """Raise StartError for a certificate or key that cannot be used; else the workers die of it."""
    if config.tls_cert is None or config.tls_key is None:
        return
    for variable, path in (("HUB_TLS_CERT", config.tls_cert), ("HUB_TLS_KEY", config.tls_key)):
        try:
            path.read_bytes()
        except OSError as exc:
            raise StartError(f"{variable}: {path} cannot be read ({exc.strerror}).") from exc
    try:
        # An empty password: without one it would ask for it at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            config.tls_cert, config.tls_key, password=""
        )
    except (ssl.SSLError, ValueError) as exc:
        raise StartError(
            f"HUB_TLS_CERT ({config.tls_cert}) and HUB_TLS_KEY ({config.tls_key}) are no "
            "certificate and its key as PEM without a password."
        ) from exc


def _wait_for_free_port(host: str, port: int) -> None:
    """Raise StartError when somebody listens there.

    The web server shares its port with whoever has it already (SO_REUSEPORT), and each would get
    some of the requests.
    """
    deadline = time.monotonic() + PORT_WAIT_SECONDS
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    while True:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                return
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"Port {port} on {host} is taken by another program: stop it, or set "
                        f"HUB_PORT to a free one ({exc.strerror})."
                    ) from exc
        time.sleep(0.1)


def _migrate(config: Config) -> None:
    with Database.of_owner(config).connect(autocommit=True) as conn:
        for name in migrate(conn):
            logger.info("applied migrations/%s", name)


def _announce(config: Config, engine: EmbeddedEngine | None) -> None:
    """Tell the person at the terminal where everything is."""
    scheme = "http" if config.tls_cert is None else "https"
    url = f"{scheme}://{config.host}:{config.port}"
    print(f"\nTelemetry Hub is at {url}", flush=True)
    print(f"  API documentation  {url}/api/v1/docs")
    print(f"  Simulated senders  {_this_python()} -m app demo --url {url}")
    if engine is not None:
        print(f'  Read-only SQL      psql "{engine.analyst_dsn}"')
    print(flush=True)


def _this_python() -> str:
    """The interpreter as one would type it here."""
    relative = os.path.relpath(sys.executable)
    return sys.executable if relative.startswith("..") else relative


def _run_web(config: Config) -> None:
    """Serve HTTP until told to stop. A worker that dies is started again, time after time."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.environ["HUB_DATA_DIR"] = str(config.data_dir)  # absolute; the workers start elsewhere
    if config.token_key_file is not None:
        os.environ["HUB_TOKEN_KEY_FILE"] = str(config.token_key_file)
    os.environ.pop("HUB_OWNER_URL", None)  # not theirs; the tasks have been given it
    connections = _raise_file_limit()
    # A forked worker would inherit the engine's pipe, and locks that other threads hold.
    multiprocessing.set_start_method("spawn", force=True)
    while True:
        server = Granian(
            "app.server.asgi:make_server",
            factory=True,
            address=config.host,
            port=config.port,
            interface=Interfaces.ASGI,
            loop=Loops.uvloop,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=KEEP_ALIVE_SECONDS * 1000, max_buffer_size=LARGEST_HEAD
            ),
            ssl_cert=config.tls_cert,
            ssl_key=config.tls_key,
            ssl_protocol_min=SSLProtocols.tls12,
            websockets=False,
            workers=config.workers,
            backpressure=connections,
            respawn_failed_workers=True,
            respawn_interval=RESPAWN_SECONDS,
            workers_kill_timeout=STOP_SECONDS,
            working_dir=ROOT,
            log_dictconfig=_SERVER_LOGGING,
        )
        with suppress(SystemExit):  # how it says that a worker had died before
            server.serve()
        if server.interrupt_signal:
            return
        logger.error("the web workers died again and again; starting them anew")
        time.sleep(RESPAWN_SECONDS)


def _raise_file_limit() -> int:
    """Each connection is an open file, and many systems start a process with 1,024.

    How many connections a worker may hold: without a file for the next one the server would spin.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(1, min(CONNECTIONS, soft - min(OTHER_FILES, soft // 2)))


class _Child:
    """A process of ours that is started again when it ends; ever later when it cannot last."""

    def __init__(self, command: list[str], config: Config) -> None:
        self._command = command
        self._env = {
            **os.environ,  # as it is now: later the web workers' is less
            PARENT_VARIABLE: str(os.getpid()),
            # Absolute in there; this process may have been started elsewhere.
            "HUB_DATA_DIR": str(config.data_dir),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = WATCH_SECONDS

    def check(self) -> None:
        """Start it unless it runs."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                if now - self._started > LASTING_SECONDS:
                    self._pause = WATCH_SECONDS
                return
            if now - self._started < self._pause:
                return
            logger.error("%s ended with %s", self._command[-1], self._process.returncode)
            self._pause = min(2 * self._pause, LASTING_SECONDS)
        self._started = now
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._env)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _EngineCheck:
    """Starts the embedded database again when it has died or answers no query."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._last_answer = time.monotonic()
        self._is_failing = False

    def check(self) -> None:
        if not self._engine.is_alive():
            # A try on a full disk would still be failing when there is room.
            if not self._is_failing or self._engine.has_room():
                self._restart("died")
        elif self._engine.answers(ENGINE_ANSWER_SECONDS):
            self._last_answer = time.monotonic()
            with suppress(OSError):  # it has been said that the disk is full
                self._engine.announce()
        elif time.monotonic() - self._last_answer > ENGINE_SILENCE_SECONDS:
            self._restart(f"has not answered for {ENGINE_SILENCE_SECONDS:.0f} s")

    def stop(self) -> None:
        """The engine is stopped last, by `serve`: the web workers drain into it."""

    def _restart(self, why: str) -> None:
        if not self._is_failing:
            logger.error("the embedded database %s; starting it again", why)
        try:
            self._engine.restart()
        except EngineError as exc:
            if not self._is_failing:  # once, and not with every try
                logger.error("%s; trying until it starts", exc)
            self._is_failing = True
        else:
            self._is_failing = False
            self._last_answer = time.monotonic()


class _Watcher:
    """Checks on everything once a second, each in a thread of its own: one may hang."""

    def __init__(self) -> None:
        self._watched: list[_Child | _EngineCheck] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def watch(self, watched: _Child | _EngineCheck) -> None:
        self._watched.append(watched)

    def start(self) -> None:
        for watched in self._watched:
            thread = threading.Thread(target=self._run, args=(watched.check,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=2 * ENGINE_ANSWER_SECONDS)
        for watched in self._watched:
            watched.stop()

    def _run(self, check: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                check()
            except Exception:  # the next second may go better
                logger.exception("a check failed")
            self._stopping.wait(WATCH_SECONDS)
