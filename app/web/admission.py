"""Access control: host, loopback, token, scope, job type and rate, in one function.

Each route names its permission; `Admission.admit` checks it before the view runs, or the push is
decoded.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from werkzeug.http import parse_cookie

from app.auth.guard import Guard
from app.auth.scopes import Claims, Scope
from app.auth.tokens import looks_like_token
from app.clock import isoformat
from app.domain.updates import Update
from app.errors import Forbidden, InvalidInput, RequestError, Unauthorized
from app.schemas.decode import Rejected
from app.web.hosts import ANY_HOST, is_allowed, is_local
from app.web.permissions import Permission
from app.web.rate import TokenRate
from app.web.request import Request

COOKIE = "hub_token"
EXPIRES_HEADER = "Token-Expires"  # in answers to a token that expires in less than 14 days
_FORWARDED = (
    "This hub has no token key, so it serves only its own machine, and no requests that a proxy "
    "passes on: make a key (`python -m app token key FILE`) and set HUB_TOKEN_KEY_FILE."
)
_OF_BROWSERS = ("sec-fetch-site", "origin", "sec-purpose", "purpose")  # the last: to prefetch
_REALM = 'Bearer realm="telemetry-hub"'


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted request: its token's claims, if it has one.

    `refusal` says why the token of a request to an open route was rejected.
    """

    claims: Claims | None = None
    refusal: str | None = None


class Admission:
    """Checks requests against the hub's host names, tokens and rate limit. Thread-safe."""

    def __init__(
        self, hosts: frozenset[str], guard: Guard | None, rate: TokenRate | None = None
    ) -> None:
        """Without a `guard` the hub serves only its own machine, and requires no tokens.

        A request that a proxy passed on is of another machine, whatever its address is.
        """
        self.guard = guard
        self._rate = rate
        self._is_host = lru_cache(maxsize=256)(lambda host: is_allowed(host, ANY_HOST))
        self._is_allowed_host = lru_cache(maxsize=256)(lambda host: is_allowed(host, hosts))
        self._is_local = lru_cache(maxsize=1024)(is_local)

    def admit(
        self,
        request: Request,
        permission: Permission,
        job_type: str | None = None,
        *,
        is_charged: bool = True,
    ) -> Admitted:
        """Check a request. `job_type` is the one in its path.

        `is_charged`: count a push towards the rate of its token.

        Raises InvalidInput for a host that is not allowed, Unauthorized, Forbidden, TooManyUpdates.
        """
        is_good_host = self._is_host if permission.any_host else self._is_allowed_host
        if not is_good_host(request.headers.get("host", "")):
            raise InvalidInput(
                "Host: is not one name, or not allowed; add the name to HUB_ALLOWED_HOSTS."
            )
        if permission.by_programs and is_of_browser(request):
            raise Forbidden("Pings come from programs: a page could make a browser send this.")
        if self.guard is None:
            if not self._is_local(request.peer):
                raise Forbidden("This hub has no token key, so it serves only its own machine.")
            names = f" {' '.join(request.headers)} "
            if "forwarded" in names or " via " in names or " x-real-ip " in names:
                raise Forbidden(_FORWARDED)
            return Admitted()
        if permission.is_open:
            return _identify_if_possible(request, self.guard)
        try:
            claims = _identify(request, self.guard)
            request.answer_headers = _expiry_headers(claims, self.guard)
            _require(claims, permission, job_type)
        except (Unauthorized, Forbidden) as refusal:
            refusal.headers = _challenge(refusal, permission)
            raise
        is_push = request.method == "POST" or permission.scope is Scope.INGEST
        if self._rate is not None and is_charged and is_push:
            self._rate.take(claims.token_id)
        return Admitted(claims)

    def charge(self, claims: Claims | None, updates: int) -> None:
        """Count the updates of a batch; `admit` has already counted one of them."""
        if self._rate is not None and claims is not None and updates > 1:
            self._rate.charge(claims.token_id, updates - 1)


def _identify_if_possible(request: Request, guard: Guard) -> Admitted:
    try:
        claims = _identify(request, guard)
    except Unauthorized as refusal:
        return Admitted(refusal=str(refusal))
    request.answer_headers = _expiry_headers(claims, guard)
    return Admitted(claims)


