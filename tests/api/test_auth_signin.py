"""Signing in with a browser: the form, the cookie and what it allows, and signing out."""

from __future__ import annotations

import re
from datetime import timedelta
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.auth.tokens import mint
from app.clock import isoformat
from app.database.pool import Database
from app.web.admission import COOKIE
from tests.api.conftest import look_for_revoked, record, revoke
from tests.factories import make_body
from tests.tokens import FOREIGN_KEYS, KEYS, bearer, make_claims, make_token

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def sign_in(client: FlaskClient, token: str, **request: Any) -> TestResponse:
    """Send the form as a browser does."""
    form = {"token": token, "next": request.pop("next", "/")}
    headers = {**BROWSER, "Origin": "http://localhost", **request.pop("headers", {})}
    return client.post("/sign-in", data=form, headers=headers, **request)


def cookie_of(answer: TestResponse) -> Morsel[str]:
    (line,) = answer.headers.getlist("Set-Cookie")
    return SimpleCookie(line)[COOKIE]


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"other=1; {COOKIE}={token}"}


# Redirects to the form.


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "./sign-in?next=%2F"),
        ("/machines", "./sign-in?next=%2Fmachines"),
        ("/jobs/a%20b?from=1&to=2", "../sign-in?next=%2Fjobs%2Fa%2520b%3Ffrom%3D1%26to%3D2"),
        ("/api/v1/docs", "../../sign-in?next=%2Fapi%2Fv1%2Fdocs"),
        ("/machines/a/b", "../../sign-in?next=%2Fmachines%2Fa%2Fb"),
        ("/machines/a%2Fb", "../sign-in?next=%2Fmachines%2Fa%252Fb"),
        ("//evil.example", None),
    ],
)
def test_browser_that_is_not_signed_in_is_redirected(
    guarded: FlaskClient, path: str, location: str | None
) -> None:
    answer = guarded.get("/", environ_overrides=_path(path), headers=BROWSER)
    if location is None:
        assert answer.status_code == 401
    else:
        assert (answer.status_code, answer.headers["Location"]) == (302, location)


def _path(address: str) -> dict[str, str]:
    from urllib.parse import unquote

    path, _, query = address.partition("?")
    return {"PATH_INFO": unquote(path), "QUERY_STRING": query, "REQUEST_URI": address}


def test_sign_in_leads_back_to_the_page(guarded: FlaskClient) -> None:
    token = make_token()
    first = guarded.get("/jobs/a%20b?from=1&to=2", headers=BROWSER)
    form = guarded.get("/" + first.headers["Location"].removeprefix("../"), headers=BROWSER)
    wanted = re.search(r'name="next" value="([^"]*)"', form.get_data(as_text=True))
    assert wanted is not None
    answer = sign_in(guarded, token, next=wanted[1].replace("&amp;", "&"))
    assert answer.headers["Location"] == "./jobs/a%20b?from=1&to=2"


def test_unknown_address_redirects_to_sign_in_and_then_shows_not_found(
    guarded: FlaskClient,
) -> None:
    first = guarded.get("/a/nothing", headers=BROWSER)
    assert (first.status_code, first.headers["Location"]) == (302, "../sign-in?next=%2Fa%2Fnothing")
    page = guarded.get("/a/nothing", headers={**BROWSER, "Cookie": f"{COOKIE}={make_token()}"})
    assert (page.status_code, page.mimetype) == (404, "text/html")


def test_script_gets_401_and_no_redirect(guarded: FlaskClient) -> None:
    for path, headers in (("/api/v1/jobs", BROWSER), ("/", {"Accept": "application/json"})):
        answer = guarded.get(path, headers=headers)
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")


def test_form_has_no_script_and_no_other_origin(guarded: FlaskClient) -> None:
    answer = guarded.get('/sign-in?next=/jobs/"><script>alert(1)</script>', headers=BROWSER)
    page = answer.get_data(as_text=True)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert not re.search(r"<script|\son\w+=|javascript:|<style|style=|https?://", page)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    (style,) = re.findall(r'href="\./([^"]+)"', page)
    with guarded.get(f"/{style}") as found:
        assert (found.status_code, found.mimetype) == (200, "text/css")


# The cookie.


