"""Makes and reads tokens: signed JWTs (HS256), which are verified without the database."""

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
LEEWAY_SECONDS = 60  # the clocks of the machines that make and read tokens differ
LONGEST = 4096  # characters; with one or two job types a token has about 250
FOREIGN = "The token was not issued by this hub."

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_OBJECT = "eyJ"  # `{"` in base64url: a JWT begins with a JSON object
_OPTIONS: Any = {"require": ["iss", "jti", "sub", "scope", "iat", "exp"]}


def mint(claims: Claims, keys: Keys, issued_at: datetime | None = None) -> str:
    """The token with these claims, signed with the first key."""
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


def looks_like_token(text: str) -> bool:
    """Whether a text has the form of a token, valid or not. Names with two dots do not have it."""
    return text.startswith(_OBJECT) and _FORM.fullmatch(text) is not None


def read_token(token: str, keys: Keys) -> Claims:
    """The claims of a token, revoked or not. Raises Unauthorized; FOREIGN gives no details."""
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
                "The token is not valid yet: the clock of the hub, or of the machine that made the "
                "token, is wrong."
            ) from exc
        # The header is parsed before the signature is verified, and may be deeply nested. Claims
        # may be of any JSON type: PyJWT converts and compares them.
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise Unauthorized(FOREIGN) from exc
    raise Unauthorized(FOREIGN)


def has_ended(claims: Claims, now: datetime) -> bool:
    """Whether it has expired since it was read."""
    return (now - claims.expires_at).total_seconds() >= LEEWAY_SECONDS


def _decode(token: str, key: bytes) -> dict[str, Any]:
    return jwt.decode(
        token, key, algorithms=[ALGORITHM], options=_OPTIONS, issuer=ISSUER, leeway=LEEWAY_SECONDS
    )


def _claims(body: dict[str, Any]) -> Claims:
    """Raises ValueError for claims that `mint` does not make."""
    job_types = body.get("job_types", [])
    if not isinstance(job_types, list) or not all(isinstance(each, str) for each in job_types):
        raise ValueError("job_types is not a list of text")
    if not all(isinstance(body[name], str) for name in ("jti", "sub", "scope")):
        raise ValueError("jti, sub or scope is not text")
    if not all(type(body[name]) is int for name in ("iat", "exp")):
        raise ValueError("iat or exp is not a whole number")
    return Claims(
        token_id=body["jti"],
        name=body["sub"],
        scope=Scope(body["scope"]),
        expires_at=datetime.fromtimestamp(body["exp"], UTC),
        job_types=frozenset(job_types),
    )
