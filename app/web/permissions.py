"""What a route may ask of a request. `Admission` enforces it."""

from __future__ import annotations

from dataclasses import dataclass

from app.auth.scopes import SNAPSHOTS, Scope


@dataclass(frozen=True, slots=True)
class Permission:
    """What a route requires: a scope, any token if `scope` is None, or nothing if `is_open`.

    `is_page`: redirect browsers that are not signed in to the sign-in page. `job_type`: the job
    type to check for a push; without it the path's, or the view calls `require_job_type`.
    `any_host`: accept any Host header. `by_programs`: refuse browsers, because a GET changes
    something.
    """

    scope: Scope | None = None
    is_open: bool = False
    is_page: bool = False
    job_type: str | None = None
    any_host: bool = False
    by_programs: bool = False

    @property
    def takes_body(self) -> bool:
        """Whether a route with it may read a large body."""
        return self.scope is Scope.INGEST


OPEN = Permission(is_open=True)
# Load balancers check health by any address and without a token; it exposes no secrets.
HEALTH = Permission(is_open=True, any_host=True)
READ = Permission(Scope.READ)
PAGE = Permission(Scope.READ, is_page=True)
ADMIN = Permission(Scope.ADMIN)
PUSH = Permission(Scope.INGEST)
PUSH_SNAPSHOT = Permission(Scope.INGEST, job_type=SNAPSHOTS)
PING = Permission(Scope.INGEST, by_programs=True)
ANY_TOKEN = Permission()  # for OPTIONS, and for paths without a route