def test_sign_in_sets_an_http_only_strict_cookie(guarded: FlaskClient) -> None:
    token = make_token("read", life=timedelta(days=30))
    answer = sign_in(guarded, f"  {token}\n", next="/machines")
    assert (answer.status_code, answer.headers["Location"]) == (303, "./machines")
    kept = cookie_of(answer)
    assert kept.value == token
    assert kept["httponly"] is True
    assert kept["samesite"] == "Strict"
    assert kept["path"] == "/"
    assert not kept["secure"]
    assert not kept["domain"]
    # A day longer than the token, for the form to say that it has expired.
    assert 0 <= timedelta(days=31).total_seconds() - int(kept["max-age"]) < 60


@pytest.mark.parametrize(
    "request_", [{"headers": {"X-Forwarded-Proto": "https"}}, {"base_url": "https://localhost"}]
)
def test_cookie_is_secure_behind_tls(guarded: FlaskClient, request_: dict[str, Any]) -> None:
    answer = sign_in(
        guarded,
        make_token(),
        **{
            **request_,
            "headers": {
                **request_.get("headers", {}),
                "Origin": request_.get("base_url", "http://localhost"),
            },
        },
    )
    assert cookie_of(answer)["secure"] is True


@pytest.mark.parametrize("path", ["/", "/api/v1/jobs", "/api/v1/metrics", "/api/v1/docs"])
def test_cookie_allows_reading(guarded: FlaskClient, path: str) -> None:
    for token in (make_token("read"), make_token("admin")):
        with guarded.get(path, headers=cookie(token)) as answer:
            assert answer.status_code not in (302, 401, 403)


def test_cookie_of_an_admin_allows_no_changes(guarded: FlaskClient) -> None:
    token = make_token("admin")
    answer = guarded.post("/api/v1/telemetry/backup/j", json=make_body(), headers=cookie(token))
    assert answer.status_code == 401
    assert "only allows reading" in answer.get_json()["detail"]
    both = {**cookie(token), **bearer(token)}
    answer = guarded.post("/api/v1/telemetry/backup/j", json=make_body(), headers=both)
    assert answer.status_code == 200


def test_bad_token_in_the_header_is_refused_despite_a_cookie(guarded: FlaskClient) -> None:
    headers = {**cookie(make_token()), **bearer(make_token(keys=FOREIGN_KEYS))}
    assert guarded.get("/api/v1/jobs", headers=headers).status_code == 401


def test_basic_auth_of_a_proxy_does_not_hide_the_cookie(guarded: FlaskClient) -> None:
    headers = {**cookie(make_token()), "Authorization": "Basic dTpw"}
    assert guarded.get("/api/v1/jobs", headers=headers).status_code == 200


# Refused sign-ins.


