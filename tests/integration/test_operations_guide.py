"""docs/operations.md does what it says: its test guide runs against a whole hub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import ROOT, Config
from tests import pages
from tests.client.tools import need
from tools.hub_process import HubProcess

PAGE = "docs/operations.md"
# Long enough for a busy machine to look at a job before it stalls, and before it fails. The first
# is three intervals of `telemetry exec`.
STALE, FAIL, SWEEP = 15, 30, 1
PATIENCE_SECONDS = 90.0
# What the page waits for takes minutes at the default settings; here its questions are repeated.
HURRIED = {
    "sleep 110": "true",
    "sleep 240": "true",
    # Until the first update is there.
    "sleep 10;": "until curl -sf $SHA_API_URL/api/v1/jobs/guide-4 >/dev/null; do sleep 0.2; done;",
    "-L 2m": "-L 16m",
    "for 60s": f"for {STALE}s",
    "for 5m0s": f"for {FAIL}s",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(
        tmp_path_factory.mktemp("hub"),
        HUB_STALE_AFTER_SECONDS=str(STALE),
        HUB_FAIL_AFTER_SECONDS=str(FAIL),
        HUB_SWEEP_SECONDS=str(SWEEP),
    ) as hub:
        yield hub


def hurried(text: str) -> str:
    for slow, quick in HURRIED.items():
        text = text.replace(slow, quick)
    return text


def test_guide_shows_what_it_says(hub: HubProcess, tmp_path: Path) -> None:
    need("psql")
    need("pv")
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TELEMETRY_SPOOL": str(tmp_path / "spool.db"),
        "SHA_API_URL": f"http://127.0.0.1:{hub.port}",
        "ANALYST": hub.engine()["analyst_dsn"],
    }
    page_blocks = pages.blocks(PAGE, "console", section="Test guide")
    tried = [block for block in page_blocks if "$ export" not in block]
    assert len(tried) == len(page_blocks) - 1 == 6
    for block in tried:
        for command, expected in pages.commands(hurried(block)):
            # Of its own, so that it kills no other test's `sleep`.
            ours = command.replace("sleep 600", f"sleep 600.{os.getpid()}")
            done = run(ours, env, tmp_path)
            assert expected or "kill" in command or done.returncode == 0, (command, done.stderr)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "psql" in ours and done.stdout.strip() != expected.strip():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.5)
                done = run(ours, env, tmp_path)
            pages.assert_printed(done.stdout, expected)


def run(command: str, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], env=env, cwd=folder, capture_output=True, text=True
    )


def test_every_setting_command_and_file_that_is_named_exists() -> None:
    text = "".join((ROOT / page).read_text() for page in (PAGE, "SECURITY.md"))
    known = {setting.metadata["variable"] for setting in Config.__dataclass_fields__.values()}
    assert set(re.findall(r"\bHUB_[A-Z_0-9]+\b", text)) <= known
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / PAGE).read_text()):
        assert (ROOT / "docs" / link).exists(), link
