"""What the address and the body of a ping say."""

from __future__ import annotations

import pytest

from app.domain.updates import Update
from app.errors import InvalidInput
from app.schemas.pings import KEPT_BYTES, PingRequest, last_words, make_update, read_ping
from app.web.pings import take_token
from app.web.request import Request
from tests.tokens import make_token

RUN = "123e4567-e89b-12d3-a456-426614174000"


def update(path: str, query: str = "", body: bytes = b"") -> Update:
    return make_update(read_ping(path, query), body)


@pytest.mark.parametrize(
    ("path", "job_id", "status"),
    [
        ("nightly", "nightly", "completed"),
        ("nightly/", "nightly", "completed"),
        ("/nightly//", "nightly", "completed"),
        ("nightly/0", "nightly", "completed"),
        ("nightly/00", "nightly", "completed"),
        ("nightly/start", "nightly", "running"),
        ("nightly//start/", "nightly", "running"),
        ("nightly/fail", "nightly", "failed"),
        ("nightly/1", "nightly", "failed"),
        ("nightly/255", "nightly", "failed"),
        ("nightly/256", "nightly", "failed"),  # Windows has codes of 32 bits
        ("nightly/3221225477", "nightly", "failed"),
        ("nightly/-1", "nightly", "failed"),
        (RUN, RUN, "completed"),
        ("101", "101", "completed"),  # an id, as nothing comes before it
        ("101/0", "101", "completed"),
        ("0/1", "0", "failed"),
        ("db.example.com/fail", "db.example.com", "failed"),
        ("Prüfung 😀/start", "Prüfung 😀", "running"),
    ],
)
def test_path_names_a_job_and_its_status(path: str, job_id: str, status: str) -> None:
    read = update(path)
    assert (read.job_id, read.status, read.job_type) == (job_id, status, "backup")
    assert (read.timestamp, read.is_telemetry) == (None, True)


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("", "", "path"),
        ("//", "", "path"),
        ("a/start/b", "", "path"),
        ("start", "", "job_id"),
        ("fail", "", "job_id"),
        ("log/1", "", "job_id"),
        (" a", "", "job_id"),
        ("a\x01", "", "job_id"),
        ("x" * 256, "", "job_id"),
        ("a/strat", "", "signal"),
        ("a/Start", "", "signal"),
        ("a/1.5", "", "signal"),
        ("a/12345678901", "", "signal"),
        ("a/١", "", "signal"),
        ("a", "job_type=Backup", "job_type"),
        ("a", "job_type=batch", "job_type"),
        ("a", "job_type=restore/start", "job_type"),  # a program that adds to the end of an address
        ("a", "rid=1", "rid"),
        ("a", f"rid={{{RUN}}}", "rid"),
        ("a", f"rid={RUN}0", "rid"),
    ],
)
def test_bad_address_is_refused_naming_its_part(path: str, query: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_ping(path, query)
    assert list(refusal.value.errors) == [field]
    assert str(refusal.value).startswith(f"{field}: ")


def test_query_names_type_and_run_and_others_are_ignored() -> None:
    query = f"create=1&job_type=restore&rid={RUN.upper()}&x=&rid=2"
    assert read_ping("a/7", query) == PingRequest("a", "7", "restore", RUN)
    assert read_ping("a", "rid=&job_type=") == PingRequest("a")


def test_only_a_start_announces_a_run_and_a_long_silence() -> None:
    start, end = update("a/start"), update("a")
    assert (start.is_start, start.interval * 3) == (True, 72 * 3600)
    assert (end.is_start, end.interval) == (False, 0)


def test_a_log_is_no_telemetry() -> None:
    log = update("a/log", f"rid={RUN}", b"half way")
    assert not log.is_telemetry
    assert log.ping is not None
    assert (log.ping.is_log, log.ping.output, log.run_name) == (True, "half way", RUN)


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("a/fail", b"", "The sender reported a failure."),
        ("a/3", b" \n", "Exited with 3."),
        ("a/3", b"1\n2\n3\n4\n5\n6\n7\n", "Exited with 3: 3\n4\n5\n6\n7"),
        ("a/fail", b"x" * 3000, f"The sender reported a failure: {'x' * 1000}"),
    ],
)
def test_a_failure_says_what_the_job_said_last(path: str, body: bytes, error: str) -> None:
    assert update(path, body=body).fields == {"error_message": error}


def test_other_signals_are_no_errors() -> None:
    for path in ("a", "a/0", "a/start", "a/log"):
        assert update(path, body=b"warning: x").fields == {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b"\n done \n\n", "done"),
        (b"a\0b", "ab"),
        (b"\xff\xfeok", "\ufffd\ufffdok"),
        ("ü".encode() * 5_000, "ü" * 5_000),
        (b"x" + "ü".encode() * 5_000, "…" + "ü" * 5_000),
        ("ü".encode() * 5_000 + b"z", "…" + "ü" * 4_999 + "z"),
        (b"first" + b"x" * KEPT_BYTES, "…" + "x" * KEPT_BYTES),
    ],
)
def test_the_end_of_a_body_is_kept_as_text(body: bytes, words: str) -> None:
    assert last_words(body) == words


TOKEN = make_token("ingest")


@pytest.mark.parametrize(
    ("path", "rest", "is_taken"),
    [
        (f"/ping/{TOKEN}/a", "/ping/a", True),
        (f"/ping//{TOKEN}//a/start", "/ping///a/start", True),
        (f"/ping/{TOKEN}", "/ping/", True),
        (f"/ping/{TOKEN}/", "/ping/", True),
        (f"/ping/{TOKEN}/start", "/ping/start", True),  # is not a job with the token as its id
        ("/ping/a/start", "/ping/a/start", False),
        ("/ping/db.example.com/start", "/ping/db.example.com/start", False),
        (f"/ping/a/{TOKEN}", "/ping/a", True),
        (f"/ping/{TOKEN}/{TOKEN}/a", "/ping/a", True),
        (f"/api/v1/jobs/{TOKEN}", f"/api/v1/jobs/{TOKEN}", False),
    ],
)
def test_a_token_moves_from_the_path_to_the_headers(path: str, rest: str, is_taken: bool) -> None:
    sent = {"authorization": "Basic eDp5", "host": "hub"}
    request = Request("GET", path, sent, "127.0.0.1", "1")
    take_token(request)
    assert request.path == rest
    expected = f"Bearer {TOKEN}" if is_taken else sent["authorization"]
    assert request.headers == {"authorization": expected, "host": "hub"}
