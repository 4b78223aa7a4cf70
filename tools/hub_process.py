"""A whole hub as a process of its own, for tests and benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg

from app.config import ROOT, Config
from app.database.addresses import hub_dsn, owner_dsn
from tools import engine_template

START_SECONDS = 60.0
DATABASE = ("DATABASE_URL", "HUB_OWNER_URL")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_settings(config: Config) -> dict[str, str]:
    """The environment that leads a process of the hub to this database."""
    if config.database_url is None:
        return {"HUB_DATA_DIR": str(config.data_dir)}
    return {"DATABASE_URL": hub_dsn(config), "HUB_OWNER_URL": owner_dsn(config)}


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the hub."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HUB_") and name != "DATABASE_URL"
    }


def run_app(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`python -m app` with these arguments and settings, and none of the caller's."""
    return subprocess.run(
        [sys.executable, "-m", "app", *args],
        cwd=ROOT,
        env={**clean_environment(), **env},
        capture_output=True,
        text=True,
        timeout=100,
    )


class HubProcess:
    """`python -m app serve` with an embedded database below `data_dir`."""

    def __init__(self, data_dir: Path, *, command: Sequence[str] = (), **env: str) -> None:
        """`command` goes before the hub's own, say to give it another view of the disk."""
        self.data_dir = data_dir
        self._command = command
        self.host = "127.0.0.1"  # where requests go
        self.port = free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in DATABASE},
            "HUB_DATA_DIR": str(data_dir),
            "HUB_PORT": str(self.port),
            "HUB_EMBEDDED_PORT": str(free_port()),
            "HUB_LOG_LEVEL": "WARNING",
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()  # it would go on for ever
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        engine_template.copy_to(self.data_dir)
        self.process = subprocess.Popen(
            [*self._command, sys.executable, "-m", "app", "serve"], cwd=ROOT, env=self.env
        )
        try:
            wait_until(self.is_healthy, START_SECONDS)
        except BaseException:
            self.kill()  # the caller never gets this object and cannot
            raise

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def engine(self) -> dict[str, Any]:
        """What the port file says: pid, dsn, analyst_dsn; of the owner only its own file does."""
        content: dict[str, Any] = json.loads((self.data_dir / "engine.json").read_text())
        return content

    def owner_dsn(self) -> str:
        """The address of the one who may change anything in the embedded database."""
        return str(json.loads((self.data_dir / "owner.json").read_text())["dsn"])

    def children(self) -> dict[int, str]:
        """The processes below the supervisor: pid to command line."""
        return {pid: command for pid, ppid, command in _processes() if ppid == self.pid}

    def web_worker(self) -> int:
        """The pid of the web worker."""
        (pid,) = [pid for pid, command in self.children().items() if "spawn_main" in command]
        return pid

    def is_healthy(self) -> bool:
        assert self.process is None or self.process.poll() is None, "the hub ended"
        try:
            status, _, _ = self.request("GET", "/api/v1/health")
        except OSError:
            return False
        return status == 200

    def request(
        self, method: str, path: str, body: Any = None, timeout: float = 15
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower case) and JSON of one request over its own connection."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(
                method, path, None if body is None else json.dumps(body), headers=headers
            )
            answer = connection.getresponse()
            return answer.status, _lower(answer), json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def push(self, job_id: str, **fields: Any) -> int:
        """Push one update of a backup; the status of the answer."""
        body = {"status": "running", **fields}
        return self.request("POST", f"/api/v1/telemetry/backup/{job_id}", body)[0]

    def stored(self) -> set[tuple[str, int]]:
        """(job_id, bytes_transferred) of every row of the series."""
        dsn = self.env.get("DATABASE_URL") or self.engine()["dsn"]
        with psycopg.connect(dsn, prepare_threshold=None) as conn:
            rows = conn.execute("SELECT job_id, bytes_transferred FROM job_telemetry").fetchall()
        assert len(rows) == len(set(rows)), "an update is stored twice"
        return set(rows)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll until it holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def has_ended(pid: int) -> bool:
    return not is_running(pid)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _lower(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _processes() -> Iterator[tuple[int, int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            yield int(entry.name), int(stat[1]), command
