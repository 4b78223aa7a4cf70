"""Answers are packed where the client takes that, with tags that tell both forms apart."""

from __future__ import annotations

import gzip

import pytest
from flask.testing import FlaskClient

from app.web import conditional
from tests.factories import at, make_body
from tests.tokens import bearer, make_token

CHART = "/api/v1/telemetry/history/job-1"
LARGE = [
    CHART,
    f"{CHART}?points=10",
    f"{CHART}?format=columns",
    f"{CHART}?format=csv",
    CHART.removeprefix("/api/v1"),
    "/api/v1/jobs",
    "/api/v1/jobs/job-1/events",
    "/api/v1/machines",
    "/api/v1/nodes/node-1/history?metrics=cpu_percent",
    "/api/v1/openapi.json",
]
GZIP = {"Accept-Encoding": "gzip"}
LEAST_BYTES = conditional.LEAST_BYTES


@pytest.fixture(autouse=True)
def _pushed(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditional, "LEAST_BYTES", 100)  # else each list would need many rows
    updates = [
        {"job_id": "job-1", "job_type": "backup", "vm_name": "web01"}
        | make_body(timestamp=at(seconds), transfer_speed_bps=seconds + 300)
        for seconds in range(-200, 0, 5)
    ]
    snapshots = [
        {"node_id": "node-1", "cpu_percent": 1.5, "timestamp": at(second)}
        for second in range(-60, 0)
    ]
    for path, body in (("batch", {"updates": updates}), ("snapshot", {"snapshots": snapshots})):
        assert client.post(f"/api/v1/telemetry/{path}", json=body).status_code == 200


def test_an_answer_is_packed_where_that_is_accepted(client: FlaskClient) -> None:
    for url in LARGE:
        plain = client.get(url)
        packed = client.get(url, headers={"Accept-Encoding": "br, gzip;q=0.8"})
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == plain.data
        for answer in (plain, packed):
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert int(answer.headers["Content-Length"]) == len(answer.data)
            assert answer.content_type == plain.content_type


def test_a_head_says_what_a_get_would_send(client: FlaskClient) -> None:
    for url in LARGE:
        for headers in ({}, GZIP):
            got, head = client.get(url, headers=headers), client.head(url, headers=headers)
            assert head.data == b""
            for name in ("Content-Length", "Content-Encoding", "Content-Type", "ETag", "Vary"):
                assert head.headers.get(name) == got.headers.get(name), name


def test_the_two_forms_have_tags_of_their_own_and_either_spares_an_answer(
    client: FlaskClient,
) -> None:
    for url in LARGE:
        plain = client.get(url).headers["ETag"]
        packed = client.get(url, headers=GZIP).headers["ETag"]
        assert plain.startswith('"')
        assert packed == f'{plain[:-1]}-gzip"'
        for held in (plain, packed, f'"other", W/{packed}'):
            for headers in ({}, GZIP):
                answer = client.get(url, headers={**headers, "If-None-Match": held})
                assert (answer.status_code, answer.data) == (304, b"")
                # That of what the client has, so that it knows which of its copies is meant.
                assert answer.headers["ETag"] == (plain if held == plain else packed)
                assert answer.headers["Vary"] == "Accept-Encoding"
                assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("held", ["*", '"{plain}", "{plain}-gzip"'])
def test_who_has_both_forms_is_told_of_the_one_that_would_be_sent(
    client: FlaskClient, held: str
) -> None:
    plain = client.get(CHART).headers["ETag"]
    held = held.format(plain=plain.strip('"'))
    for headers, tag in (({}, plain), (GZIP, f'{plain[:-1]}-gzip"')):
        answer = client.get(CHART, headers={**headers, "If-None-Match": held})
        assert (answer.status_code, answer.headers["ETag"]) == (304, tag)


def test_an_old_tag_of_either_form_gets_the_new_answer(client: FlaskClient) -> None:
    held = client.get(CHART, headers=GZIP).headers["ETag"]
    body = make_body(timestamp=at(0), transfer_speed_bps=5)
    client.post("/api/v1/telemetry/backup/job-1", json=body)
    answer = client.get(CHART, headers={**GZIP, "If-None-Match": held})
    assert answer.status_code == 200
    assert gzip.decompress(answer.data) == client.get(CHART).data


def test_a_weak_tag_is_that_of_both_forms(client: FlaskClient) -> None:
    plain = client.get("/api/v1/nodes")
    packed = client.get("/api/v1/nodes", headers=GZIP)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert packed.headers["ETag"].startswith("W/")


def test_what_a_client_takes(client: FlaskClient) -> None:
    accepted = {
        "gzip;q=0": False,
        "gzip;q=0, *": False,
        "*": True,
        "*;q=0": False,
        "identity": False,
        "br, zstd": False,
        "": False,
        "GZIP": True,
        "gzip;q=nonsense": False,
    }
    for url in (CHART, f"{CHART}?format=columns"):  # the short way and the long
        for text, is_compressed in accepted.items():
            answer = client.get(url, headers={"Accept-Encoding": text})
            assert (answer.headers.get("Content-Encoding") == "gzip") is is_compressed, text


def test_a_short_answer_is_not_packed(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditional, "LEAST_BYTES", LEAST_BYTES)
    answer = client.get("/api/v1/jobs/summary", headers=GZIP)
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Vary"] == "Accept-Encoding"  # with more in it, it would be
    assert not answer.headers["ETag"].endswith('-gzip"')


def test_an_answer_with_secrets_beside_what_others_choose_stays_plain(
    guarded: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How well it packs would tell what is in it."""
    monkeypatch.setattr(conditional, "LEAST_BYTES", 1)
    answer = guarded.get("/api/v1/session", headers={**bearer(make_token()), **GZIP})
    assert answer.get_json()["name"] == "a reader"
    assert "Content-Encoding" not in answer.headers


def test_an_error_is_not_packed(client: FlaskClient) -> None:
    answer = client.get("/api/v1/jobs/nobody", headers=GZIP)
    assert answer.status_code == 404
    assert "Content-Encoding" not in answer.headers
    assert answer.get_json()["status"] == 404


def test_equal_answers_are_packed_to_equal_bytes(client: FlaskClient) -> None:
    """A strong tag promises that; a header with the time of packing would break it."""
    assert client.get(CHART, headers=GZIP).data == client.get(CHART, headers=GZIP).data
    assert client.get(CHART, headers=GZIP).data[4:8] == bytes(4)  # no time (RFC 1952)
