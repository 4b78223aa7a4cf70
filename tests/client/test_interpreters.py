"""The client's wheel works with every supported Python on this machine: pushes, spool, tracker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import ROOT
from tools.faulty_hub import FaultyHub
from tools.hub_process import free_port

OLDEST_MINOR, NEWEST_MINOR = 9, 20
# The packages that the client needs, in the versions of Python 3.9.
PACKAGES = Path(sys.prefix) / "oldest"

ROUND = """
import sqlite3, sys
from pathlib import Path
from telemetry_client import (
    Accepted, Drain, ProgressAggregator, ProgressTracker, QueueError, Refused, TelemetryClient,
    TelemetryQueue, Unreachable, track,
)
from telemetry_client.queue import sqlite_file

url, away_url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

with TelemetryClient(url) as client:
    update = {"job_id": "backup-1", "job_type": "backup", "status": "running"}
    assert client.push({**update, "timestamp": "2026-01-31T12:00:00Z"}) == Accepted()
    assert client.push_batch([{**update, "timestamp": "2026-01-31T12:00:01Z"}] * 2).duplicates == 1
    assert isinstance(client.push({"job_id": ""}), Refused)
    assert client.push_snapshot({"node_id": "n", "timestamp": "2026-01-31T12:00:00Z"}) == Accepted()

    # A hub that never answers is a timeout.
with TelemetryClient(url, timeout=0.3) as client:
    result = client.push({**update, "current_phase": "slow"})
    assert isinstance(result, Unreachable) and result.reason == "timeout", result

# A job during an outage: the spool keeps it, and a drain sends it.
spool = folder / "spool.db"
with TelemetryClient(away_url) as client, ProgressTracker(
    "backup-2", vm_name="vm", client=client, spool=spool, end_deadline_seconds=0.5
) as tracker:
    work = ProgressAggregator(tracker)
    work.add_disk(0, 100)
    work.set_phase("copying")
    work.add_bytes(100, disk=0)
    work.complete_disk(0)
assert not tracker.is_delivered
with TelemetryQueue(spool) as queue, TelemetryClient(url) as client:
    assert queue.get_queue_size() >= 3, queue.get_stats()
    drain = Drain(queue, client, batches_per_second=1000)
    while queue.get_queue_size():
        drain.step()

# A job while the hub is there.
with TelemetryClient(url) as client, ProgressTracker(
    "backup-3", client=client, spool=spool
) as tracker:
    tracker.update_progress(5, 10, phase="copying")
assert tracker.is_delivered, tracker.stats

# Loops: how one is left shows in the interpreter's instructions.
def loop(how):
    for _ in track([b"x", b"y"], job_id=f"loop-{how}", client=client, spool=spool):
        try:
            if how == "break":
                break
            if how == "return":
                return 7
            if how == "raise":
                raise KeyError(how)
            if how == "call":
                int("seven")
        finally:
            "left".upper()

with TelemetryClient(url) as client:
    for how in ("all", "break", "return", "raise", "call"):
        try:
            loop(how)
        except (KeyError, ValueError):
            pass

# Files that cannot be used: SQLite's errors are recognised.
sqlite_file.BUSY_SECONDS = 0.1
locked = folder / "locked.db"
with TelemetryQueue(locked) as queue:
    holder = sqlite3.connect(str(locked), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        queue.enqueue({"job_id": "a"})
    except QueueError as exc:
        assert "another process keeps it locked" in str(exc), exc
    else:
        raise AssertionError("it was not locked")
    holder.close()
damaged = folder / "damaged.db"
damaged.write_bytes(b"SQLite format 3\\0" + b"this is not a database " * 100)
with TelemetryQueue(damaged) as queue:
    queue.enqueue({"job_id": "a"})
    assert queue.get_queue_size() == 1
assert len(list(folder.glob("damaged.db.corrupt-*"))) == 1

import telemetry_client.readers
from telemetry_client.readers.tools import find, names
choice = telemetry_client.readers.choose_reader(["sudo", "restic", "backup", "--json", "/"])
assert choice.reader.end(3).status == "completed"
assert [find(name).name for name in names()] == names()
print("%d.%d" % sys.version_info[:2], telemetry_client.__file__)
"""


def interpreters() -> dict[str, str]:
    """The newest interpreter of each supported version, by version: on the path, or pyenv's."""
    minor = sys.version_info.minor
    found = {f"3.{minor}": sys.executable}
    folder = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for number in range(OLDEST_MINOR, NEWEST_MINOR + 1):
        pyenv = sorted(folder.glob(f"3.{number}.*/bin/python3"), reverse=True)
        for candidate in (shutil.which(f"python3.{number}"), *map(str, pyenv)):
            if candidate is not None and works(candidate, number):
                found.setdefault(f"3.{number}", candidate)
    return found


def works(python: str, minor: int) -> bool:
    """Whether it is what its name says: a pyenv shim may have nothing behind it."""
    code = f"import sys, sqlite3, ssl, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
    return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel, built from its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT / "client")]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def hub() -> Iterator[FaultyHub]:
    with FaultyHub() as hub:
        hub.hold_seconds = 2.0
        yield hub


def test_the_wheel_carries_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "telemetry_client/py.typed",
        "telemetry_client/queue/schema.sql",
        "telemetry_client/agent/telemetry-agent.service",
        "telemetry_client-0.1.0.dist-info/licenses/LICENSE",
    } <= names
    assert not any(
        "test" in Path(name).name for name in names - {"telemetry_client/agent/selftest.py"}
    )


@pytest.mark.parametrize(
    ("version", "python"),
    [pytest.param(*found, id=found[0]) for found in interpreters().items()],
)
def test_a_round_with(
    version: str, python: str, wheel: Path, hub: FaultyHub, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=100)
    (site,) = venv.glob("lib/python3.*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    shutil.copytree(PACKAGES / "urllib3", site / "urllib3")
    hub.choose_fault = lambda request: (  # type: ignore[method-assign]
        "timeout" if b"slow" in request.raw else None
    )
    away = f"http://127.0.0.1:{free_port()}"
    ran = subprocess.run(
        [str(venv / "bin" / "python"), "-W", "error", "-c", ROUND, hub.url, away, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [version, str(site / "telemetry_client" / "__init__.py")]
    ends = {item["job_id"]: item["status"] for item in hub.accepted if "status" in item}
    assert ends == {
        "backup-1": "running",
        "backup-2": "completed",
        "backup-3": "completed",
        "loop-all": "completed",
        "loop-break": "cancelled",
        "loop-return": "cancelled",
        "loop-raise": "failed",
        "loop-call": "failed",
    }
    (disk,) = [item["disks"][0] for item in hub.accepted if "disks" in item][-1:]
    assert (disk["status"], disk["disk_index"]) == ("completed", 0)
