"""The web server and Flask's route give the same answers to a request for a chart."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.api.context import hub_of
from app.api.factory import close_app
from app.auth.tokens import mint
from app.clock import utc_now
from app.config import Config
from app.database.pool import Database
from app.logs import request_id
from app.server.asgi import Server
from app.web.admission import COOKIE, EXPIRES_HEADER
from app.web.history import _find_chart
from jobs import refresh_rollups, summarise_finished_jobs
from tests.api.test_push_ways import count_of, named, without_length
from tests.asgi import ask
from tests.tokens import FOREIGN_KEYS, KEYS, bearer, make_claims, make_token

URL = "/api/v1/telemetry/history/j"

Answer = tuple[int, dict[str, str], bytes]
Get = Callable[..., Answer]  # of an application: a path, a query, headers


def get_from_flask(
    app: Flask, path: str = URL, query: str = "", method: str = "GET", **headers: str
) -> Answer:
    """Status, headers and body of the answer of Flask's route."""
    sent = named({"host": "localhost", "x_request_id": "mine", **headers})
    target = f"{path}?{query}" if query else path
    got = app.test_client(use_cookies=False).open(target, method=method, headers=sent)
    return got.status_code, without_length(dict(got.headers)), got.data


def get_from_server(
    app: Flask, path: str = URL, query: str = "", method: str = "GET", **headers: str
) -> Answer:
    """The same from the web server."""
    return get_over(Server(hub_of(app), app), path, query, method, **headers)


def get_over(
    server: Server, path: str = URL, query: str = "", method: str = "GET", **headers: str
) -> Answer:
    sent = named({"host": "localhost", "x_request_id": "mine", **headers})
    status, answered, body = ask(
        server,
        [],
        method=method,
        raw_path=path.encode(),
        query_string=query.encode(),
        headers=[(name.lower().encode(), value.encode()) for name, value in sent.items()],
    )
    assert answered.pop("server") == ""
    # What speaks HTTP to the client leaves out the body of an answer to HEAD.
    return status, without_length(answered), b"" if method == "HEAD" else body


WAYS = {"server": get_from_server, "flask": get_from_flask}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def get(request: pytest.FixtureRequest) -> Get:
    """Each of the two ways."""
    way: Get = request.param
    return way


@pytest.fixture(params=[False, True], ids=["live", "settled"])
def job(request: pytest.FixtureRequest, owner: Database, config: Config) -> None:
    """Job `j` with a disk, whose charts are kept if it is settled."""
    with owner.transaction() as conn:
        conn.execute(
            """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, current_phase,
                   transfer_speed_bps, bytes_transferred)
               SELECT now() - interval '3 hours' + n * interval '7 s', 0, 'j', 'running',
                      'transferring', n % 17 * 1000, n
               FROM generate_series(1, 700) AS n"""
        )
        conn.execute(
            """INSERT INTO jobs (job_id, job_type, status, ended_by, started_at, completed_at,
                   newest_update_at, last_telemetry_at)
               SELECT 'j', 'backup', 'completed', 'sender', min(time), max(time), max(time),
                      now() - interval '1 hour'
               FROM job_telemetry"""
        )
        conn.execute("INSERT INTO job_disks (job_id, disk_index) VALUES ('j', 0)")
    if request.param:
        refresh_rollups.run_once(owner, config)
        assert summarise_finished_jobs.run_once(owner, config).written == 1


QUERIES = [
    "",
    "points=10",
    "points=%31%30",
    "points=",
    "points",
    "&points=10&",
    "points=10&points=20",
    "points=5",
    "points=x",
    "points=10&unknown=1",
    "points=10;format=csv",
    "format=csv",
    "format=columns",
    "format=CSV",
    "disk=0",
    "disk=7",
    "disk=-1",
    "from=2026-01-01T00:00:00Z",
    "from=2026-01-01T00:00:00+02:00&to=2026-01-02T00:00:00%2B02:00",
    "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
    "to=1900-01-01T00:00:00Z",
    "points=%FF",
    "points=%zz",
    f"points=10&more={'x' * 400}",
]
PATHS = [
    "/telemetry/history/j",
    f"{URL}/",
    "/api/v1/telemetry/history/",
    "/api/v1/telemetry/history/%6A",
    "/api/v1/telemetry/history/unknown",
    "/api/v1/telemetry/history/a%2Fb",
    "/api/v1/telemetry/history/a/telemetry/history/j",
    "/api/v1/telemetry/history/.",
    f"/api/v1/telemetry/history/{'i' * 255}",
    f"/api/v1/telemetry/history/{'i' * 256}",
    "/api/v2/telemetry/history/j",
]


