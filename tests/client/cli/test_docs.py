"""docs/senders.md does what it says: its commands and programs run against a real hub."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import pages
from tests.client.cli.conftest import Shell
from tests.client.tools import need
from tools.hub_process import HubProcess

PAGES = ("docs/senders.md", "client/README.md")


def blocks(language: str) -> list[Any]:
    """Every block of a language as a pytest parameter."""
    return [
        pytest.param(text, id=f"{page}-{n}")
        for page in PAGES
        for n, text in enumerate(pages.blocks(page, language))
    ]


@pytest.fixture
def hub_shell(tmp_path: Path, real_hub: HubProcess) -> Shell:
    shell = Shell(tmp_path, f"http://127.0.0.1:{real_hub.port}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(bytes(1000))
    bin_folder = Path(sys.executable).parent
    shell.env.update(
        PATH=f"{shell.bin}:{bin_folder}:{shell.env['PATH']}",
        RESTIC_REPOSITORY=str(tmp_path / "repo"),
        RESTIC_PASSWORD="secret",
    )
    shell.fake("pip", "")
    return shell


@pytest.mark.parametrize("block", blocks("console"))
def test_commands_print_what_the_page_says(
    block: str, hub_shell: Shell, real_hub: HubProcess
) -> None:
    if "restic" in block:
        need("restic")
        hub_shell.run(["restic", "init"])
    address = f"localhost:{real_hub.port}"
    script = "".join(
        command + "\n" + ("" if expected else "[ $? = 0 ] || echo THIS COMMAND FAILED\n")
        for command, expected in pages.commands(block)
    )
    done = hub_shell.run(["bash", "-c", script.replace("localhost:8082", address)])
    output = (done.stdout + done.stderr).decode().replace(address, "localhost:8082")
    assert "THIS COMMAND FAILED" not in output
    for _, expected in pages.commands(block):
        pages.assert_printed(output, expected)


@pytest.mark.parametrize("program", blocks("python"))
def test_programs_end_their_job(program: str, hub_shell: Shell, real_hub: HubProcess) -> None:
    done = hub_shell.run([sys.executable, "-c", program])
    assert (done.returncode, done.stderr) == (0, b"")
    (job_id,) = re.findall(r'(?:ProgressTracker\(|job_id=)"([^"]+)"', program)
    status, _, job = real_hub.request("GET", f"/api/v1/jobs/{job_id}")
    assert (status, job["status"], job["bytes_transferred"]) == (200, "completed", 50_000_000)
