"""Making a token and reading one: signed JWTs (HS256), which need no database to be believed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import jwt

from app.auth.keys import Keys
from app.auth.scopes import Claims, Scope
from app.clock import utc_now
from app.errors import Unauthorized

ALGORITHM = "HS256"
ISSUER = "telemetry-hub"
LEEWAY_SECONDS = 60  # clocks of the machines that make tokens and those that read them differ
LONGEST = 4096  # characters; ours have about 250, with a job type or two
FOREIGN = "The token is none of this hub's."

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_OPTIONS: Any = {"require": ["iss", "jti", "sub", "scope", "iat", "exp"]}


def mint(claims: Claims, keys: Keys, issued_at: datetime | None = None) -> str:
    """The token that says so, signed with the first of the keys."""
    body: dict[str, Any] = {
        "iss": ISSUER,
        "jti": claims.token_id,
        "sub": claims.name,
        "scope": claims.scope.value,
        "iat": int((issued_at or utc_now()).timestamp()),
        "exp": int(claims.expires_at.timestamp()),
    }
    if claims.job_types:
        body["job_types"] = sorted(claims.job_types)
    return jwt.encode(body, keys[0], algorithm=ALGORITHM)


def read_token(token: str, keys: Keys) -> Claims:
    """What it says. Raises Unauthorized with a reason: of a foreign one, only that it is foreign.

    Whether it is revoked is not known here.
    """
    if len(token) > LONGEST or not _FORM.fullmatch(token):
        raise Unauthorized(FOREIGN)
    for key in keys:
        try:
            return _claims(_decode(token, key))
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError as exc:
            raise Unauthorized("The token has expired.") from exc
        except jwt.ImmatureSignatureError as exc:
            raise Unauthorized(
                "The token is of the future: the clock here, or where it was made, is wrong."
            ) from exc
        # The header is parsed before the signature is looked at, and may be nested as deep as it
        # is long.
        except (jwt.InvalidTokenError, ValueError, OverflowError, RecursionError) as exc:
            raise Unauthorized(FOREIGN) from exc
    raise Unauthorized(FOREIGN)


def has_ended(claims: Claims, now: datetime) -> bool:
    """Whether it has expired since it was read, by the same measure."""
    return (now - claims.expires_at).total_seconds() >= LEEWAY_SECONDS


def _decode(token: str, key: bytes) -> dict[str, Any]:
    return jwt.decode(
        token, key, algorithms=[ALGORITHM], options=_OPTIONS, issuer=ISSUER, leeway=LEEWAY_SECONDS
    )


def _claims(said: dict[str, Any]) -> Claims:
    """Raises ValueError for a scope or types that no token of ours has."""
    job_types = said.get("job_types", [])
    if not isinstance(job_types, list) or not all(isinstance(each, str) for each in job_types):
        raise ValueError("job_types is no list of text")
    return Claims(
        token_id=said["jti"],
        name=said["sub"],
        scope=Scope(said["scope"]),
        expires_at=datetime.fromtimestamp(said["exp"], UTC),
        job_types=frozenset(job_types),
    )
