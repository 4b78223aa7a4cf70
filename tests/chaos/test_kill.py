"""Whatever is killed, under load: nothing acknowledged is lost, nothing is stored twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import ROOT
from tests.chaos.conftest import Run
from tests.chaos.scenario import lasting, within
from tools.hub_process import HubProcess, is_running, kill, wait_until

ROUNDS = int(lasting(5, 2))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """One hub for all: each test leaves it running."""
    with HubProcess(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def test_engine_killed_under_load(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        for _ in range(ROUNDS):
            pid = hub.engine()["pid"]
            kill(pid)
            scenario.recover(time.monotonic())
            assert hub.engine()["pid"] != pid
            scenario.senders.keep_going()


def test_web_worker_killed_under_load(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        for _ in range(ROUNDS):
            kill(hub.web_worker())
            scenario.recover(time.monotonic())
            scenario.senders.keep_going()


def test_hub_killed_under_load(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        for _ in range(ROUNDS):
            hub.kill()
            ended = time.monotonic()
            hub.start()
            scenario.recover(ended)
            scenario.senders.keep_going()


def test_everything_ends_with_the_hub(hub: HubProcess) -> None:
    children = hub.children()
    assert len(children) >= 3, children  # engine, tasks, web worker
    hub.kill()
    wait_until(lambda: not any(map(is_running, children)))
    hub.start()


def test_silent_engine_is_answered_with_503(hub: HubProcess) -> None:
    pid = hub.engine()["pid"]
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    first = hub.request("POST", "/api/v1/telemetry/backup/a", {"status": "running"})
    assert first[0] == 503
    assert int(first[1]["retry-after"]) >= 1
    began = time.monotonic()
    assert hub.push("a") == 503
    assert time.monotonic() - began < within(0.5), "once it is known, it is told at once"
    began = time.monotonic()
    assert hub.request("GET", "/api/v1/health")[0] == 503
    assert time.monotonic() - began < within(2)
    subprocess.run(["kill", "-CONT", str(pid)], check=True)
    wait_until(hub.is_healthy)
    assert hub.push("a") == 200


def test_stop_is_graceful(hub: HubProcess, chaos: Run) -> None:
    with chaos(hub) as scenario:
        assert hub.stop() == 0
        ended = time.monotonic()
        hub.start()
        scenario.recover(ended)


def test_second_hub_is_refused_with_a_sentence(hub: HubProcess, tmp_path: Path) -> None:
    same_port = _serve({**hub.env, "HUB_DATA_DIR": str(tmp_path / "other")})
    assert same_port.returncode == 1
    assert f"Port {hub.port} on 127.0.0.1 is in use" in same_port.stderr
    same_data = _serve({**hub.env, "HUB_PORT": str(HubProcess(tmp_path).port)})
    assert same_data.returncode == 1
    assert "in use by another hub" in same_data.stderr
    assert hub.is_healthy()


def test_foreign_address_is_refused_with_a_sentence(tmp_path: Path) -> None:
    refused = _serve({**HubProcess(tmp_path).env, "HUB_HOST": "0.0.0.0"})
    assert refused.returncode == 1
    assert "HUB_HOST is 0.0.0.0" in refused.stderr


def test_bad_setting_is_refused_with_a_sentence(tmp_path: Path) -> None:
    refused = _serve({**HubProcess(tmp_path).env, "HUB_PORT": "eighty"})
    assert refused.returncode == 1
    assert refused.stderr.strip() == "hub: HUB_PORT is 'eighty': it must be a whole number."


def _serve(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
