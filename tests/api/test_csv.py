"""Lists and charts as CSV: at addresses of their own, and with `format=csv` for older clients."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.factories import make_body

JOB = "/telemetry/history/job-1"


@pytest.mark.parametrize(
    ("address", "older"),
    [
        ("/jobs.csv?status=running&limit=1", "/jobs?status=running&limit=1&format=csv"),
        ("/jobs/job-1/runs.csv", "/jobs/job-1/runs?format=csv"),
        ("/jobs/job-1/updates.csv?run=1", "/jobs/job-1/updates?run=1&format=csv"),
        ("/nodes.csv", "/nodes?format=csv"),
        ("/attention.csv", "/attention?format=csv"),
        ("/series.csv", "/series?format=csv"),
        (f"{JOB}/chart.csv?points=10", f"{JOB}?points=10&format=csv"),
    ],
)
def test_both_addresses_answer_alike(client: FlaskClient, address: str, older: str) -> None:
    for number in (1, 2):
        client.post(f"/api/v1/telemetry/backup/job-{number}", json=make_body())
    answer, same = client.get(f"/api/v1{address}"), client.get(f"/api/v1{older}")
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    assert answer.data == same.data
    held = client.get(f"/api/v1{address}", headers={"If-None-Match": answer.headers["ETag"]})
    assert held.status_code == 304


def test_the_next_page_is_at_the_same_address(client: FlaskClient) -> None:
    for number in (1, 2):
        client.post(f"/api/v1/telemetry/backup/job-{number}", json=make_body())
    first = client.get("/api/v1/jobs.csv?limit=1")
    query = first.headers["Link"].partition("<")[2].partition(">")[0]
    second = client.get(f"/api/v1/jobs.csv{query}")
    assert {page.text.splitlines()[1].split(",")[1] for page in (first, second)} == {
        *("job-1", "job-2")
    }
    assert "Link" not in second.headers


def test_its_lists_may_be_longer_than_those_in_json(client: FlaskClient) -> None:
    assert client.get("/api/v1/jobs.csv?limit=10000").status_code == 200
    assert client.get("/api/v1/jobs.csv?limit=10001").status_code == 400
    assert client.get("/api/v1/jobs?limit=501").status_code == 400


def test_another_format_is_refused_and_named(client: FlaskClient) -> None:
    answer = client.get("/api/v1/jobs.csv?format=json")
    assert answer.status_code == 400
    assert answer.get_json()["errors"] == {"format": ["Must be one of: csv."]}


def test_an_unknown_job_is_a_404(client: FlaskClient) -> None:
    for address in ("/jobs/no/runs.csv", "/jobs/no/updates.csv", "/telemetry/history/no/chart.csv"):
        assert client.get(f"/api/v1{address}").status_code == 404, address
