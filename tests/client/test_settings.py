"""What the environment may say, and the job's type that is read from its id."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from telemetry_client import QueueError, Settings, TelemetryClient, job_type_of
from telemetry_client import settings as settings_module
from telemetry_client.settings import default_spool


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings(
        url="http://localhost:8082",
        job_id=None,
        token=None,
        spool=None,
        queue=Path("/var/lib/resolvix/telemetry_queue.db"),
    )


def test_the_environment_names_everything() -> None:
    settings = Settings.from_env(
        {
            "SHA_API_URL": "https://hub:9",
            "MIGRATEKIT_JOB_ID": "backup-1",
            "TELEMETRY_TOKEN": "secret",
            "TELEMETRY_SPOOL": "/s/spool.db",
            "TELEMETRY_QUEUE": "/q/queue.db",
        }
    )
    assert settings == Settings(
        "https://hub:9", "backup-1", "secret", Path("/s/spool.db"), Path("/q/queue.db")
    )


def test_what_is_empty_is_not_set() -> None:
    assert Settings.from_env({"SHA_API_URL": " ", "MIGRATEKIT_JOB_ID": ""}) == Settings()


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Settings(token="secret"))


@pytest.mark.parametrize(
    ("job_id", "job_type"),
    [
        ("backup-vm1-20260101", "backup"),
        ("replication-7", "replication"),
        ("restore-x", "restore"),
        ("migration-x", "migration"),
        ("verify-x", "verify"),
        ("test-telemetry-1", "job"),  # its prefix is a name
        ("backup", "job"),  # and this is no prefix
        ("snapshot-1", "job"),  # reserved by the hub
        ("", "job"),
    ],
)
def test_the_type_is_the_prefix_of_the_id(job_id: str, job_type: str) -> None:
    assert job_type_of(job_id) == job_type


def test_the_fallback_may_be_chosen() -> None:
    assert job_type_of("nightly-1", fallback="backup") == "backup"


def test_a_client_asks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with TelemetryClient() as client:
        assert client.url == "http://localhost:8082"
    monkeypatch.setenv("SHA_API_URL", "http://elsewhere:1234/")
    with TelemetryClient() as client:
        assert client.url == "http://elsewhere:1234"
    with TelemetryClient("http://here:1") as client:
        assert client.url == "http://here:1"


def test_the_package_loads_nothing_of_the_command_line_or_the_agent() -> None:
    script = "import sys, telemetry_client; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert not loaded & {"typer", "rich", "click", "psutil", "websockets", "asyncio", "app"}


WITHOUT_POSIX = """
import sys
import asyncio, psutil, subprocess, websockets.asyncio.server  # they know both systems

for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None  # importing it fails, as on Windows
import os, signal
for module, names in (
    (os, ("register_at_fork", "fork", "posix_spawnp")),
    (signal, ("SIGCHLD", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "pthread_sigmask")),
):
    for name in names:
        delattr(module, name)
import telemetry_client, telemetry_client.cli.app
import telemetry_client.agent.collector, telemetry_client.agent.daemon
import telemetry_client.agent.stream
"""


def test_only_exec_needs_posix() -> None:
    """The rest imports what every system has. It has not been run on Windows."""
    subprocess.run([sys.executable, "-c", WITHOUT_POSIX], check=True, timeout=60)


def test_a_user_without_a_name_or_a_home_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(settings_module, "SHARED_SPOOL", tmp_path / "absent" / "spool.db")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(QueueError, match="set TELEMETRY_SPOOL or HOME"):
        default_spool({})
    assert default_spool({"TELEMETRY_SPOOL": "/s/spool.db"}) == Path("/s/spool.db")
    assert default_spool({"XDG_STATE_HOME": "/x"}) == Path("/x/telemetry/spool.db")
