"""Tokens for tests, valid and otherwise, and the keys that sign them."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta

import jwt

from app.auth.keys import Keys
from app.auth.scopes import Claims, Scope
from app.auth.tokens import mint
from app.clock import utc_now

KEYS: Keys = (b"the-key-that-signs-now-" + b"x" * 64, b"the-key-before-it-" + b"y" * 32)
FOREIGN_KEYS: Keys = (b"the-key-of-somebody-else-0123456789abcd",)
YEAR = timedelta(days=365)


def make_claims(scope: str = "read", *job_types: str, life: timedelta = YEAR) -> Claims:
    """What a token of this scope says; by its id one can revoke it."""
    expires_at = utc_now().replace(microsecond=0) + life
    return Claims(f"id-{scope}", f"a {scope}er", Scope(scope), expires_at, frozenset(job_types))


def make_token(
    scope: str = "read", *job_types: str, life: timedelta = YEAR, keys: Keys = KEYS
) -> str:
    """A token as `token create` makes it."""
    return mint(make_claims(scope, *job_types, life=life), keys)


def unsigned(token: str) -> str:
    """The same claims under `alg: none`, without a signature."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none")


def password(token: str, user: str = "any") -> dict[str, str]:
    """The header that carries it as a password."""
    credentials = b64encode(f"{user}:{token}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


def api_key(token: str) -> dict[str, str]:
    """The header of tools that know keys only."""
    return {"X-API-Key": token}


def bearer(token: str) -> dict[str, str]:
    """The header that carries it."""
    return {"Authorization": f"Bearer {token}"}
