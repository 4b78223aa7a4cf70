"""docs/senders.md does what it says: its commands and programs run against a real hub."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.cli.conftest import Shell
from tests.client.tools import need
from tests.hub_process import HubProcess

ROOT = Path(__file__).parents[3]
PAGES = ("docs/senders.md", "client/README.md")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[Any]:
    """Every block of a language as a pytest parameter."""
    found = []
    for page in PAGES:
        texts = [m[2] for m in _BLOCK.finditer((ROOT / page).read_text()) if m[1] == language]
        found += [pytest.param(text, id=f"{page}-{n}") for n, text in enumerate(texts)]
    assert found
    return found


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a console block, and what it prints; a `…` stands for anything."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    pairs = []
    for part in parts:
        lines = part.splitlines()
        length = next(
            n for n in range(1, len(lines) + 1) if is_whole("\n".join(lines[:n]), lines[n:])
        )
        pairs.append(("\n".join(lines[:length]), "\n".join(lines[length:])))
    return pairs


def is_whole(command: str, rest: list[str]) -> bool:
    """Whether the command ends here: quotes are closed, and nothing says that it goes on."""
    is_quoted = command.count("'") % 2 == 1
    goes_on = command.endswith(("\\", "|")) or bool(rest) and rest[0].startswith("    ")
    return not is_quoted and not goes_on


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
        for command, expected in commands(block)
    )
    done = hub_shell.run(["bash", "-c", script.replace("localhost:8082", address)])
    said = (done.stdout + done.stderr).decode().replace(address, "localhost:8082")
    assert "THIS COMMAND FAILED" not in said
    for _, expected in commands(block):
        for line in expected.splitlines():
            pattern = ".*".join(re.escape(piece) for piece in line.split("…"))
            assert re.search(rf"^{pattern}$", said, re.MULTILINE), (line, said)


@pytest.mark.parametrize("program", blocks("python"))
def test_programs_end_their_job(program: str, hub_shell: Shell, real_hub: HubProcess) -> None:
    done = hub_shell.run([sys.executable, "-c", program])
    assert (done.returncode, done.stderr) == (0, b"")
    (job_id,) = re.findall(r'ProgressTracker\("([^"]+)"', program)
    status, _, job = real_hub.request("GET", f"/api/v1/jobs/{job_id}")
    assert (status, job["status"], job["bytes_transferred"]) == (200, "completed", 50_000_000)