def _identify(request: Request, guard: Guard) -> Claims:
    """The claims of the request's token. What a browser sends by itself only allows reading."""
    token = read_header_token(request)
    if token is not None:
        return guard.identify(token)
    token = read_cookie(request) or _read_password(request)
    if token is None:
        raise Unauthorized
    if request.method not in ("GET", "HEAD"):
        raise Unauthorized(
            "The sign-in cookie, or a password that a browser sends, only allows reading; send "
            "`Authorization: Bearer <token>`."
        )
    claims = guard.identify(token)
    return replace(claims, scope=Scope.READ) if claims.may(Scope.READ) else claims


def _expiry_headers(claims: Claims, guard: Guard) -> Sequence[tuple[str, str]]:
    if not guard.ends_soon(claims):
        return ()
    return ((EXPIRES_HEADER, isoformat(claims.expires_at)),)


def read_cookie(request: Request) -> str | None:
    """The token in the browser's sign-in cookie."""
    cookies = request.headers.get("cookie", "")
    return parse_cookie(cookies).get(COOKIE) if COOKIE in cookies else None


def read_header_token(request: Request) -> str | None:
    """The token that a program has put into a header, in the first of these that has one.

    `Authorization: Bearer`, the password of `Authorization: Basic`, `X-API-Key`. Not the password
    that a browser sends: it remembers it, and sends it with requests of other sites too.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    password = None if is_of_browser(request) else _read_password(request)
    return password or request.headers.get("x-api-key", "").strip() or None


def is_of_browser(request: Request) -> bool:
    """Whether a browser sent the request: programs do not set these headers (Fetch Metadata)."""
    return any(name in request.headers for name in _OF_BROWSERS)


def _read_password(request: Request) -> str | None:
    """The token that is the password of basic authentication, with any user name.

    None for another password: it is that of a proxy in front of the hub.
    """
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        credentials = b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # not base64, or not UTF-8
        return None
    password = credentials.partition(":")[2]
    return password if looks_like_token(password) else None


def require_job_type(claims: Claims | None, job_type: str) -> None:
    """Raise Forbidden unless the token may push jobs of this type. No claims: no limit."""
    if claims is not None and not claims.may_push(job_type):
        raise Forbidden(_limit(claims))


def refuse_other_types(
    items: Sequence[Update | Rejected], claims: Claims | None
) -> Sequence[Update | Rejected]:
    """The batch, with updates of job types that the token may not push replaced by rejections.

    Raises Forbidden if the token may push none of them: it is probably the wrong token, and the
    sender keeps the batch until it has the right one.
    """
    if claims is None or not claims.job_types:
        return items
    updates = [item for item in items if isinstance(item, Update)]
    if updates and not any(claims.may_push(update.job_type) for update in updates):
        raise Forbidden(_limit(claims))
    rejected: Rejected = {"job_type": [_limit(claims)]}
    return [
        rejected if isinstance(item, Update) and not claims.may_push(item.job_type) else item
        for item in items
    ]


def _require(claims: Claims, permission: Permission, job_type: str | None) -> None:
    needed = permission.scope
    if needed is not None and not claims.may(needed):
        raise Forbidden(f"This requires scope {needed}; the token has scope {claims.scope}.")
    job_type = permission.job_type or job_type
    if needed is Scope.INGEST and job_type is not None:
        require_job_type(claims, job_type)


def _limit(claims: Claims) -> str:
    return f"This token may push only jobs of type {' or '.join(sorted(claims.job_types))}."


def _challenge(refusal: RequestError, permission: Permission) -> Sequence[tuple[str, str]]:
    """RFC 6750, section 3: the required scope, and what is wrong with the token sent."""
    challenge = _REALM
    if isinstance(refusal, Forbidden):
        scope = f', scope="{permission.scope}"' if permission.scope else ""
        challenge += f', error="insufficient_scope"{scope}'
    elif str(refusal) != str(Unauthorized()):
        challenge += ', error="invalid_token"'
    return ("WWW-Authenticate", challenge), ("Cache-Control", "no-store")
