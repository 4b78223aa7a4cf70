"""A hub that requires tokens, besides the open one that most tests use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.api.context import hub_of
from app.api.factory import close_app
from app.auth.scopes import Claims
from app.config import Config
from app.database.pool import Database
from app.store.tokens import TokenRow, insert_token, revoke_token
from tests.tokens import KEYS, YEAR


def record(database: Database, claims: Claims) -> None:
    """Store what the hub knows of a token."""
    made_at = claims.expires_at - YEAR
    row = TokenRow(claims.token_id, claims.name, claims.scope, [], made_at, claims.expires_at)
    with database.transaction() as conn:
        insert_token(conn, row)


def revoke(database: Database, token_id: str) -> None:
    """Revoke a recorded token."""
    with database.transaction() as conn:
        assert revoke_token(conn, token_id) is not None


def look_for_revoked(app: Flask) -> None:
    """Make the hub read the revoked tokens now."""
    watch = hub_of(app).watch
    assert watch is not None
    watch.look()


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key file like the one that `token key` creates."""
    path = tmp_path_factory.mktemp("keys") / "token.key"
    path.touch(mode=0o600)
    path.write_bytes(b"\n".join(KEYS))
    return path


@pytest.fixture(scope="session")
def running_guarded_app(config: Config, key_file: Path) -> Iterator[Flask]:
    app = create_app(replace(config, token_key_file=key_file))
    yield app
    close_app(app)


@pytest.fixture
def guarded_app(running_guarded_app: Flask, database: Database) -> Flask:
    """The application that requires tokens, on empty tables. No token is revoked."""
    look_for_revoked(running_guarded_app)
    return running_guarded_app


@pytest.fixture
def guarded(guarded_app: Flask) -> FlaskClient:
    """Its client. Cookies are sent only if a test sets the header."""
    return guarded_app.test_client(use_cookies=False)
