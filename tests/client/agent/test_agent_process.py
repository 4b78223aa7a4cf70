"""The agent as a process, towards a real hub: what arrives, and what no kill or outage can cost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from telemetry_client.agent.transform import to_snapshot
from telemetry_client.queue import TelemetryQueue
from tests.client.agent.conftest import Agent, LocalHub, clean_environment
from tests.client.agent.messages import SNAPSHOT
from tests.factories import at
from tools.hub_process import is_running, wait_until

MakeAgent = Callable[..., Agent]
COMMAND_LINE = "telemetry_client.cli"
ENQUEUED = "[telemetry-ws] Enqueued snapshot for HTTP POST"
LOG_LINES = (
    "[Daemon] Telemetry queue initialized",
    "[Daemon] Telemetry poster initialized",
    "[Daemon] Telemetry POST thread started",
    "[TelemetryPoster] POST loop started",
    "[telemetry-ws] Telemetry queue initialized for HTTP POST",
    ENQUEUED,
)
WAIT_SECONDS = 60
STOP_SECONDS = 15  # two on a quiet machine; what a stop does not wait for lasts 30


def test_snapshots_arrive_and_the_node_is_online(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    wait_until(lambda: len(hub.snapshots()) >= 3)
    node = hub.get("/api/v1/nodes/node-1")
    assert node["state"] == "online"
    assert None not in {name: node[name] for name in SNAPSHOT if name in node}.values()
    assert agent.stop()[0] == 0


def test_websocket_clients_and_the_hub_get_the_same(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    agent.wait_for(ENQUEUED)
    with connect(f"ws://127.0.0.1:{agent.port}") as one, connect(one_url(agent)) as other:
        messages = [json.loads(one.recv(timeout=WAIT_SECONDS)) for _ in range(3)]
        assert json.loads(other.recv(timeout=WAIT_SECONDS)) in messages
    assert list(messages[0]) == ["timestamp", "node_id", "metrics"]
    assert {"cpu", "memory", "disk", "network", "processes"} <= set(messages[0]["metrics"])
    sent = [to_snapshot(message) for message in messages]
    wait_until(lambda: {snapshot["timestamp"] for snapshot in sent} <= set(hub.snapshots()))
    (stored,) = hub.rows(
        "SELECT cpu_percent, memory_used_mb, disk_total_gb, network_tx_rate_mbps, uptime_seconds"
        " FROM telemetry_history WHERE node_id = 'node-1' AND timestamp = %s",
        sent[1]["timestamp"],
    )
    names = "cpu_percent memory_used_mb disk_total_gb network_tx_rate_mbps uptime_seconds".split()
    assert stored == pytest.approx([sent[1][name] for name in names])


def test_log_lines_are_those_that_operators_look_for(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    for line in LOG_LINES:
        agent.wait_for(line)
    assert "Traceback" not in agent.log


def test_an_outage_costs_nothing_and_nothing_is_stored_twice(
    hub: LocalHub, make_agent: MakeAgent
) -> None:
    hub.stop()
    agent = make_agent(hub.url)
    agent.wait_for(ENQUEUED, times=5)
    agent.wait_for("the hub does not accept telemetry now: connection_error")
    hub.start()
    agent.wait_for("the hub accepts telemetry again")
    hub.stop()
    agent.wait_for(ENQUEUED, times=agent.logged(ENQUEUED) + 5)
    hub.start()
    agent.wait_for("the hub accepts telemetry again", times=2)
    agent.stop()
    arrived, left = hub.snapshots(), agent.queued()
    assert len(arrived) == len(set(arrived))
    assert not set(arrived) & set(left)
    assert len(arrived) + len(left) == agent.logged(ENQUEUED) >= 10


def test_a_killed_collector_is_replaced(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    agent.wait_for(ENQUEUED)
    (first,) = agent.collectors()
    os.kill(first, signal.SIGKILL)
    agent.wait_for("The collector ended (signal 9)")
    wait_until(lambda: agent.collectors() not in ([], [first]))
    with_new = len(hub.snapshots())
    wait_until(lambda: len(hub.snapshots()) >= with_new + 3)
    with connect(one_url(agent)) as client:
        assert json.loads(client.recv(timeout=WAIT_SECONDS))["node_id"] == "node-1"


def test_a_killed_agent_leaves_no_collector_and_loses_nothing(
    hub: LocalHub, make_agent: MakeAgent
) -> None:
    hub.stop()
    agent = make_agent(hub.url)
    agent.wait_for(ENQUEUED, times=3)
    (collector,) = agent.collectors()
    os.kill(agent.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(collector))
    waiting = agent.queued()
    assert len(waiting) == agent.logged(ENQUEUED) >= 3
    agent.end_leases()
    hub.start()
    make_agent(hub.url)
    wait_until(lambda: set(waiting) <= set(hub.snapshots()))


def test_an_emergency_drain_empties_the_queue_of_a_stopped_agent(
    hub: LocalHub, make_agent: MakeAgent
) -> None:
    hub.stop()
    agent = make_agent(hub.url)
    agent.wait_for(ENQUEUED, times=3)
    agent.stop()
    agent.end_leases()
    waiting = agent.queued()
    hub.start()
    path = str(agent.queue)
    drain = run_agent("queue", "drain", "--path", path, "--url", hub.url, module=COMMAND_LINE)
    assert drain.returncode == 0, drain.stderr
    assert agent.queued() == []
    assert hub.snapshots() == waiting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_soon(number: int, hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    wait_until(lambda: len(hub.snapshots()) >= 2)
    collectors = agent.collectors()
    status, seconds = agent.stop(number)
    assert status == 0
    assert seconds < STOP_SECONDS
    assert not any(map(is_running, collectors))
    assert "Traceback" not in agent.log
    assert "ERROR" not in agent.log


def test_it_stops_soon_while_it_posts_to_a_slow_hub(hub: LocalHub, make_agent: MakeAgent) -> None:
    hub.delay_seconds = 30
    agent = make_agent(hub.url)
    wait_until(lambda: hub.pushes > 0)
    agent.wait_for(ENQUEUED, times=3)
    status, seconds = agent.stop()
    assert status == 0
    assert seconds < STOP_SECONDS
    assert len(agent.queued()) == agent.logged(ENQUEUED), "what was not acknowledged is still there"


def test_it_stops_soon_though_its_collector_hangs(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    agent.wait_for(ENQUEUED)
    (collector,) = agent.collectors()
    os.kill(collector, signal.SIGSTOP)
    status, seconds = agent.stop()
    assert status == 0
    assert seconds < STOP_SECONDS
    assert not is_running(collector)


def test_it_stops_at_once_before_it_has_begun(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    agent.wait_for("[Daemon] Telemetry POST thread started")
    status, seconds = agent.stop()
    assert status == 0
    assert seconds < STOP_SECONDS


def test_a_queue_that_cannot_be_used_is_said_and_snapshots_arrive_all_the_same(
    hub: LocalHub, make_agent: MakeAgent
) -> None:
    agent = make_agent(hub.url, "--queue=/dev/null/queue.db")
    wait_until(lambda: len(hub.snapshots()) >= 5)
    assert agent.logged("ERROR [telemetry-ws] Snapshots are kept in memory") == 1
    assert agent.logged("ERROR [TelemetryPoster] The queue fails: /dev/null/queue.db") == 1
    assert "[Daemon] Telemetry queue initialized" not in agent.log
    assert agent.stop()[0] == 0
    assert len(hub.snapshots()) == len(set(hub.snapshots()))


def test_ends_of_jobs_that_died_in_an_outage_arrive(
    hub: LocalHub, make_agent: MakeAgent, tmp_path: Path
) -> None:
    with TelemetryQueue(tmp_path / "spool.db") as spool:
        for status, seconds in (("running", -60), ("failed", -30)):
            spool.enqueue(
                {
                    "job_type": "backup",
                    "job_id": "backup-1",
                    "status": status,
                    "timestamp": at(seconds),
                }
            )
    make_agent(hub.url)
    wait_until(lambda: hub.get("/api/v1/jobs/backup-1").get("status") == "failed")


def test_the_spool_is_made_so_that_jobs_of_root_leave_theirs_with_the_agent(
    hub: LocalHub, make_agent: MakeAgent
) -> None:
    agent = make_agent(hub.url)
    wait_until(agent.spool.exists)


def test_a_port_that_is_taken_stops_nothing(hub: LocalHub, make_agent: MakeAgent) -> None:
    first = make_agent(hub.url)
    first.wait_for("Serving ws://")
    second = make_agent(hub.url, f"--ws-port={first.port}", "--node-id=node-2")
    second.wait_for(f"ws://127.0.0.1:{first.port} cannot be served")
    wait_until(lambda: len(hub.snapshots("node-2")) >= 2)
    assert first.log.count("Traceback") == second.log.count("Traceback") == 0


def test_queue_statistics_are_logged(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url)
    agent.wait_for("[TelemetryPoster] queue: ")
    assert re.search(r"queue: \d+ waiting.*, 0 dead, evicted 0, sent \d+", agent.log)


def test_the_token_is_sent_and_on_no_command_line(hub: LocalHub, make_agent: MakeAgent) -> None:
    agent = make_agent(hub.url, TELEMETRY_TOKEN="very-secret")
    wait_until(lambda: len(hub.snapshots()) >= 1)
    assert hub.tokens == {"Bearer very-secret"}
    for pid in (agent.pid, *agent.collectors()):
        assert not any("very-secret" in part for part in psutil.Process(pid).cmdline())
    assert "very-secret" not in agent.log


def test_once_prints_one_whole_snapshot() -> None:
    answer = run_agent("--once", "--node-id=laptop")
    snapshot = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert set(snapshot) == set(SNAPSHOT)
    assert snapshot["node_id"] == "laptop"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--url", "nonsense"], "must look like http://host:port"),
        (["--node-id", "a/b"], "contains a slash"),
        (["--node-id", "x" * 256], "is not 1 to 255 characters long"),
        (["--interval", "0"], "0.1 and 3600"),
        (["--ws-port", "65536"], "is not a port"),
    ],
)
def test_a_bad_setting_is_refused_with_a_sentence(arguments: list[str], sentence: str) -> None:
    answer = run_agent(*arguments)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psutil'] = sys.modules['websockets'] = None\n"
        "from telemetry_client.agent import main; sys.exit(main([]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr == (
        "telemetry-agent: this command needs psutil and websockets: "
        "pip install 'telemetry-client[agent]'\n"
    )


def test_the_self_test_passes_and_names_its_sections() -> None:
    answer = run_agent(module="telemetry_client.agent.selftest")
    assert answer.returncode == 0, answer.stdout
    sections = re.findall(r"=== (.*) ===", answer.stdout)
    assert sections == ["Imports", "TelemetryQueue", "TelemetryPoster", "Integration"]
    assert answer.stdout.endswith("\nAll tests passed!\n")
    assert answer.stderr == ""


def test_the_self_test_fails_where_something_is_missing() -> None:
    code = (
        "import sys; sys.modules['psutil'] = None\n"
        "from telemetry_client.agent.selftest import main; sys.exit(main())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 1
    assert "FAILED  every module can be imported" in answer.stdout
    assert "All tests passed!" not in answer.stdout


def run_agent(
    *arguments: str, module: str = "telemetry_client.agent", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**clean_environment(), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def one_url(agent: Agent) -> str:
    return f"ws://127.0.0.1:{agent.port}"
