"""`python -m app serve`: starts, watches and stops the processes of a hub.

One process tree: this supervisor, the embedded database (unless DATABASE_URL is set), the scheduled
tasks (`python -m jobs`) and the web workers. A process that ends is started again; when the
supervisor ends, all others do (`app.lifeline`, and the engine's standard input).
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path

from app.background import RepeatingThread
from app.checks.rights import describe_rights
from app.commands.serve.children import ENGINE_ANSWER_SECONDS, ChildProcess, EngineCheck
from app.commands.serve.preconditions import check_start
from app.commands.serve.web_server import run_web_server
from app.config import Config
from app.database.addresses import ANALYST_FILE
from app.database.engine import EmbeddedEngine
from app.database.migrate import migrate
from app.database.pool import Database

logger = logging.getLogger("hub.serve")

WATCH_SECONDS = 1.0


def serve(config: Config) -> None:
    """Run the hub until SIGTERM or SIGINT. Raises StartError if it cannot start."""
    address = check_start(config)
    engine = EmbeddedEngine(config.data_dir, config.embedded_port) if config.is_embedded else None
    tasks = ChildProcess([sys.executable, "-m", "jobs"], config)
    # A thread each: a check may hang.
    watches = [RepeatingThread("watch-tasks", tasks.check, WATCH_SECONDS)]
    try:
        if engine is not None:
            engine.start()
            check = EngineCheck(engine).check
            watches.append(RepeatingThread("watch-engine", check, WATCH_SECONDS))
        _migrate(config)
        for sentence in describe_rights(config):
            logger.warning("%s", sentence)
        for watch in watches:
            watch.start()
        _announce(config, engine)
        run_web_server(config, address)
    finally:
        for watch in watches:
            watch.stop(2 * ENGINE_ANSWER_SECONDS)
        tasks.stop()
        if engine is not None:  # last: the web workers store what they have accepted
            engine.stop()
        logger.info("stopped")


def _migrate(config: Config) -> None:
    with Database.of_owner(config).connect(autocommit=True) as conn:
        for name in migrate(conn):
            logger.info("applied migrations/%s", name)


def _announce(config: Config, engine: EmbeddedEngine | None) -> None:
    """Print the addresses of the hub and its database."""
    print(f"\nTelemetry Hub is at {config.url}", flush=True)
    print(f"  API documentation  {config.url}/api/v1/docs")
    print(f"  Simulated senders  {_shorter(sys.executable)} -m app demo --url {config.url}")
    if engine is not None:
        password = shlex.quote(_shorter(config.data_dir / ANALYST_FILE))  # itself it is in no log
        print(
            f"  Read-only SQL      PGPASSWORD=$(cat {password}) "
            f"psql -h 127.0.0.1 -p {engine.port} -U analyst postgres"
        )
    print(flush=True)


def _shorter(path: str | Path) -> str:
    """The path, relative to the current directory where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
