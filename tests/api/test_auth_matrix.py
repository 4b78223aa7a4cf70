"""Tests every route of the application with every kind of token. A new route without a permission
fails, and so does one that does not enforce it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api.factory import make_routes
from app.api.needs import check_permissions, needs, permission_of
from app.auth.tokens import mint
from app.database.pool import Database
from app.errors import StartError
from app.store.tokens import TokenRow, insert_token, revoke_token
from app.web.admission import COOKIE
from app.web.permissions import ANY_TOKEN, READ, Permission
from tests.api.conftest import look_for_revoked
from tests.factories import make_body
from tests.tokens import FOREIGN_KEYS, KEYS, bearer, make_claims, make_token, unsigned

# Routes that need no token. Adding one exposes it to everyone.
OPEN = {
    "GET /api/v1/health",
    "GET /api/v1/session",
    "GET /api/v1/docs/assets/<name>",
    "GET /static/<path:name>",
    "GET /sign-in",
    "GET /sign-in/style.css",
    "POST /sign-in",
    "POST /sign-out",
}
# Routes that only administrators may use.
ADMIN = {
    "rules.put_rule",
    "rules.delete_rule",
    "rules.plan_maintenance",
    "rules.end_maintenance",
    "attention.acknowledge_attention",
    *(
        f"notifications.{view}"
        for view in ("put_destination", "delete_destination", "test_destination", "put_route")
    ),
    *("notifications.delete_route", "notifications.retry_message"),
}
# Routes that push by GET too.
PINGS = {"pings.ping", "pings.ping_signal"}
# Bodies that are valid enough for their job type to be checked.
BODIES: dict[str, Any] = {
    "telemetry.push_update": make_body(),
    "telemetry.push_batch": {
        "updates": [{**make_body(), "job_type": "backup", "job_id": "matrix"}]
    },
    "registration.register_job": {"job_type": "backup", "job_id": "matrix"},
    "registration.complete_job": {"status": "completed"},
}
VALUES = {"kind": "jobs", "job_type": "backup", "signal": "start"} | dict.fromkeys(
    ("item_id", "series_id", "rule_id", "window_id", "destination_id", "route_id", "message_id"),
    "1",
)


APP = make_routes(requires_tokens=True)


def routes() -> list[tuple[str, str, str]]:
    """Method, rule and endpoint of every route of the application."""
    return [
        (method, rule.rule, rule.endpoint)
        for rule in APP.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


ROUTES = routes()
IDS = [f"{method} {rule}" for method, rule, _ in ROUTES]
each_route = pytest.mark.parametrize(("method", "rule", "endpoint"), ROUTES, ids=IDS)


def ask(client: FlaskClient, method: str, rule: str, endpoint: str, headers: dict[str, str]) -> int:
    """The status of one request to a route, sent as a script would."""
    path = re.sub(r"<(?:[^:<>]*:)?(\w+)>", lambda found: VALUES.get(found[1], "matrix"), rule)
    body = BODIES.get(endpoint, {}) if method in ("POST", "PUT") else None
    with client.open(path, method=method, json=body, headers=headers) as answer:
        return answer.status_code


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={token}"}


@pytest.fixture
def site(guarded_app: Flask, guarded: FlaskClient, database: Database) -> FlaskClient:
    """A hub with a job and a revoked token."""
    pushed = guarded.post(
        "/api/v1/telemetry/backup/matrix", json=make_body(), headers=bearer(make_token("ingest"))
    )
    assert pushed.status_code == 200
    claims = make_claims("read")
    row = TokenRow("revoked", "r", "read", [], claims.expires_at - timedelta(9), claims.expires_at)
    with database.transaction() as conn:
        insert_token(conn, row)
        revoke_token(conn, "revoked")
    look_for_revoked(guarded_app)
    return guarded


def bad_tokens() -> dict[str, str]:
    """Invalid tokens, all of them with admin scope."""
    return {
        "expired": make_token("admin", life=timedelta(hours=-1)),
        "revoked": mint(replace(make_claims("admin"), token_id="revoked"), KEYS),
        "foreign key": make_token("admin", keys=FOREIGN_KEYS),
        "alg none": unsigned(make_token("admin")),
        "garbage": "garbage",
        "empty": "",
    }


@each_route
def test_route_enforces_its_permission(
    site: FlaskClient, method: str, rule: str, endpoint: str
) -> None:
    def status(headers: dict[str, str]) -> int:
        return ask(site, method, rule, endpoint, headers)

    is_open = f"{method} {rule}" in OPEN
    is_push = method == "POST" or endpoint in PINGS
    needed = "admin" if endpoint in ADMIN else "ingest" if is_push else "read"
    refused = {name: bearer(token) for name, token in bad_tokens().items()}
    refused["no token"] = {}
    refused |= {f"{name}, as cookie": cookie(token) for name, token in bad_tokens().items()}
    if method != "GET":
        refused["right, as cookie"] = cookie(make_token("admin"))
    found = {name: status(headers) for name, headers in refused.items()}
    if is_open:
        assert not {401, 403} & set(found.values()) - {_own_answer(endpoint)}
        return
    assert set(found.values()) == {401}, found

    wrong = {"read", "ingest"} - {needed}
    found = {scope: status(bearer(make_token(scope))) for scope in wrong}
    if needed == "ingest":
        found["wrong job type"] = status(bearer(make_token("ingest", "restore")))
    elif needed == "read":
        found["ingest, as cookie"] = status(cookie(make_token("ingest")))
    assert set(found.values()) == {403}, found

    right = {"right": bearer(make_token(needed)), "admin": bearer(make_token("admin"))}
    if needed == "read":
        right["cookie"] = cookie(make_token("read"))
    elif needed == "ingest":
        types = ("backup", "snapshot")
        right["right job type"] = bearer(make_token("ingest", *types))
    found = {name: status(headers) for name, headers in right.items()}
    assert not {401, 403, 500} & set(found.values()), found


def _own_answer(endpoint: str) -> int | None:
    """Signing in without a token in the form is answered 401 too."""
    return 401 if endpoint == "signin.sign_in" else None


@each_route
def test_other_methods_of_a_route_need_a_token_and_no_scope(
    guarded: FlaskClient, method: str, rule: str, endpoint: str
) -> None:
    path = re.sub(r"<(?:[^:<>]*:)?(\w+)>", lambda found: VALUES.get(found[1], "matrix"), rule)
    known = {method for method, other_rule, _ in ROUTES if other_rule == rule}
    for other in ("OPTIONS", "DELETE", "PUT", "PATCH", "FROBNICATE"):
        answer = guarded.open(path, method=other)
        is_open = permission(endpoint).is_open and other == "OPTIONS"
        assert answer.status_code == (200 if is_open else 401), other
        answer = guarded.open(path, method=other, headers=bearer(make_token("read")))
        expected = 403 if other in known else 405  # administrators may
        assert answer.status_code == (200 if other == "OPTIONS" else expected), other


@each_route
def test_head_requires_the_same_permission_as_get(
    site: FlaskClient, method: str, rule: str, endpoint: str
) -> None:
    is_open = f"{method} {rule}" in OPEN
    if method == "GET" and not is_open:
        statuses = [
            ask(site, "HEAD", rule, endpoint, headers)
            for headers in ({}, bearer(make_token("ingest")), cookie(make_token("read")))
        ]
        if endpoint in PINGS:
            statuses[1:] = reversed(statuses[1:])
        assert statuses[:2] == [401, 403]
        assert statuses[2] not in (401, 403)
    else:
        assert is_open or method != "GET"


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/api/v1/telemetry/", "/ü"])
def test_unknown_path_is_404_only_with_a_token(guarded: FlaskClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert guarded.open(path, method=method).status_code == 401
        answer = guarded.open(path, method=method, headers=bearer(make_token("ingest")))
        assert answer.status_code in (404, 405)


# The route table itself.


def permission(endpoint: str) -> Permission:
    found = permission_of(APP.view_functions[endpoint])
    assert found is not None
    return found


def test_open_routes_are_the_listed_ones() -> None:
    found = {
        name
        for name, (_, _, endpoint) in zip(IDS, ROUTES, strict=True)
        if permission(endpoint).is_open
    }
    assert found == OPEN


def test_only_health_allows_any_host() -> None:
    assert {e for _, _, e in ROUTES if permission(e).any_host} == {"service.read_health"}


def view() -> str:
    return ""


@pytest.mark.parametrize(
    ("decorated", "method", "sentence"),
    [
        (view, "GET", "/new .*has no permission"),
        (needs(READ)(lambda: ""), "DELETE", "/new allows DELETE without ingest or admin scope"),
        (needs(READ)(lambda: ""), "POST", "/new allows POST without ingest or admin scope"),
        (needs(ANY_TOKEN)(lambda: ""), "POST", "/new allows POST without ingest or admin scope"),
    ],
)
def test_route_without_a_valid_permission_prevents_the_start(
    decorated: Callable[[], str], method: str, sentence: str
) -> None:
    app = Flask("new", static_folder=None)
    app.add_url_rule("/new", "new", decorated, methods=[method])
    with pytest.raises(StartError, match=sentence):
        check_permissions(app)
