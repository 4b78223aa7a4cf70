"""Answers are compressed if the client accepts it, and each encoding has its own tag."""

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
    monkeypatch.setattr(conditional, "LEAST_BYTES", 100)  # otherwise each list would need many rows
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


def test_answer_is_compressed_if_the_client_accepts_it(client: FlaskClient) -> None:
    for url in LARGE:
        plain = client.get(url)
        compressed = client.get(url, headers={"Accept-Encoding": "br, gzip;q=0.8"})
        assert "Content-Encoding" not in plain.headers
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(compressed.data) == plain.data
        for answer in (plain, compressed):
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert int(answer.headers["Content-Length"]) == len(answer.data)
            assert answer.content_type == plain.content_type


def test_head_has_the_headers_of_get(client: FlaskClient) -> None:
    for url in LARGE:
        for headers in ({}, GZIP):
            got, head = client.get(url, headers=headers), client.head(url, headers=headers)
            assert head.data == b""
            for name in ("Content-Length", "Content-Encoding", "Content-Type", "ETag", "Vary"):
                assert head.headers.get(name) == got.headers.get(name), name


def test_each_encoding_has_its_own_tag_and_either_gives_304(
    client: FlaskClient,
) -> None:
    for url in LARGE:
        plain = client.get(url).headers["ETag"]
        compressed = client.get(url, headers=GZIP).headers["ETag"]
        assert plain.startswith('"')
        assert compressed == f'{plain[:-1]}-gzip"'
        for held in (plain, compressed, f'"other", W/{compressed}'):
            for headers in ({}, GZIP):
                answer = client.get(url, headers={**headers, "If-None-Match": held})
                assert (answer.status_code, answer.data) == (304, b"")
                # The tag of the copy that the client has.
                assert answer.headers["ETag"] == (plain if held == plain else compressed)
                assert answer.headers["Vary"] == "Accept-Encoding"
                assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("held", ["*", '"{plain}", "{plain}-gzip"'])
def test_client_with_both_encodings_gets_the_tag_of_the_requested_one(
    client: FlaskClient, held: str
) -> None:
    plain = client.get(CHART).headers["ETag"]
    held = held.format(plain=plain.strip('"'))
    for headers, tag in (({}, plain), (GZIP, f'{plain[:-1]}-gzip"')):
        answer = client.get(CHART, headers={**headers, "If-None-Match": held})
        assert (answer.status_code, answer.headers["ETag"]) == (304, tag)


def test_outdated_tag_gets_the_new_answer(client: FlaskClient) -> None:
    held = client.get(CHART, headers=GZIP).headers["ETag"]
    body = make_body(timestamp=at(0), transfer_speed_bps=5)
    client.post("/api/v1/telemetry/backup/job-1", json=body)
    answer = client.get(CHART, headers={**GZIP, "If-None-Match": held})
    assert answer.status_code == 200
    assert gzip.decompress(answer.data) == client.get(CHART).data


def test_weak_tag_is_the_same_for_both_encodings(client: FlaskClient) -> None:
    plain = client.get("/api/v1/nodes")
    compressed = client.get("/api/v1/nodes", headers=GZIP)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.headers["ETag"] == plain.headers["ETag"]
    assert compressed.headers["ETag"].startswith("W/")


def test_accept_encoding(client: FlaskClient) -> None:
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
    for url in (CHART, f"{CHART}?format=columns"):
        for text, is_compressed in accepted.items():
            answer = client.get(url, headers={"Accept-Encoding": text})
            assert (answer.headers.get("Content-Encoding") == "gzip") is is_compressed, text


def test_short_answer_is_not_compressed(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditional, "LEAST_BYTES", LEAST_BYTES)
    answer = client.get("/api/v1/jobs/summary", headers=GZIP)
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Vary"] == "Accept-Encoding"  # a longer one would be compressed
    assert not answer.headers["ETag"].endswith('-gzip"')


def test_session_is_never_compressed(guarded: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compressed length would leak its secrets."""
    monkeypatch.setattr(conditional, "LEAST_BYTES", 1)
    answer = guarded.get("/api/v1/session", headers={**bearer(make_token()), **GZIP})
    assert answer.get_json()["name"] == "a reader"
    assert "Content-Encoding" not in answer.headers


def test_error_is_not_compressed(client: FlaskClient) -> None:
    answer = client.get("/api/v1/jobs/unknown", headers=GZIP)
    assert answer.status_code == 404
    assert "Content-Encoding" not in answer.headers
    assert answer.get_json()["status"] == 404


def test_equal_answers_compress_to_equal_bytes(client: FlaskClient) -> None:
    """A strong tag promises equal bytes; a timestamp in the gzip header would break that."""
    assert client.get(CHART, headers=GZIP).data == client.get(CHART, headers=GZIP).data
    assert client.get(CHART, headers=GZIP).data[4:8] == bytes(4)  # no time (RFC 1952)
