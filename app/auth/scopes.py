"""What a token allows. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

ENDS_SOON = timedelta(days=14)  # time to install a new one on every machine
SNAPSHOTS = "snapshot"  # stands for node snapshots among job types; no job can have it


class Scope(StrEnum):
    """What a token is for: to push, to read, or both."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


_GRANTED = {
    Scope.INGEST: frozenset({Scope.INGEST}),
    Scope.READ: frozenset({Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token. An empty `job_types` allows every type."""

    token_id: str
    name: str
    scope: Scope
    expires_at: datetime
    job_types: frozenset[str] = frozenset()

    def may(self, needed: Scope) -> bool:
        """Whether the scope includes `needed`."""
        return needed in _GRANTED[self.scope]

    def may_push(self, job_type: str) -> bool:
        """Whether `job_types` allows to push updates of jobs of this type."""
        return not self.job_types or job_type in self.job_types

    def ends_soon(self, now: datetime) -> bool:
        """Whether it expires within ENDS_SOON."""
        return self.expires_at - now < ENDS_SOON
