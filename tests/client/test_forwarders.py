"""The configurations of docs/forwarders.md carry a line of a log to a hub."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import pages
from tests.client.tools import need
from tools.hub_process import HubProcess, wait_until

PAGE = "docs/forwarders.md"


def line(job_id: str, status: str, **fields: Any) -> str:
    now = datetime.now(UTC).isoformat()
    update = {"job_type": "backup", "job_id": job_id, "status": status, "timestamp": now, **fields}
    return json.dumps(update)


def lines(job_id: str) -> list[str]:
    """What a job logs, with a line among it that is no update."""
    return [
        line(job_id, "running", new_run=True, bytes_transferred=7, _HOSTNAME="added by a shipper"),
        "what is this?",
        line(job_id, "completed"),
    ]


def has_arrived(hub: HubProcess, job_id: str) -> bool:
    status, _, job = hub.request("GET", f"/api/v1/jobs/{job_id}")
    return status == 200 and (job["status"], job["bytes_transferred"]) == ("completed", 7)


def address_of(hub: HubProcess) -> str:
    return f"127.0.0.1:{hub.port}"


def block(language: str, section: str, hub: HubProcess) -> str:
    """The first block of a program's section, for this hub."""
    text = pages.blocks(PAGE, language, section=section)[0]
    assert "localhost:8082" in text
    return text.replace("localhost:8082", address_of(hub))


@contextmanager
def syslog_ng(folder: Path, settings: str) -> Iterator[Path]:
    """A daemon of its own; the socket that takes messages."""
    log = folder / "log"
    (folder / "syslog-ng.conf").write_text(
        f'@version: 3.38\nsource s_src {{ unix-dgram("{log}"); }};\n{settings}'
    )
    files = {"-f": "syslog-ng.conf", "-R": "persist", "-p": "pid", "-c": "control"}
    places = [part for option, name in files.items() for part in (option, str(folder / name))]
    daemon = subprocess.Popen(["syslog-ng", "-F", "--no-caps", "-e", *places])
    try:
        wait_until(log.exists, 30)
        yield log
    finally:
        daemon.terminate()
        daemon.wait(30)


def test_syslog_ng_forwards_lines(real_hub: HubProcess, tmp_path: Path) -> None:
    need("syslog-ng")
    settings = block("conf", "syslog-ng", real_hub)
    settings = settings.replace("disk-buffer(", f'disk-buffer(dir("{tmp_path}") ')
    settings = settings.replace("batch-timeout(1000)", "batch-timeout(50)")
    with (
        syslog_ng(tmp_path, settings) as log,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.connect(str(log))
        for text in lines("by-syslog-ng"):
            sender.send(f"<13>Dec  1 12:00:00 telemetry: {text}".encode())
        sender.send(f"<13>Dec  1 12:00:00 other: {line('not-meant', 'running')}".encode())
        wait_until(lambda: has_arrived(real_hub, "by-syslog-ng"), 30)
    assert real_hub.request("GET", "/api/v1/jobs/not-meant")[0] == 404


def test_the_script_of_rsyslog_confirms_what_is_stored(
    real_hub: HubProcess, tmp_path: Path
) -> None:
    need("curl")
    script = block("bash", "rsyslog", real_hub)
    sent = "".join(f"{text}\n" for text in lines("by-rsyslog"))
    done = run_script(script, sent)
    assert done == ["OK"] * 4  # the first: it is ready
    assert has_arrived(real_hub, "by-rsyslog")


def test_the_script_of_rsyslog_confirms_nothing_that_is_not(tmp_path: Path) -> None:
    need("curl")
    (script,) = pages.blocks(PAGE, "bash", section="rsyslog")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ready, answer = run_script(script.replace("localhost:8082", address), "{}\n")
    assert (ready, answer.startswith("not stored: curl")) == ("OK", True)


def run_script(script: str, lines_in: str) -> list[str]:
    """What it tells rsyslog, line by line."""
    env = {name: value for name, value in os.environ.items() if name != "SHA_API_URL"}
    done = subprocess.run(
        ["bash", "-c", script], input=lines_in, env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(("program", "path"), [("Vector", "batch"), ("Telegraf", "snapshot")])
def test_what_is_not_run_can_be_read(program: str, path: str) -> None:
    (text,) = pages.blocks(PAGE, "toml", section=program)
    settings = tomllib.loads(text)
    sink = settings["sinks"]["hub"] if program == "Vector" else settings["outputs"]["http"][0]
    assert f"http://localhost:8082/api/v1/telemetry/{path}" in (sink.get("uri"), sink.get("url"))
