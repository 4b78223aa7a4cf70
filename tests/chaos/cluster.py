"""A PostgreSQL server of a test's own, with TimescaleDB: to be stopped, filled and told things."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from tools.hub_process import free_port, is_running

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

    def __init__(self, folder: Path, primary: Cluster | None = None) -> None:
        """A new server, or a standby of `primary`."""
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._folder = folder
        self._programs = _find_programs()
        self._data = str(folder / "data")
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        if primary is None:
            self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N")
        else:
            copy = (
                "-D",
                self._data,
                "-d",
                primary.url,
                "--write-recovery-conf",
                "-c",
                "fast",
                "-N",
            )
            self._run("pg_basebackup", *copy)
        self.control("start")

    def control(self, what: str, *args: str) -> None:
        """`pg_ctl start`, `restart`, `stop` or `promote`; returns when it is done."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": self._data}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        if what in ("start", "restart"):
            args = ("-l", str(self._folder / "log"), "-o", options, *args)
        self._run("pg_ctl", what, "-D", self._data, "-w", *args)

    def kill(self) -> None:
        """End all its processes at once."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        all_of_it = [postmaster, *postmaster.children()]
        for process in all_of_it:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(all_of_it, timeout=60)

    @property
    def is_running(self) -> bool:
        """False once it has been killed."""
        file = self._folder / "data" / "postmaster.pid"
        return file.exists() and is_running(int(file.read_text().split()[0]))

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
def running_cluster(
    disk: Path | None = None, *, primary: Cluster | None = None
) -> Iterator[Cluster]:
    """On a disk of its own where one is given; a standby of `primary` if that is given."""
    folder = Path(tempfile.mkdtemp(prefix="hub-cluster-", dir=disk))  # `postgres` may look there
    try:
        cluster = Cluster(folder, primary)
        try:
            yield cluster
        finally:
            if cluster.is_running:
                cluster.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


def take_all(cluster: Cluster, taken: ExitStack) -> None:
    """Every connection that the server has left."""
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        for _ in range(CONNECTIONS + 1):
            taken.enter_context(cluster.connect())


def _find_programs() -> Path:
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert on_path or found, "a PostgreSQL server with TimescaleDB has to be installed for this"
    return Path(on_path or found[-1]).resolve().parent
