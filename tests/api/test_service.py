"""Health, metrics, request ids, the OpenAPI document and its page."""

from __future__ import annotations

import gzip
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api import service
from app.api.context import hub_of
from app.api.errors import register_error_handlers
from app.api.service import check_database
from app.checks import probe as probe_module
from app.checks.probe import DatabaseProbe, Look
from app.database.pool import Connection, Database
from app.errors import DatabaseUnavailable
from app.ingest.writer import Writer

Patch = pytest.MonkeyPatch


@pytest.fixture
def fresh_probe(app: Flask, monkeypatch: Patch) -> DatabaseProbe:
    """A probe without a result yet, in a hub that has never committed."""
    probe = DatabaseProbe()
    monkeypatch.setitem(app.extensions, "hub", replace(hub_of(app), probe=probe))
    monkeypatch.setattr(Writer, "last_commit_seconds_ago", property(lambda self: None))
    return probe


@pytest.fixture
def hung_database(monkeypatch: Patch) -> Iterator[list[threading.Thread]]:
    """A database that never answers; yields the threads that wait for it."""
    release, hanging, done = threading.Event(), [], []

    def hang(conn: Any) -> list[str]:
        hanging.append(threading.current_thread())
        release.wait(100)
        done.append(conn)
        return []

    monkeypatch.setattr(probe_module, "pending", hang)
    yield hanging
    release.set()
    deadline = time.monotonic() + 5
    while len(done) < len(hanging) and time.monotonic() < deadline:
        time.sleep(0.01)


# Health.


