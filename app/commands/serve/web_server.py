"""The web server of a hub: its settings, its open files, its workers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings

from app.config import METRICS_VARIABLE, PARENT_VARIABLE, ROOT, Config

logger = logging.getLogger("hub.serve")

STOP_SECONDS = 15
# Open connections, most of them idle senders between two pushes; how much memory they may take is
# limited by the server and the queue.
CONNECTIONS = 20_000
OTHER_FILES = 1_000  # the database's connections, libraries, logs
# The server counts the wait for a connection's next request as reading its head. Nodes push every
# 60 s, and a connection that is closed just when it is used again causes its sender an error.
KEEP_ALIVE_SECONDS = 75
LARGEST_HEAD = 64 * 1024  # bytes; the most that the server buffers of a connection
RESPAWN_SECONDS = 0.2
# The web server's own log, in the hub's format.
_SERVER_LOGGING = {
    "formatters": {"json": {"()": "app.logs.JsonFormatter"}},
    "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {"_granian": {"handlers": ["json"], "propagate": False}},
}


def run_web_server(config: Config, address: str) -> None:
    """Serve HTTP on `address` until SIGTERM or SIGINT. A worker that ends is started again."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.environ["HUB_DATA_DIR"] = str(config.data_dir)  # absolute: the workers run in ROOT
    if config.token_key_file is not None:
        os.environ["HUB_TOKEN_KEY_FILE"] = str(config.token_key_file)
    os.environ.pop("HUB_OWNER_URL", None)  # for the tasks only, which have a copy
    with _metrics_folder(config.workers):
        _serve(config, address)


@contextmanager
def _metrics_folder(workers: int) -> Iterator[None]:
    """Several workers count in files that each of them can read; for one this costs too much."""
    os.environ.pop(METRICS_VARIABLE, None)
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="hub-metrics-") as folder:
        os.environ[METRICS_VARIABLE] = folder
        yield


def _serve(config: Config, address: str) -> None:
    connections = _raise_file_limit()
    # A forked worker would inherit the engine's pipe, and locks held by other threads.
    multiprocessing.set_start_method("spawn", force=True)
    while True:
        server = Granian(
            "app.server.asgi:make_server",
            factory=True,
            address=address,
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
        with suppress(SystemExit):  # raised if a worker ended before
            server.serve()
        if server.interrupt_signal:
            return
        logger.error("the web workers ended repeatedly; starting them again")
        time.sleep(RESPAWN_SECONDS)


def _raise_file_limit() -> int:
    """Allow more open files than the usual 1,024; return how many connections a worker may hold.

    Without a free file for the next connection the server would loop.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(1, min(CONNECTIONS, soft - min(OTHER_FILES, soft // 2)))
