"""Ids of jobs that were given none: none of them is used twice, and the hub accepts each."""

from __future__ import annotations

import re
import socket
import time

import pytest

from telemetry_client import new_job_id
from telemetry_client.wire.cleaning import job_id_problem
from telemetry_client.wire.names import machine_name


@pytest.fixture(autouse=True)
def _one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5)


def test_jobs_that_begin_in_one_second_have_different_ids() -> None:
    ids = {new_job_id("backup", "vm1") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"backup-vm1-1800000000-[0-9a-f]{8}", job_id) for job_id in ids)


def test_machines_that_differ_in_their_domain_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for host in ("db.eu", "db.us", "db.us."):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        names.append(machine_name())
        assert new_job_id("backup").startswith(f"backup-{names[-1]}-1800000000-")
    assert names == ["db.eu", "db.us", "db.us"]


def test_a_machine_without_a_name_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert new_job_id("backup").startswith("backup-localhost-")


@pytest.mark.parametrize(
    "name", ["a/b", "x" * 300, "tab\there", "u\u0308" * 200, " ", ".", "\ud800"]
)
def test_any_name_makes_an_id_that_the_hub_accepts(name: str) -> None:
    job_id = new_job_id("backup", name)
    assert job_id_problem(job_id) is None
    assert len({new_job_id("backup", name) for _ in range(10)}) == 10, "the random part is whole"
