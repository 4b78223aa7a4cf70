"""The example runs a real restic and shows it in a real hub."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT
from tests.hub_process import HubProcess, free_port

# The set-up of CI installs it; elsewhere it is the reader's to have.
pytestmark = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")

SIZE = 40_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(4):
        (folder / f"file-{number}").write_bytes(random.Random(number).randbytes(SIZE // 4))
    return folder


def back_up(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "examples/restic_to_hub.py", "--init-temporary", "--url", url]
        + ["--job-id", "backup-vm1-1", "--vm-name", "vm1", *options, str(folder)],
        cwd=ROOT,
        env={**os.environ, "RESTIC_PROGRESS_FPS": "20", "HOME": str(folder.parent)},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_real_backup_is_charted(folder: Path, tmp_path: Path) -> None:
    with HubProcess(tmp_path / "hub") as hub:
        done = back_up(folder, f"http://127.0.0.1:{hub.port}")
        assert done.returncode == 0, done.stderr
        _, _, job = hub.request("GET", "/api/v1/jobs/backup-vm1-1")
        _, _, chart = hub.request("GET", "/telemetry/history/backup-vm1-1")
    assert (job["status"], job["vm_name"], job["progress_percent"]) == ("completed", "vm1", 100.0)
    assert job["bytes_transferred"] == SIZE
    assert [phase["phase"] for phase in chart["phases"]][-1] == "finalizing"
    assert "backup-vm1-1: completed" in done.stdout


def test_a_missing_hub_does_not_fail_the_backup(folder: Path) -> None:
    done = back_up(folder, f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
