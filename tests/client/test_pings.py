"""Programs that know Healthchecks ping a hub, as docs/senders.md says."""

from __future__ import annotations

import http.client
import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import pages
from tests.client.tools import need
from tools.hub_process import HubProcess


def job(hub: HubProcess, job_id: str, run: int = 1) -> dict[str, Any]:
    status, _, found = hub.request("GET", f"/api/v1/jobs/{job_id}?run={run}")
    assert status == 200
    return dict(found)


def outputs(hub: HubProcess, job_id: str) -> list[str]:
    _, _, found = hub.request("GET", f"/api/v1/jobs/{job_id}/events")
    return [event["evidence"].get("output", "") for event in found["items"]]


@pytest.mark.parametrize("is_there", [True, False], ids=["completes", "fails"])
def test_borgmatic_reports_its_run(real_hub: HubProcess, tmp_path: Path, is_there: bool) -> None:
    """Debian's release takes the section of the page below `hooks`."""
    need("borgmatic", "borg")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"HOME": str(tmp_path), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    repository = tmp_path / "repository"
    if is_there:
        create = ["borg", "init", "-e", "none", str(repository)]
        subprocess.run(create, env=env, check=True, timeout=60)
    job_id = f"borgmatic-{is_there}"
    (section,) = pages.blocks("docs/senders.md", "yaml", section="Tools that ping")
    section = section.replace("localhost:8082", f"127.0.0.1:{real_hub.port}")
    settings = tmp_path / "borgmatic.yaml"
    settings.write_text(
        f"location:\n    source_directories: [{settings}]\n    repositories: [{repository}]\n"
        f"hooks:\n{textwrap.indent(section.replace('nightly-vm7', job_id), '    ')}"
    )
    command = ["borgmatic", "create", "-c", str(settings)]
    done = subprocess.run(command, env=env, check=False, timeout=60, capture_output=True)
    assert (done.returncode == 0) is is_there, done.stderr
    found = job(real_hub, job_id)
    assert found["duration_seconds"] > 0
    if is_there:
        assert (found["status"], found["error_message"]) == ("completed", None)
    else:
        assert found["status"] == "failed"
        assert str(repository) in found["error_message"]
        assert str(repository) in outputs(real_hub, job_id)[-1]


def test_runitor_reports_its_runs(real_hub: HubProcess) -> None:
    """What it sends, by its source: it posts, and shortens its output to what the hub keeps."""
    rid = str(uuid4())
    said = b"copying\n[runitor] exit status 3"
    connection = http.client.HTTPConnection("127.0.0.1", real_hub.port, timeout=30)
    for path, body in (
        (f"/ping/runitor/start?create=1&rid={rid}", b""),
        (f"/ping/runitor/3?create=1&rid={rid}", said),
    ):
        headers = {"Content-Type": "text/plain", "User-Agent": "runitor/v1.4.1 (linux-amd64)"}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"OK")
        assert int(answer.headers["Ping-Body-Limit"]) >= len(said)
    connection.close()
    found = job(real_hub, "runitor")
    assert (found["status"], found["runs"]) == ("failed", 1)
    assert found["error_message"] == "Exited with 3: copying\n[runitor] exit status 3"
    assert outputs(real_hub, "runitor") == ["", said.decode()]


def test_head_has_no_body(real_hub: HubProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", real_hub.port, timeout=30)
    for _ in range(2):  # a body would be taken for the next answer
        connection.request("HEAD", "/ping/by-head/start")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()
    assert job(real_hub, "by-head")["runs"] == 2
