"""Tokens, keys and scopes by themselves: what is believed, refused and remembered."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from app.api.signin import own_path
from app.auth import guard as guard_module
from app.auth.guard import Guard
from app.auth.keys import create_key_file, read_keys, rotate_key_file
from app.auth.scopes import Claims, Scope
from app.auth.tokens import LEEWAY_SECONDS, mint, read_token
from app.clock import utc_now
from app.errors import ConfigError, Unauthorized
from tests.tokens import FOREIGN_KEYS, KEYS, make_claims, make_token, unsigned

FOREIGN = "not issued by this hub"


def signed(key: bytes = KEYS[0], algorithm: str = "HS256", **changes: object) -> str:
    """A token of ours with other claims; None leaves one out."""
    claims = jwt.decode(make_token(), options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm)


# Reading.


def test_a_token_says_what_was_put_in() -> None:
    claims = make_claims("ingest", "backup", "restore")
    assert read_token(mint(claims, KEYS), KEYS) == claims


def test_both_keys_are_valid_and_no_other() -> None:
    assert read_token(make_token(keys=KEYS[1:]), KEYS).scope is Scope.READ
    with pytest.raises(Unauthorized, match=FOREIGN):
        read_token(make_token(keys=KEYS[1:]), KEYS[:1])


OTHERS = {
    "empty": "",
    "no token": "x",
    "three letters": "a.b.c",
    "foreign key": make_token(keys=FOREIGN_KEYS),
    "alg none": unsigned(make_token()),
    "cut off": make_token()[:-2],
    "padded": make_token() + "=",
    "line break": make_token().replace(".", ".\n", 1),
    "too long": make_token() + "x" * 5000,
    "no ASCII": "é.é.é",
    "another algorithm": signed(algorithm="HS512"),
    "another issuer": signed(iss="another-hub"),
    "no issuer": signed(iss=None),
    "no end": signed(exp=None),
    "no id": signed(jti=None),
    "unknown scope": signed(scope="owner"),
    "list of scopes": signed(scope=["admin"]),
    "types as text": signed(job_types="backup"),
    "number as name": signed(sub=7),
    "end as text": signed(exp="2000000000"),
    "end as a fraction": signed(exp=2e9),
    "end as a list": signed(exp=[2_000_000_000]),
    "end beyond the calendar": signed(exp=10**15),
    "end beyond all numbers": signed(exp=10**30),
    "start as text": signed(iat="0"),
    "start as an object": signed(iat={}),
    "id as a list": signed(jti=[]),
    "object as scope": signed(scope={}),
}


@pytest.mark.parametrize("token", OTHERS.values(), ids=OTHERS)
def test_what_is_none_of_ours_is_refused_alike(token: str) -> None:
    with pytest.raises(Unauthorized, match=FOREIGN):
        read_token(token, KEYS)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "RS256", "HS384", ""])
def test_the_token_does_not_choose_how_it_is_checked(algorithm: str) -> None:
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=").decode()
    _, body, signature = make_token("admin").split(".")
    for text in (f"{head}.{body}.{signature}", f"{head}.{body}."):
        with pytest.raises(Unauthorized, match=FOREIGN):
            read_token(text, KEYS)


def test_a_header_nested_as_deep_as_it_is_long_is_refused() -> None:
    head = base64.urlsafe_b64encode(b"[" * 2900).rstrip(b"=").decode()
    with pytest.raises(Unauthorized, match=FOREIGN):
        read_token(f"{head}.e30.e30", KEYS)


@pytest.mark.parametrize(
    ("seconds", "is_valid"),
    [(60, True), (-LEEWAY_SECONDS + 10, True), (-LEEWAY_SECONDS - 10, False)],
)
def test_an_end_is_judged_with_leeway_for_clocks(seconds: int, is_valid: bool) -> None:
    token = make_token(life=timedelta(seconds=seconds))
    guard = Guard(KEYS)
    for _ in range(2):  # the second time it is remembered, or refused again
        if is_valid:
            assert guard.identify(token)
        else:
            with pytest.raises(Unauthorized, match="expired"):
                guard.identify(token)


def test_a_token_made_by_a_clock_ahead_is_valid_within_the_leeway() -> None:
    claims = make_claims()
    soon, later = utc_now() + timedelta(seconds=30), utc_now() + timedelta(seconds=300)
    assert read_token(mint(claims, KEYS, soon), KEYS) == claims
    with pytest.raises(Unauthorized, match="not valid yet"):
        read_token(mint(claims, KEYS, later), KEYS)


# What a process remembers.


def test_what_is_remembered_still_ends() -> None:
    now = utc_now()
    guard = Guard(KEYS, now=lambda: now)
    token = make_token(life=timedelta(minutes=1))
    guard.identify(token)
    now += timedelta(minutes=1, seconds=LEEWAY_SECONDS + 1)
    with pytest.raises(Unauthorized, match="expired"):
        guard.identify(token)
    now -= timedelta(hours=1)  # the clock was wrong, and is set back
    assert guard.identify(token)


def test_what_is_remembered_can_be_revoked_and_is_refused_at_once() -> None:
    guard = Guard(KEYS)
    token = make_token()
    guard.identify(token)
    guard.replace_revoked(frozenset({make_claims().token_id}))
    with pytest.raises(Unauthorized, match="revoked"):
        guard.identify(token)


def test_a_key_that_is_gone_takes_its_tokens_along() -> None:
    guard = Guard(KEYS)
    old, new = make_token(keys=KEYS[1:]), make_token()
    guard.identify(old)
    guard.replace_keys((b"a-new-key-in-the-first-place-0123456789", KEYS[0]))
    assert guard.identify(new)
    with pytest.raises(Unauthorized, match=FOREIGN):
        guard.identify(old)


def test_a_token_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(token: str, keys: object) -> Claims:
        reads.append(token)
        return make_claims()

    monkeypatch.setattr(guard_module, "read_token", read)
    guard = Guard(KEYS)
    for _ in range(10):
        guard.identify("a")
    assert reads == ["a"]


def test_what_is_remembered_is_bounded_and_holds_no_foreign_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard_module, "CACHED", 3)
    guard = Guard(KEYS)
    tokens = [make_token(life=timedelta(days=day)) for day in range(1, 6)]
    for token in tokens:
        guard.identify(token)
    with pytest.raises(Unauthorized):
        guard.identify(make_token(keys=FOREIGN_KEYS))
    assert list(guard._verified[1]) == tokens[2:]
    assert guard.identify(tokens[0])


# Scopes.


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("ingest", {"ingest"}), ("read", {"read"}), ("admin", {"ingest", "read", "admin"})],
)
def test_a_scope_grants_what_it_says(scope: str, allowed: set[str]) -> None:
    assert {needed.value for needed in Scope if make_claims(scope).may(needed)} == allowed


def test_a_limit_of_types_limits_and_none_does_not() -> None:
    assert make_claims("ingest").may_push("anything")
    limited = make_claims("ingest", "backup")
    assert limited.may_push("backup")
    assert not limited.may_push("restore")


def test_the_last_two_weeks_are_soon() -> None:
    now = datetime(2026, 3, 10, tzinfo=UTC)
    ends = [Claims("i", "n", Scope.READ, now + timedelta(days=days)) for days in (15, 13, -1)]
    assert [claims.ends_soon(now) for claims in ends] == [False, True, True]


# The file of the keys.


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "token.key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    before = os.umask(0)
    try:
        create_key_file(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_keys(path)) == 1


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = key_file(tmp_path, KEYS[0])
    with pytest.raises(ConfigError, match="exists already"):
        create_key_file(path)
    assert path.read_bytes() == KEYS[0]


def test_rotating_keeps_the_key_before_and_drops_the_one_before_that(tmp_path: Path) -> None:
    path = key_file(tmp_path, b"\n".join(KEYS), mode=0o640)
    rotate_key_file(path)
    new, old = read_keys(path)
    assert old == KEYS[0]
    assert new not in KEYS
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["token.key"]


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (b"x" * 31, 0o600, "less than 32 bytes"),
        (KEYS[0] + b"\nshort", 0o600, "less than 32 bytes"),
        (b"# a comment\n\n", 0o600, "it has 0"),
        (b"\n".join([*KEYS, KEYS[0]]), 0o600, "it has 3"),
        (KEYS[0], 0o604, "chmod 600"),
        (KEYS[0], 0o602, "chmod 600"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes, mode: int, sentence: str
) -> None:
    path = key_file(tmp_path, content, mode)
    with pytest.raises(ConfigError) as refused:
        read_keys(path)
    message = str(refused.value)
    assert sentence in message
    assert str(path) in message
    assert "\n" not in message
    assert not any(key.decode() in message for key in KEYS)


@pytest.mark.parametrize("name", ["nowhere.key", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / name)


def test_comments_and_empty_lines_do_not_count(tmp_path: Path) -> None:
    path = key_file(tmp_path, b"# signs\r\n" + KEYS[0] + b"  \r\n\r\n# before\n" + KEYS[1])
    assert read_keys(path) == KEYS


# Where to after signing in.


@pytest.mark.parametrize("path", ["/", "/machines", "/jobs/a%20b?from=1&to=2", "/jobs/a:b"])
def test_own_paths_are_gone_to(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "machines",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/a\nb",
        "/\t/evil.example",
        "/a\\b",
        "//[",
    ],
)
def test_anything_else_is_the_front_page(path: str) -> None:
    assert own_path(path) == "/"