def test_probe_without_a_thread_is_retried_by_the_next_request(
    database: Database, monkeypatch: Patch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    probe = DatabaseProbe()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            probe.look(database)
    look = probe.look(database)
    assert look is not None
    assert look.error is None


def test_lack_of_memory_is_a_503_with_retry_after() -> None:
    app = Flask("short of memory")
    register_error_handlers(app)

    @app.route("/")
    def fail() -> str:
        raise MemoryError

    response = app.test_client().get("/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_working_hub_is_ok(client: FlaskClient, fresh_probe: DatabaseProbe) -> None:
    answer = client.get("/api/v1/health")
    body = answer.get_json()
    assert answer.status_code == 200
    assert body["status"] == "ok"
    assert body["checks"]["database"]["seconds"] > 0
    assert fresh_probe.silent_seconds == 0
    assert body["checks"]["migrations"] == {"status": "ok", "pending": []}
    assert body["checks"]["writer"]["queued"] == 0
    assert answer.headers["Cache-Control"] == "no-store"


def test_pending_migrations_are_degraded(
    client: FlaskClient, fresh_probe: DatabaseProbe, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(probe_module, "pending", lambda conn: ["0099_more.sql"])
    answer = client.get("/api/v1/health")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")
    assert answer.get_json()["checks"]["migrations"]["pending"] == ["0099_more.sql"]


def test_analysts_who_are_kept_out_are_degraded(
    client: FlaskClient, fresh_probe: DatabaseProbe, monkeypatch: Patch
) -> None:
    until = datetime(2026, 12, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(probe_module, "_analysts_refused_until", lambda conn: until)
    answer = client.get("/api/v1/health")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")
    assert answer.get_json()["checks"]["analysts"] == {
        "status": "refused",
        "refused_until": "2026-12-01T12:00:00Z",
    }


def test_hung_database_is_reported_while_it_hangs(
    client: FlaskClient, fresh_probe: DatabaseProbe, hung_database: list[threading.Thread]
) -> None:
    answer = client.get("/api/v1/health")  # the database still hangs
    assert answer.status_code == 503
    assert len(hung_database) == 1
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.get_json()["status"] == "unavailable"
    assert answer.get_json()["checks"]["database"]["status"] == "down"


def test_only_the_first_request_waits_for_a_hung_database(
    client: FlaskClient,
    fresh_probe: DatabaseProbe,
    hung_database: list[threading.Thread],
    monkeypatch: Patch,
) -> None:
    monkeypatch.setattr(probe_module, "WAIT_SECONDS", 1.0)
    client.get("/api/v1/health")
    started = time.monotonic()
    for _ in range(20):
        assert client.get("/api/v1/health").status_code == 503
    assert time.monotonic() - started < 10, "each waited"
    assert len(hung_database) == 1


def test_silence_begins_with_the_first_look_that_is_not_answered(
    client: FlaskClient, fresh_probe: DatabaseProbe, hung_database: list[threading.Thread]
) -> None:
    """Not with the last look: the one before may be minutes old."""

    def silence() -> float:
        detail = client.get("/api/v1/health").get_json()["checks"]["database"]["detail"]
        found = re.fullmatch(r"The database has not answered for ([0-9.]+) s\.", detail)
        assert found is not None, detail
        return float(found[1])

    fresh_probe._latest = Look(at=time.monotonic() - 150)
    began = time.monotonic()
    assert silence() <= time.monotonic() - began + 0.1
    time.sleep(0.5)
    assert 0.8 < silence() <= time.monotonic() - began + 0.1


def test_recent_commit_proves_a_busy_database_alive(
    client: FlaskClient,
    fresh_probe: DatabaseProbe,
    hung_database: list[threading.Thread],
    monkeypatch: Patch,
) -> None:
    monkeypatch.setattr(Writer, "last_commit_seconds_ago", property(lambda self: 0.5))
    monkeypatch.setattr(probe_module, "WAIT_SECONDS", 0.05)
    answer = client.get("/api/v1/health")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")


def test_writer_that_accepts_nothing_is_a_503(
    client: FlaskClient, fresh_probe: DatabaseProbe, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Writer, "is_accepting", property(lambda self: False))
    answer = client.get("/api/v1/health")
    assert answer.status_code == 503
    assert answer.get_json()["checks"]["writer"]["status"] == "refusing"


def test_full_queue_is_not_a_503_while_it_drains(client: FlaskClient, monkeypatch: Patch) -> None:
    monkeypatch.setattr(hub_of(client.application).writer._queue, "capacity", 0)
    for busy_seconds, code, status, writer in (
        (0.4, 200, "degraded", "full"),
        (6.0, 503, "unavailable", "refusing"),  # a commit that does not end
    ):
        busy_since = time.monotonic() - busy_seconds
        monkeypatch.setattr(hub_of(client.application).writer, "_busy_since", busy_since)
        answer = client.get("/api/v1/health")
        assert (answer.status_code, answer.get_json()["status"]) == (code, status)
        assert answer.get_json()["checks"]["writer"]["status"] == writer


def test_slow_writer_degrades_the_hub(client: FlaskClient, monkeypatch: Patch) -> None:
    writer = hub_of(client.application).writer
    monkeypatch.setattr(writer, "_storing_since", time.monotonic() - 20)
    answer = client.get("/api/v1/health")
    check = answer.get_json()["checks"]["writer"]
    assert (answer.status_code, answer.get_json()["status"]) == (200, "degraded")
    assert (check["status"], check["detail"]) == (
        "slow",
        "Updates have been waiting for 20 s to be stored.",
    )
    monkeypatch.setattr(writer, "_storing_since", None)
    monkeypatch.setattr(writer, "_refused_at", time.monotonic() - 1)
    check = client.get("/api/v1/health").get_json()["checks"]["writer"]
    assert check["status"] == "slow"
    assert "refused" in check["detail"]


# The database probe.


def test_probe_result_is_cached(database: Database, monkeypatch: Patch) -> None:
    looks: list[Connection] = []

    def look(conn: Connection) -> list[Path]:
        looks.append(conn)
        return []

    monkeypatch.setattr(probe_module, "pending", look)
    probe = DatabaseProbe()
    for _ in range(50):
        probe.look(database)
    assert len(looks) == 1


def test_unreachable_database_is_reported_without_details() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    unreachable = Database(f"postgresql://secret@127.0.0.1:{port}/x", is_embedded=False)
    look = DatabaseProbe().look(unreachable)
    assert look is not None
    assert look.error == "The database cannot be reached."


def test_server_that_never_replies_does_not_block_the_request(monkeypatch: Patch) -> None:
    monkeypatch.setattr(probe_module, "WAIT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        silent = Database(f"postgresql://x@127.0.0.1:{port}/x", is_embedded=False)
        assert DatabaseProbe().look(silent) is None  # the server is still silent


def test_probe_uses_a_pooled_connection_if_it_gets_no_other(
    database: Database, monkeypatch: Patch
) -> None:
    with database.reading():
        pass  # there is one now

    def refuse(self: Database, *, autocommit: bool = False) -> Connection:
        raise DatabaseUnavailable

    monkeypatch.setattr(Database, "connect", refuse)
    look = DatabaseProbe().look(database)
    assert look is not None
    assert look.error is None


@pytest.mark.server  # the embedded engine has one session, which would sleep
def test_hung_probe_is_cancelled_and_repeated(database: Database, monkeypatch: Patch) -> None:
    monkeypatch.setattr(probe_module, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(probe_module, "CUT_SECONDS", 0.1)
    monkeypatch.setattr(probe_module, "pending", lambda conn: conn.execute("SELECT pg_sleep(5)"))
    probe = DatabaseProbe()
    look, deadline = None, time.monotonic() + 3
    while look is None and time.monotonic() < deadline:
        look = probe.look(database)
    assert look is not None
    assert look.error is not None
    monkeypatch.setattr(probe_module, "pending", lambda conn: [])
    monkeypatch.setattr(probe_module, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(probe_module, "WAIT_SECONDS", 2.0)
    monkeypatch.setattr(DatabaseProbe, "_is_fresh", lambda self: self._latest is not look)
    again = probe.look(database)
    assert again is not None
    assert again.error is None


@pytest.mark.parametrize(
    ("look", "commit_age", "status"),
    [
        (Look(at=99.5, seconds=0.01), None, "ok"),
        (Look(at=98.0, seconds=0.01), None, "slow"),
        (Look(at=90.0, seconds=0.01), None, "down"),
        (Look(at=90.0, seconds=0.01), 1.0, "slow"),
        (Look(at=90.0, seconds=0.01), 9.0, "down"),
        (Look(at=99.5, seconds=0.01, error="away"), None, "down"),
        (Look(at=99.5, seconds=0.01, error="away"), 1.0, "slow"),
        (None, None, "down"),
        (None, 1.0, "slow"),
    ],
)
def test_what_proves_the_database_alive(
    look: Look | None, commit_age: float | None, status: str
) -> None:
    assert check_database(look, 0.4, commit_age, now=100.0)["status"] == status


# Metrics and request ids.


def sample(client: FlaskClient, name: str) -> float:
    """The value of one line of /metrics; 0 without it."""
    text = client.get("/api/v1/metrics").get_data(as_text=True)
    match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def test_requests_are_counted_by_route_and_not_by_path(client: FlaskClient) -> None:
    labels = 'method="GET",route="/api/v1/jobs/<job:job_id>"'
    name = f'hub_http_requests_total{{{labels},status="404"}}'
    before = sample(client, name)
    client.get("/api/v1/jobs/some-id")
    assert sample(client, name) == before + 1
    assert sample(client, f"hub_http_request_seconds_count{{{labels}}}") > 0
    assert "some-id" not in client.get("/api/v1/metrics").get_data(as_text=True)


def test_unknown_paths_and_methods_share_a_series(client: FlaskClient) -> None:
    client.open("/nowhere-1", method="FROBNICATE")
    text = client.get("/api/v1/metrics").get_data(as_text=True)
    assert "FROBNICATE" not in text
    assert "nowhere-1" not in text
    assert 'method="other",route="unknown"' in text


def test_metrics_are_in_the_text_format(client: FlaskClient) -> None:
    answer = client.get("/api/v1/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    for name in ("hub_updates_total", "hub_commit_seconds", "hub_queue_updates"):
        assert f"# HELP {name} " in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/x", "/nowhere", "/api/v1/metrics"])
def test_every_answer_has_a_request_id(client: FlaskClient, path: str) -> None:
    first, second = (client.get(path).headers["X-Request-ID"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first != second


def test_client_request_id_is_kept(client: FlaskClient) -> None:
    answer = client.get("/api/v1/jobs", headers={"X-Request-ID": "Run-7_a.b"})
    assert answer.headers["X-Request-ID"] == "Run-7_a.b"


@pytest.mark.parametrize("offered", ["", "a b", "ü", "x" * 65, "a;b", '"'])
def test_invalid_request_id_is_replaced(client: FlaskClient, offered: str) -> None:
    answer = client.get("/api/v1/jobs", headers={"X-Request-ID": offered})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_answer_without_a_view_has_a_request_id(client: FlaskClient) -> None:
    answer = client.get("/", environ_overrides={"PATH_INFO": "/api/v1/jobs/\xff"})
    assert answer.status_code == 400
    assert answer.headers["X-Request-ID"]


def test_reads_are_logged_at_debug_and_pushes_are_not(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="hub.requests"):
        client.get("/api/v1/jobs")
        client.post("/api/v1/telemetry/backup/j", json={"status": "running"})
    lines = [r.getMessage() for r in caplog.records if r.name == "hub.requests"]
    assert lines == ["GET /api/v1/jobs 200"]


# The OpenAPI document and its page.


@pytest.fixture
def operations(client: FlaskClient) -> dict[str, Any]:
    """The GET operations of the OpenAPI document, by path below the prefix."""
    document = client.get("/api/v1/openapi.json").get_json()
    return {
        path.removeprefix("/api/v1"): methods["get"]
        for path, methods in document["paths"].items()
        if "get" in methods
    }


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (
            "/jobs",
            "status job_type vm_name repository_id from to active_from active_to job_id result "
            "attention q sort order limit cursor",
        ),
        (
            "/jobs/summary",
            "status job_type vm_name repository_id from to active_from active_to job_id result "
            "attention",
        ),
        ("/jobs/{job_id}", "run"),
        ("/jobs/{job_id}/runs", "limit cursor"),
        ("/jobs/{job_id}/events", "limit cursor run"),
        ("/jobs/{job_id}/updates", "limit cursor run"),
        (
            "/attention",
            "state kind severity acknowledged vm_name job_type repository_id node_id job_id "
            "series_id limit cursor",
        ),
        (
            "/series",
            "state attention vm_name job_type repository_id limit cursor",
        ),
        (
            "/series/nights",
            "days zone begins_hour state attention vm_name job_type repository_id limit cursor",
        ),
        ("/machines", "limit cursor"),
        ("/notifications/outbox", "state destination_id limit cursor"),
        ("/nodes", "limit cursor"),
        ("/nodes.csv", "limit cursor"),
        ("/telemetry/history/{job_id}", "run points from to disk format"),
        ("/telemetry/history/{job_id}/chart.csv", "run points from to disk"),
        ("/nodes/{node_id}/history", "metrics points from to"),
    ],
)
def test_every_query_parameter_is_described(
    operations: dict[str, Any], path: str, names: str
) -> None:
    parameters = [p for p in operations[path]["parameters"] if p["in"] == "query"]
    assert {p["name"] for p in parameters} == set(names.split())
    assert all(p["description"] and "type" in p["schema"] for p in parameters)
    assert "400" in operations[path]["responses"]


def test_every_read_describes_its_answer(operations: dict[str, Any]) -> None:
    for path, operation in operations.items():
        assert operation["responses"]["200"]["content"], path
        assert operation["summary"], path


@pytest.fixture
def installed(monkeypatch: Patch, tmp_path: Path) -> None:
    """The page's libraries, as if `make setup` had run."""
    files = {name: tmp_path / name for name in service._ASSETS}
    for file in files.values():
        file.write_text("library")
    files["docs.js"] = service._ASSETS["docs.js"]
    monkeypatch.setattr(service, "_ASSETS", files)


def test_docs_page_has_no_inline_script(client: FlaskClient, installed: None) -> None:
    with client.get("/api/v1/docs") as answer:
        page, policy = answer.get_data(as_text=True), answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>|\son\w+=|javascript:|<style", page)


def test_docs_page_loads_from_no_other_origin(client: FlaskClient, installed: None) -> None:
    for path in ("/api/v1/docs", "/api/v1/docs/assets/docs.js"):
        with client.get(path) as answer:
            assert answer.status_code == 200
            assert not re.search(r"https?://|[\"']//", answer.get_data(as_text=True))


def test_assets_are_sent_packed_and_not_twice(client: FlaskClient) -> None:
    path = "/api/v1/docs/assets/swagger-ui-bundle.js"
    plain = client.get(path)
    assert plain.headers["Content-Type"] == "text/javascript; charset=utf-8"
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 3
    for answer in (plain, packed):
        held = {"If-None-Match": answer.headers["ETag"], "Accept-Encoding": "gzip"}
        assert client.get(path, headers=held).status_code == 304


def test_docs_page_finds_its_assets_and_the_openapi_document(
    client: FlaskClient, installed: None
) -> None:
    with client.get("/api/v1/docs") as answer:
        addresses = re.findall(r'(?:src|href)="([^"]+)"', answer.get_data(as_text=True))
    assert len(addresses) == 5
    for address in addresses:
        with client.get(f"/api/v1/{address}") as answer:
            assert answer.status_code == 200, address


@pytest.mark.parametrize("name", ["nothing.js", "package.json", "..%2f..%2fpackage.json", ".npmrc"])
def test_no_other_file_can_be_fetched(client: FlaskClient, installed: None, name: str) -> None:
    assert client.get(f"/api/v1/docs/assets/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css"])
def test_missing_libraries_are_a_503(
    client: FlaskClient, monkeypatch: Patch, tmp_path: Path, path: str
) -> None:
    monkeypatch.setattr(service, "_ASSETS", {n: tmp_path / n for n in service._ASSETS})
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert "make setup" in answer.get_json()["detail"]
