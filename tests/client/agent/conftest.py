"""A real hub that can go away and come back on its port, and the agent as a process."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from app.database.pool import Database
from tools.hub_process import free_port, wait_until

INTERVAL_SECONDS = 0.2


class LocalHub:
    """The hub's application on a port of its own. `delay_seconds`: how late it answers pushes."""

    def __init__(self, app: Flask, owner: Database) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.delay_seconds = 0.0
        self.pushes = 0
        self.tokens: set[str] = set()
        self._app = app
        self._owner = owner
        self._server: BaseWSGIServer | None = None
        self._gone = threading.Event()

    def start(self) -> None:
        self._gone.clear()
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        serve = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        serve.start()

    def stop(self) -> None:
        self._gone.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._owner.reading() as conn:
            return conn.execute(query, values).fetchall()

    def snapshots(self, node_id: str = "node-1") -> list[str]:
        """The timestamps of what is stored of a node, as they were sent, oldest first."""
        rows = self.rows("SELECT time FROM node_telemetry WHERE node_id = %s ORDER BY 1", node_id)
        return [row[0].strftime("%Y-%m-%dT%H:%M:%S.%fZ") for row in rows]

    def get(self, path: str) -> Any:
        return self._app.test_client().get(path).json

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.pushes += environ["REQUEST_METHOD"] == "POST"
        self.tokens.add(environ.get("HTTP_AUTHORIZATION", ""))
        self._gone.wait(self.delay_seconds)
        return self._app(environ, start_response)


class Agent:
    """`telemetry-agent` as a process, with its queue and log in a folder."""

    def __init__(self, folder: Path, url: str, *extra: str, **env: str) -> None:
        self.queue = folder / "queue.db"
        self.spool = folder / "spool.db"
        self.port = free_port()
        self._log = folder / f"agent-{self.port}.log"
        self._command = [sys.executable, "-m", "telemetry_client.agent", "--node-id=node-1"]
        self._command += [f"--url={url}", f"--queue={self.queue}", f"--spool={self.spool}"]
        self._command += [f"--interval={INTERVAL_SECONDS}", f"--ws-port={self.port}"]
        self._command += ["--ws-host=127.0.0.1", *extra]
        self._env = {**clean_environment(), **env}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._env, stderr=log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def logged(self, text: str) -> int:
        return self.log.count(text)

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.logged(text) >= times)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def queued(self) -> list[str]:
        """The timestamps of what waits in the queue, leased or not, oldest first."""
        with closing(sqlite3.connect(self.queue)) as conn:
            rows = conn.execute("SELECT payload FROM telemetry_queue ORDER BY id").fetchall()
        return [json.loads(row[0])["timestamp"] for row in rows]

    def end_leases(self) -> None:
        """As if a minute had passed."""
        with closing(sqlite3.connect(self.queue)) as conn, conn:
            conn.execute("UPDATE telemetry_queue SET held_until = 0, leased_by = NULL")

    def collectors(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.pid).children()]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Exit status, and the seconds that it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(60)
        return status, time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            for pid in self.collectors():
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


def clean_environment() -> dict[str, str]:
    ours = ("TELEMETRY_", "SHA_API_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def hub(app: Flask, owner: Database) -> Iterator[LocalHub]:
    """A hub that answers."""
    hub = LocalHub(app, owner)
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents towards an address; all are gone after the test."""
    agents: list[Agent] = []

    def make(url: str, *extra: str, **env: str) -> Agent:
        agents.append(Agent(tmp_path, url, *extra, **env))
        agents[-1].start()
        return agents[-1]

    yield make
    for agent in agents:
        agent.kill()
