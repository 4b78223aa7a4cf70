"""`python -m app backup`: a copy of a running hub has all that was acknowledged until its end."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.config import ROOT
from tests.chaos.senders import Senders
from tools.hub_process import HubProcess, clean_environment, free_port, run_app, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub")) as hub:
        (hub.data_dir / "token.key").write_text("a key")
        yield hub


def back_up(hub: HubProcess, file: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_app("backup", file, HUB_DATA_DIR=str(hub.data_dir), **env)


def slots(hub: HubProcess) -> int:
    with psycopg.connect(hub.owner_dsn(), autocommit=True, prepare_threshold=None) as conn:
        (count,) = conn.execute("SELECT count(*) FROM pg_replication_slots").fetchone() or (0,)
    return int(count)


def test_a_backup_has_all_that_was_acknowledged(hub: HubProcess, tmp_path: Path) -> None:
    file = tmp_path / "hub.tar.gz"
    with Senders(f"http://127.0.0.1:{hub.port}", pause_seconds=0.01) as senders:
        senders.keep_going()
        before = senders.acknowledged
        done = back_up(hub, str(file))
        assert done.returncode == 0, done.stderr
        assert "Copied" in done.stderr
        senders.keep_going()
    assert file.stat().st_mode & 0o777 == 0o600
    assert slots(hub) == 0
    restored = tmp_path / "restored"
    with tarfile.open(file) as tar:
        assert not {"engine.json", "owner.json", "engine.lock"} & set(tar.getnames())
        tar.extractall(restored, filter="data")
    assert (restored / "token.key").read_text() == "a key"
    with HubProcess(restored) as copy:
        assert before <= copy.stored() <= senders.acknowledged
        doctor = run_app("doctor", HUB_DATA_DIR=str(restored))
        assert doctor.returncode == 0, doctor.stdout
        assert copy.push("afterwards") == 200
        for job_id in senders.job_ids:
            assert copy.request("GET", f"/telemetry/history/{job_id}")[0] == 200


def test_a_backup_that_is_killed_leaves_nothing_behind(hub: HubProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "backup", "-"]
    env = {**clean_environment(), "HUB_DATA_DIR": str(hub.data_dir)}
    # Its output is not read, so it stops when the pipe is full.
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE)
    with process:
        try:
            wait_until(lambda: slots(hub) == 1)
            other = back_up(hub, str(tmp_path / "other.tar.gz"))
        finally:
            process.kill()
    assert other.returncode == 1
    assert other.stderr == "hub: Another backup is being made: wait until it has ended.\n"
    wait_until(lambda: slots(hub) == 0)
    assert not list(tmp_path.glob("other*"))
    assert back_up(hub, str(tmp_path / "next.tar.gz")).returncode == 0


def test_a_backup_replaces_no_file(hub: HubProcess, tmp_path: Path) -> None:
    file = tmp_path / "hub.tar.gz"
    file.write_text("another")
    done = back_up(hub, str(file))
    assert done.returncode == 1
    assert done.stderr == f"hub: {file} exists: choose another name, or move it away.\n"
    assert file.read_text() == "another"
    done = back_up(hub, str(tmp_path / "none" / "hub.tar.gz"))
    assert done.returncode == 1
    assert "cannot be written: No such file or directory" in done.stderr


def test_a_server_is_backed_up_with_its_own_tools(tmp_path: Path) -> None:
    address = f"postgresql://127.0.0.1:{free_port()}/none"
    done = run_app("backup", str(tmp_path / "hub.tar.gz"), DATABASE_URL=address)
    assert done.returncode == 1
    assert "pg_basebackup" in done.stderr
