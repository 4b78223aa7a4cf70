"""A PostgreSQL server of a test's own, with TimescaleDB: to be stopped, filled and told things."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tools.hub_process import free_port

CONNECTIONS = 30
SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.max_background_workers": "0",
    "timescaledb.telemetry_level": "off",
    "max_connections": str(CONNECTIONS),
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
}


class Cluster:
    """Runs as `postgres` where the tests are root's, whom PostgreSQL does not serve."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._folder = folder
        self._programs = _find_programs()
        self._data = str(folder / "data")
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N")
        self.control("start")

    def control(self, what: str, *args: str) -> None:
        """`pg_ctl start`, `restart` or `stop`; returns when it is done."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": self._data}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = str(self._folder / "log")
        self._run("pg_ctl", what, "-D", self._data, "-w", "-l", log, "-o", options, *args)

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """As superuser, in autocommit."""
        return psycopg.connect(self.url, autocommit=True)

    def _run(self, program: str, *args: str) -> None:
        command = [str(self._programs / program), *args]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            command,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,  # a pipe would be the server's as well, and never end
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == 0, f"{program} {args[0]} failed; {self._folder}/log may say why"


@contextmanager
def running_cluster(disk: Path | None = None) -> Iterator[Cluster]:
    """On a disk of its own where one is given."""
    folder = Path(tempfile.mkdtemp(prefix="hub-cluster-", dir=disk))  # `postgres` may look there
    try:
        cluster = Cluster(folder)
        try:
            yield cluster
        finally:
            cluster.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


def _find_programs() -> Path:
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert on_path or found, "a PostgreSQL server with TimescaleDB has to be installed for this"
    return Path(on_path or found[-1]).parent
