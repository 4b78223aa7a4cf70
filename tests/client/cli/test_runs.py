"""Runs of a job, as senders begin them: each night the same id."""

from __future__ import annotations

import logging
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from telemetry_client import Accepted
from telemetry_client.tracker import ProgressTracker
from telemetry_client.wire.client import TelemetryClient
from telemetry_client.wire.timestamps import now_stamp
from tests.client.cli.conftest import TELEMETRY, Shell, below_exec
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess, wait_until


@pytest.fixture
def url(real_hub: HubProcess) -> str:
    return f"http://127.0.0.1:{real_hub.port}"


def runs(hub: HubProcess, job_id: str) -> list[tuple[int, str]]:
    """Number and status of each run, oldest first."""
    _, _, body = hub.request("GET", f"/api/v1/jobs/{job_id}/runs")
    items = body["items"]
    return [(run["run"], run["status"]) for run in reversed(items)]


def test_every_tracker_begins_a_run(real_hub: HubProcess, url: str, spool_path: Path) -> None:
    with TelemetryClient(url) as client:
        for end in ("complete", "fail"):
            tracker = ProgressTracker("backup-nightly", client=client, spool=spool_path)
            tracker.update_progress(5, 10)
            getattr(tracker, end)(*["no space"] if end == "fail" else [])
            assert tracker.is_delivered
    assert runs(real_hub, "backup-nightly") == [(1, "completed"), (2, "failed")]


def test_a_tracker_may_resume_a_run(
    real_hub: HubProcess, url: str, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATEKIT_JOB_ID", "backup-shared")
    with TelemetryClient(url) as client:
        options: dict[str, Any] = {"client": client, "spool": spool_path}
        first = ProgressTracker(**options)
        assert first.flush()
        for _ in range(2):
            other = ProgressTracker.from_env(**options)
            other.set_phase("transferring")
            assert other.flush()
            del other
        first.complete()
    assert runs(real_hub, "backup-shared") == [(1, "completed")]


def test_the_oldest_update_begins_the_run(faulty_hub: FaultyHub, spool_path: Path) -> None:
    """Disks that have no room in the first update go ahead of it."""
    with TelemetryClient(faulty_hub.url) as client:
        tracker = ProgressTracker("backup-1", client=client, spool=spool_path)
        for index in range(60):
            tracker.update_disk(index, 1, 10, status="transferring")
        tracker.complete()
    by_time = sorted(faulty_hub.accepted, key=lambda update: str(update["timestamp"]))
    assert [update.get("new_run") for update in by_time] == [True] + [None] * (len(by_time) - 1)


def test_a_job_that_does_not_change_is_reported(
    url: str, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TelemetryClient(url) as client:
        options: dict[str, Any] = {"client": client, "spool": spool_path, "interval_seconds": 0.1}
        ProgressTracker("backup-over", **options).complete()
        with caplog.at_level(logging.ERROR):
            ProgressTracker("backup-over", resume=True, **options).fail("too late")
    assert "does not change its job" in caplog.text
    assert "has already ended: completed" in caplog.text


def test_exec_begins_a_run_each_time(shell: Shell, real_hub: HubProcess, url: str) -> None:
    for status in (0, 3):
        tool = shell.fake("tool", f"sys.exit({status})")
        done = shell.exec([tool], "--url", url, "--job-id", "backup-cron")
        assert (done.returncode, done.stderr) == (status, b"")
    assert runs(real_hub, "backup-cron") == [(1, "completed"), (2, "failed")]


def test_jobs_of_cron_that_begin_in_one_second_are_jobs_of_their_own(
    shell: Shell, faulty_hub: FaultyHub
) -> None:
    command = [*TELEMETRY, "exec", "--job-type", "backup", "--", "true"]
    for job in [shell.start(command) for _ in range(3)]:
        assert job.wait(60) == 0
    first = [update for update in faulty_hub.accepted if update.get("new_run")]
    assert len({update["job_id"] for update in first}) == 3
    for update in first:
        assert update["vm_name"] == socket.gethostname()
        assert update["job_id"].startswith(f"backup-{socket.gethostname()}-")


@pytest.mark.parametrize("is_away_at_first", [False, True])
def test_exec_says_that_its_end_did_not_change_the_job(
    shell: Shell, real_hub: HubProcess, is_away_at_first: bool
) -> None:
    """Sent at once, or from the spool."""
    job_id = f"backup-ended-{is_away_at_first}"
    target = f"http://127.0.0.1:{real_hub.port}"
    with FaultyHub(target) as hub, TelemetryClient(target) as other:
        if is_away_at_first:
            hub.fault_of_all = "page502"
        tool = shell.fake("tool", "sys.stdin.readline()")
        exec_command = below_exec([tool], "--job-id", job_id, "--wait", "30")
        running = shell.start(
            exec_command,
            env={**shell.env, "SHA_API_URL": hub.url},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: bool(hub.pushes))
        later = {"job_id": job_id, "job_type": "backup", "timestamp": now_stamp()}
        assert isinstance(other.push({**later, "status": "cancelled"}), Accepted)
        hub.fault_of_all = None
        _, printed = running.communicate(b"end\n", timeout=60)
    assert running.returncode == 0
    assert b"does not change its job" in printed
    assert b"the job has already ended: cancelled" in printed


def test_push_reports_that_the_job_did_not_change(
    shell: Shell, real_hub: HubProcess, url: str
) -> None:
    def push(status: str, *options: str) -> tuple[int, bytes, bytes]:
        done = shell.telemetry("push", "backup-p", "--status", status, "--url", url, *options)
        return done.returncode, done.stdout, done.stderr

    assert push("completed") == (0, b"applied to run 1\n", b"")
    status, printed, error = push("running")
    assert status == 0, "it is stored"
    assert printed == b"stored, not applied to run 1: the job has already ended: completed\n"
    assert error == b"If this is another run of the job, use --new-run.\n"
    assert push("running", "--new-run") == (0, b"applied to run 2\n", b"")
    assert push("failed") == (0, b"applied to run 2\n", b"")
    assert runs(real_hub, "backup-p") == [(1, "completed"), (2, "failed")]