@pytest.mark.usefixtures("job")
class TestSameAnswers:
    """Whether the chart is kept or not. Each is asked for twice of both."""

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_queries(self, app: Flask, method: str) -> None:
        for query in QUERIES:
            assert_same(app, query=query, method=method)

    def test_paths(self, app: Flask) -> None:
        for path in PATHS:
            assert_same(app, path)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("accepted", ["", "gzip", "gzip;q=0", "br, gzip"])
    def test_conditions(self, app: Flask, method: str, accepted: str) -> None:
        tag = get_from_flask(app)[1]["ETag"]
        packed = get_from_flask(app, accept_encoding="gzip")[1]["ETag"]
        assert packed != tag
        statuses = set()
        for held in (tag, packed, f"W/{tag}", "*", '"other"', f'"other", {tag}', "nonsense"):
            for name in ("if_none_match", "if_match"):
                condition = {"method": method, "accept_encoding": accepted, name: held}
                statuses.add(assert_same(app, **condition)[0])
        assert statuses == {200, 304, 412}

    def test_hosts(self, app: Flask) -> None:
        assert assert_same(app, host="evil.example")[0] == 400


def assert_same(app: Flask, path: str = URL, **request: str) -> Answer:
    first, second = (way(app, path, **request) for way in WAYS.values())
    assert first == second, request
    assert get_from_server(app, path, **request) == first
    return first


@pytest.mark.usefixtures("job")
class TestEitherWay:
    """What holds for both ways."""

    def test_chart(self, app: Flask, get: Get) -> None:
        status, headers, body = get(app)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Request-ID"] == "mine"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert json.loads(body)["job_id"] == "j"

    def test_tokens(self, guarded_app: Flask, get: Get) -> None:
        ending = mint(replace(make_claims(), expires_at=utc_now() + timedelta(days=3)), KEYS)
        for headers, status in (
            ({}, 401),
            (bearer("nonsense"), 401),
            (bearer(mint(make_claims(), FOREIGN_KEYS)), 401),
            (bearer(make_token("ingest")), 403),
            (bearer(make_token("read")), 200),
            (bearer(make_token("admin")), 200),
            ({"Cookie": f"{COOKIE}={make_token('read')}"}, 200),
            (bearer(ending), 200),
        ):
            got = get(guarded_app, **headers)
            assert got[0] == status
            assert (EXPIRES_HEADER in got[1]) == (headers == bearer(ending))
            if status != 200:
                assert got[1]["WWW-Authenticate"].startswith('Bearer realm="telemetry-hub"')
        # Without a token there is no difference between jobs.
        unknown = get(guarded_app, "/api/v1/telemetry/history/unknown")
        assert unknown == get(guarded_app)

    def test_requests_are_counted_under_their_rule(self, app: Flask, get: Get) -> None:
        for prefix, job_id, query, status in (
            ("/api/v1", "j", "", 200),
            ("/api/v1", "j", "points=5", 400),
            ("", "j", "", 200),
            ("", "unknown", "", 404),
        ):
            path = f"{prefix}/telemetry/history/"
            rule = f'method="GET",route="{path}<identifier:job_id>",status="{status}"'
            before = count_of(app, rule)
            assert get(app, path + job_id, query)[0] == status
            assert count_of(app, rule) == before + 1

    def test_lost_database_is_answered_503(self, config: Config, get: Get) -> None:
        address = "postgresql://127.0.0.1:9/none"
        nowhere = replace(config, database_url=address, owner_url=None, read_url=None)
        app = create_app(nowhere)
        hub_of(app).database._pool.timeout = 0.1
        try:
            status, headers, body = get(app)
        finally:
            close_app(app)
        assert (status, headers["Content-Type"]) == (503, "application/problem+json")
        assert headers["Retry-After"]
        assert "127.0.0.1:9" not in body.decode()


# The web server only.


@pytest.fixture
def server(app: Flask) -> Server:
    return Server(hub_of(app), app)


@pytest.mark.usefixtures("job")
def test_chart_does_not_reach_flask(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_flask_app", None)
    for query in ("", "points=10", "format=csv"):
        assert get_over(server, query=query)[0] == 200
    assert get_over(server, "/api/v1/telemetry/history/unknown")[0] == 404


def test_refusal_uses_no_thread(guarded_app: Flask) -> None:
    server = Server(hub_of(guarded_app), guarded_app)
    assert get_over(server)[0] == 401
    assert server._threads._started == 0


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("job", [True], indirect=True, ids=["settled"])
def test_version_that_cannot_be_read_is_answered_to_all_that_asked(
    server: Server, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_over(server)[0] == 200
    charts = hub_of(server._flask_app).charts  # type: ignore[arg-type]

    def fail(*_: Any) -> None:
        ids.append(request_id.get())
        raise RuntimeError("a defect")

    ids: list[str] = []
    monkeypatch.setattr(charts, "read_versions", fail)
    log = logging.getLogger("hub.web")
    monkeypatch.setattr(log, "error", lambda *_, **__: ids.append(request_id.get()))
    assert get_over(server)[0] == 500
    assert ids[-1] == "mine"
    monkeypatch.undo()
    assert get_over(server)[0] == 200


def test_long_paths_and_queries_are_not_remembered(server: Server) -> None:
    """They would fill the memory, and need no token."""
    before = _find_chart.cache_info().currsize
    assert get_over(server, f"{URL}{'%F0%9F%98%80' * 400}")[0] == 400
    assert get_over(server, query="x=" + "y" * 500)[0] == 400
    assert _find_chart.cache_info().currsize == before
    assert get_over(server, f"/api/v1/telemetry/history/{'h' * 255}")[0] == 404
    assert _find_chart.cache_info().currsize == before + 1
