"""`wsgi:app` under another WSGI server: the same API, without the hub's own web server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT, Config
from app.database.pool import Database
from tests.factories import at, make_body
from tools.hub_process import database_settings, free_port, wait_until

PUSH = "/api/v1/telemetry/backup/job-1"
CHART = "/telemetry/history/job-1"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def port(config: Config, database: Database, tmp_path: Path) -> Iterator[int]:
    """Where gunicorn listens; it ends in order."""
    port = free_port()
    command = ["gunicorn", "wsgi:app", "--worker-class", "gthread", "--threads", "4"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--bind", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env={**os.environ, **database_settings(config)},
            stderr=log,
        )
    try:
        wait_until(lambda: is_healthy(port))
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def ask(
    port: int, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    text = None if body is None else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, text, {**(JSON if body else {}), **named})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def is_healthy(port: int) -> bool:
    try:
        return ask(port, "GET", "/api/v1/health")[0] == 200
    except OSError:
        return False


def test_pushes_and_charts(port: int) -> None:
    status, headers, content = ask(port, "POST", PUSH, make_body(timestamp=at(-5)))
    assert (status, json.loads(content)["accepted"]) == (200, True)
    assert headers["X-Request-ID"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    again = ask(port, "POST", PUSH, make_body(timestamp=at(-5)))
    assert json.loads(again[2])["duplicate"]

    status, headers, content = ask(port, "GET", CHART)
    assert (status, json.loads(content)["snapshots"]) == (200, 1)
    unchanged = ask(port, "GET", CHART, if_none_match=headers["ETag"])
    assert (unchanged[0], unchanged[2]) == (304, b"")


def test_refusals(port: int) -> None:
    status, headers, content = ask(port, "POST", PUSH, make_body(status="asleep"))
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert list(json.loads(content)["errors"]) == ["status"]
    assert ask(port, "GET", "/api/v1/jobs", host="other.example")[0] == 400
