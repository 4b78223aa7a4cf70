"""restic, rclone, borg, rsync and pv run for real below `telemetry exec`, into a real hub."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.client.cli.conftest import Shell, below_exec
from tests.client.tools import need
from tools.hub_process import HubProcess, wait_until

FILES = 4
SIZE = 12_000_000  # in all; at the speeds below two to three seconds


@dataclass(frozen=True)
class Tool:
    """How a tool is called on `data` so that its progress can be seen."""

    name: str
    command: str
    env: dict[str, str] = field(default_factory=dict)
    before: str | None = None
    repository: str | None = None
    says_total: bool = True
    wrong: str = ""  # a call that fails
    wrong_status: int = 1
    wrong_words: str = ""


RESTIC = {
    "RESTIC_REPOSITORY": "repo",
    "RESTIC_PASSWORD": "secret",
    "RESTIC_PROGRESS_FPS": "20",
    "GOMAXPROCS": "1",
}
BORG = {"BORG_REPO": "repo", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
RCLONE_LOG = "--use-json-log --stats 200ms --stats-log-level NOTICE"

TOOLS = [
    Tool(
        "restic",
        "restic backup --json --limit-upload 6000 data",
        env=RESTIC,
        before="restic init",
        repository="repo",
        wrong="restic -r none backup --json data",
        wrong_words="Fatal: unable to open config file",
    ),
    Tool(
        "rclone",
        f"rclone copy {RCLONE_LOG} --bwlimit 5M data target",
        repository="target",
        wrong=f"rclone copy {RCLONE_LOG} none target",
        wrong_status=3,
        wrong_words="directory not found",
    ),
    Tool(
        "borg",
        "borg --log-json --progress create -C lzma,0 ::today data",  # lzma is slow
        env=BORG,
        before="borg init -e none",
        repository="repo",
        says_total=False,
        wrong="borg --log-json --progress create none::today data",
        wrong_status=2,
        wrong_words="Repository",
    ),
    Tool(
        "rsync",
        "rsync -a --info=progress2 --bwlimit=5000 data/ target/",
        repository="target/",
        says_total=False,
        wrong="rsync -a --info=progress2 none target/",
        wrong_status=23,
        wrong_words='none" failed: No such file',
    ),
    Tool(
        "pv",
        "pv -n -b -i 0.2 -L 5M data/file-0 data/file-1 data/file-2 data/file-3",
        wrong="pv -n -b none",
        wrong_status=10,
        wrong_words="none: No such file",
    ),
]
each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


@pytest.fixture
def hub_shell(tmp_path: Path, real_hub: HubProcess) -> Shell:
    """With a real hub, and with `data` to back up."""
    shell = Shell(tmp_path, f"http://127.0.0.1:{real_hub.port}")
    (tmp_path / "data").mkdir()
    for number in range(FILES):
        path = tmp_path / "data" / f"file-{number}"
        path.write_bytes(random.Random(number).randbytes(SIZE // FILES))
    return shell


@pytest.fixture
def prepared(hub_shell: Shell) -> Callable[[Tool], Shell]:
    def prepare(tool: Tool) -> Shell:
        need(tool.name)
        hub_shell.env.update(tool.env)
        if tool.before:
            assert hub_shell.run(tool.before.split()).returncode == 0
        return hub_shell

    return prepare


def ask(hub: HubProcess, path: str) -> Any:
    status, _, answer = hub.request("GET", path)
    assert status == 200, answer
    return answer


@each_tool
def test_a_real_run_is_charted(
    tool: Tool, prepared: Callable[[Tool], Shell], real_hub: HubProcess
) -> None:
    shell = prepared(tool)
    job_id = f"backup-{tool.name}-1"
    done = shell.exec(tool.command.split(), "--job-id", job_id, "--vm-name", "vm1", "--wait", "30")
    assert done.returncode == 0, done.stderr
    assert b"telemetry: " not in done.stderr
    job = ask(real_hub, f"/api/v1/jobs/{job_id}")
    assert (job["status"], job["progress_percent"]) == ("completed", 100.0)
    assert (job["vm_name"], job["repository_id"]) == ("vm1", tool.repository)
    assert job["error_message"] is None
    assert job["warnings"] == []
    if tool.name == "borg":  # it does not say its last bytes
        assert 0 < job["bytes_transferred"] <= SIZE + 1000
    else:
        assert job["bytes_transferred"] == SIZE
    assert job["total_bytes"] == (SIZE if tool.says_total else None)
    chart = ask(real_hub, f"/telemetry/history/{job_id}")
    assert "transferring" in [phase["phase"] for phase in chart["phases"]]
    assert any(0 < (point["b"] or 0) < SIZE for point in chart["chart_data"])
    assert chart["peak_speed_bps"] > 0


@each_tool
def test_a_failure_is_kept_in_the_tools_words(
    tool: Tool, prepared: Callable[[Tool], Shell], real_hub: HubProcess
) -> None:
    shell = prepared(tool)
    job_id = f"backup-{tool.name}-wrong"
    plain = shell.run(tool.wrong.split())
    done = shell.exec(tool.wrong.split(), "--job-id", job_id, "--wait", "30")
    assert done.returncode == plain.returncode == tool.wrong_status
    assert b"telemetry: " not in done.stderr
    job = ask(real_hub, f"/api/v1/jobs/{job_id}")
    assert job["status"] == "failed"
    assert job["error_message"].startswith(f"{tool.name} exited with {tool.wrong_status}: ")
    assert tool.wrong_words in job["error_message"]


def test_what_pv_passes_on_is_whole(prepared: Callable[[Tool], Shell]) -> None:
    (tool,) = [tool for tool in TOOLS if tool.name == "pv"]
    shell = prepared(tool)
    files = [shell.folder / "data" / f"file-{number}" for number in range(FILES)]
    done = shell.exec(["pv", "-n", "-b", *map(str, files)])
    assert done.stdout == b"".join(path.read_bytes() for path in files)


def test_an_unreadable_file_is_a_warning_of_a_completed_backup(
    prepared: Callable[[Tool], Shell], real_hub: HubProcess
) -> None:
    shell = prepared(TOOLS[0])
    job_id = "backup-restic-unreadable"
    done = shell.exec(
        ["restic", "backup", "--json", "data", "/proc/self/mem"], "--job-id", job_id, "--wait", "30"
    )
    assert done.returncode == 3
    job = ask(real_hub, f"/api/v1/jobs/{job_id}")
    assert job["status"] == "completed"
    assert "/proc/self/mem" in job["error_message"]


def test_an_interrupted_backup_is_cancelled(
    prepared: Callable[[Tool], Shell], real_hub: HubProcess
) -> None:
    shell = prepared(TOOLS[0])
    command = "restic backup --json --limit-upload 500 data".split()
    job_id = "backup-restic-interrupted"
    process = shell.start(
        below_exec(command, "--job-id", job_id, "--wait", "30"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path = f"/api/v1/jobs/{job_id}"
    wait_until(lambda: real_hub.request("GET", path)[0] == 200)
    wait_until(lambda: ask(real_hub, path)["bytes_transferred"] > 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (1, 130)
    assert ask(real_hub, path)["status"] == "cancelled"
