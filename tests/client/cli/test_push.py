"""`telemetry push`: one update, its answer, and what the exit code says."""

from __future__ import annotations

import json

import pytest

from telemetry_client import TelemetryQueue
from tests.client.cli.conftest import Shell
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess


def test_an_update_that_the_hub_takes(shell: Shell, faulty_hub: FaultyHub) -> None:
    done = shell.telemetry(
        *("push", "backup-vm1-1", "--status", "running", "--bytes", "50", "--total", "200"),
        *("--phase", "transferring", "--vm-name", "vm1"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"applied\n", b"")
    (update,) = faulty_hub.accepted
    assert update.pop("timestamp").endswith("Z")
    assert update == {
        "job_id": "backup-vm1-1",
        "job_type": "backup",
        "status": "running",
        "current_phase": "transferring",
        "bytes_transferred": 50,
        "total_bytes": 200,
        "progress_percent": 25.0,
        "vm_name": "vm1",
    }


def test_a_script_tells_how_often_it_pushes(shell: Shell, faulty_hub: FaultyHub) -> None:
    push = ("push", "backup-1", "--status", "running", "--interval")
    assert shell.telemetry(*push, "600").returncode == 0
    assert faulty_hub.accepted[0]["interval_seconds"] == 600
    assert shell.telemetry(*push, "0").returncode == 64


def test_a_repeat_is_said_to_be_one(shell: Shell) -> None:
    push = ("push", "j", "--status", "running", "--timestamp", "2026-01-01T00:00:00Z")
    assert shell.telemetry(*push).stdout == b"applied\n"
    assert b"repeat" in shell.telemetry(*push).stdout


def test_a_refusal_names_the_fields(shell: Shell, real_hub: HubProcess) -> None:
    done = shell.telemetry(
        *("push", "backup-push-2", "--status", "running", "--bytes", "-1", "--percent", "-5"),
        *("--url", f"http://127.0.0.1:{real_hub.port}"),
    )
    assert (done.returncode, done.stdout) == (1, b"")
    first, *reasons = done.stderr.decode().splitlines()
    assert first == "refused (400):"
    assert {reason.split(":")[0].strip() for reason in reasons} == {
        "bytes_transferred",
        "progress_percent",
    }
    assert not shell.spool.exists()


def test_without_a_hub_it_is_kept_and_said_so(lonely_shell: Shell) -> None:
    done = lonely_shell.telemetry("push", "backup-1", "--status", "failed", "--error", "no space")
    assert done.returncode == 2
    assert b"connection_error" in done.stderr
    assert b"kept in" in done.stderr
    with TelemetryQueue(lonely_shell.spool) as queue:
        (entry,) = queue.dequeue()
    assert (entry.payload["status"], entry.payload["error"]) == ("failed", "no space")


def test_without_a_hub_nothing_is_kept_on_request(lonely_shell: Shell) -> None:
    done = lonely_shell.telemetry("push", "backup-1", "--status", "running", "--no-spool")
    assert (done.returncode, lonely_shell.spool.exists()) == (2, False)
    assert b"not kept" in done.stderr


def test_a_spool_that_cannot_be_written_is_said(lonely_shell: Shell) -> None:
    done = lonely_shell.telemetry(
        "push", "backup-1", "--status", "running", "--spool", "/proc/no/spool.db"
    )
    assert done.returncode == 2
    assert b"cannot be kept either" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["push"],
        ["push", "j"],
        ["push", "j", "--status", "done"],
        ["push", "j", "--status", "running", "--bytes", "many"],
        ["nothing"],
        ["exec"],
        ["exec", "--wait", "-1", "true"],
    ],
)
def test_a_wrong_command_line_is_64_and_pushes_nothing(
    shell: Shell, faulty_hub: FaultyHub, arguments: list[str]
) -> None:
    done = shell.telemetry(*arguments)
    assert done.returncode == 64
    assert b"Usage" in done.stderr
    assert b"Traceback" not in done.stderr
    assert faulty_hub.requests == []


def test_a_bad_address_is_a_sentence(shell: Shell) -> None:
    done = shell.telemetry("push", "j", "--status", "running", "--url", "nonsense")
    assert done.returncode == 1
    assert b"nonsense" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_token_travels_and_is_never_printed(shell: Shell, faulty_hub: FaultyHub) -> None:
    faulty_hub.token = "a.b.c"
    shell.env["TELEMETRY_TOKEN"] = "wrong"
    push = ("push", "j", "--status", "running", "--no-spool")
    refused = shell.telemetry(*push)
    assert refused.returncode == 2
    assert b"wrong" not in refused.stderr
    shell.env["TELEMETRY_TOKEN"] = "a.b.c"
    assert shell.telemetry(*push).returncode == 0


def test_json_of_the_update_is_what_curl_would_send(shell: Shell, faulty_hub: FaultyHub) -> None:
    shell.telemetry("push", "backup-1", "--status", "running", "--speed", "7", "--eta", "9")
    (request,) = faulty_hub.pushes
    assert request.path == "/api/v1/telemetry/backup/backup-1"
    body = json.loads(request.raw)
    assert (body["transfer_speed_bps"], body["eta_seconds"]) == (7, 9)