@pytest.mark.parametrize(
    ("token", "status", "reason"),
    [
        ("", 401, "not issued by this hub"),
        ("<b>x</b>", 401, "not issued by this hub"),
        (make_token(life=timedelta(days=-1)), 401, "has expired"),
        (make_token(keys=FOREIGN_KEYS), 401, "not issued by this hub"),
        (make_token("ingest"), 403, "can only push"),
    ],
    ids=["nothing", "markup", "expired", "foreign", "ingest"],
)
def test_token_that_cannot_read_shows_the_form_again(
    guarded: FlaskClient, token: str, status: int, reason: str
) -> None:
    answer = sign_in(guarded, token, next="/machines")
    page = answer.get_data(as_text=True)
    assert answer.status_code == status
    assert "Set-Cookie" not in answer.headers
    assert 'role="alert"' in page
    assert reason in page
    assert 'value="/machines"' in page
    assert not token or token not in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_form_from_another_site_is_refused(guarded: FlaskClient, headers: dict[str, str]) -> None:
    answer = sign_in(guarded, make_token(), headers=headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_large_form_is_refused(guarded: FlaskClient) -> None:
    assert sign_in(guarded, "x" * 100_000).status_code == 413


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_sign_in_never_redirects_to_another_site(guarded: FlaskClient, wanted: str) -> None:
    assert sign_in(guarded, make_token(), next=wanted).headers["Location"] == "./"


# Browsers that are already signed in.


def test_signed_in_browser_skips_the_form(guarded: FlaskClient) -> None:
    answer = guarded.get("/sign-in?next=/machines", headers={**BROWSER, **cookie(make_token())})
    assert (answer.status_code, answer.headers["Location"]) == (303, "./machines")


def test_form_says_why_the_session_ended(
    guarded: FlaskClient, guarded_app: Flask, database: Database
) -> None:
    claims = make_claims()
    record(database, claims)
    revoke(database, claims.token_id)
    look_for_revoked(guarded_app)
    reasons = {
        mint(claims, KEYS): "The token is revoked.",
        make_token(life=timedelta(days=-1)): "The token has expired.",
        make_token(keys=FOREIGN_KEYS): "The token was not issued by this hub.",
    }
    for token, reason in reasons.items():
        answer = guarded.get("/sign-in?next=/", headers={**BROWSER, **cookie(token)})
        assert answer.status_code == 200
        assert f"You are not signed in any more. {reason}" in answer.get_data(as_text=True)
    assert "any more" not in guarded.get("/sign-in?next=/", headers=BROWSER).get_data(as_text=True)


def test_form_reloads_after_a_link_from_another_site(guarded: FlaskClient) -> None:
    cross_site = {**BROWSER, "Sec-Fetch-Site": "cross-site"}
    answer = guarded.get("/sign-in?next=/jobs/a%2520b", headers=cross_site)
    assert answer.headers["Refresh"] == "0; url=./sign-in?next=%2Fjobs%2Fa%2520b"
    same_origin = {**BROWSER, "Sec-Fetch-Site": "same-origin"}
    assert "Refresh" not in guarded.get("/sign-in?next=/", headers=same_origin).headers


# Signing out.


def test_sign_out_deletes_the_cookie(guarded: FlaskClient) -> None:
    answer = guarded.post("/sign-out", headers=cookie(make_token()))
    assert (answer.status_code, answer.headers["Location"]) == (303, "./sign-in")
    deleted = cookie_of(answer)
    assert deleted.value == ""
    assert deleted["max-age"] == "0"
    assert deleted["path"] == "/"


def test_sign_out_from_another_site_does_nothing(guarded: FlaskClient) -> None:
    """It can send the form, but the browser does not send the cookie with it."""
    assert "Set-Cookie" not in guarded.post("/sign-out").headers
    assert guarded.get("/sign-out", headers=cookie(make_token())).status_code == 405


# The session.


def session(client: FlaskClient, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = client.get("/api/v1/session", headers=headers or {})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body: dict[str, Any] = answer.get_json()
    return body


def test_session_of_a_cookie(guarded: FlaskClient) -> None:
    claims = make_claims("admin")
    body = session(guarded, cookie(make_token("admin")))
    assert body == {
        "required": True,
        "signed_in": True,
        "by_cookie": True,
        "token_id": claims.token_id,
        "name": claims.name,
        "scope": "read",
        "job_types": [],
        "expires_at": isoformat(claims.expires_at),
        "problem": None,
    }


def test_session_of_a_bearer_token(guarded: FlaskClient) -> None:
    body = session(guarded, bearer(make_token("ingest", "restore", "backup")))
    assert (body["scope"], body["job_types"]) == ("ingest", ["backup", "restore"])
    assert not body["by_cookie"]


@pytest.mark.parametrize("carry", [bearer, cookie])
def test_session_of_an_expired_token(guarded: FlaskClient, carry: Any) -> None:
    body = session(guarded, carry(make_token(life=timedelta(days=-1))))
    assert (body["signed_in"], body["problem"]) == (False, "The token has expired.")


def test_session_without_a_token(guarded: FlaskClient) -> None:
    body = session(guarded)
    assert body["required"]
    assert not body["signed_in"]
    assert body["problem"] is None


def test_hub_without_a_key_requires_no_sign_in(client: FlaskClient) -> None:
    body = session(client)
    assert not body["required"]
    assert not body["signed_in"]
    answer = client.get("/sign-in?next=/machines")
    assert (answer.status_code, answer.headers["Location"]) == (303, "./machines")
    assert sign_in(client, "x").status_code == 303
    assert client.get("/", headers=BROWSER).status_code == 200
