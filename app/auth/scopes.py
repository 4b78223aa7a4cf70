"""What a token says, and what follows from it. Pure: standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

ENDS_SOON = timedelta(days=14)  # time for whoever has to bring a new one to every machine
SNAPSHOTS = "snapshot"  # what a node pushes counts as jobs of this type, which no job can have


class Scope(StrEnum):
    """What a token is for. A sender cannot look, a reader cannot push, an admin may do both."""

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
    """What a token says of its holder. `job_types` is empty for one without a limit."""

    token_id: str
    name: str
    scope: Scope
    expires_at: datetime
    job_types: frozenset[str] = frozenset()

    def may(self, needed: Scope) -> bool:
        """Whether this scope includes the one that is needed."""
        return needed in _GRANTED[self.scope]

    def may_push(self, job_type: str) -> bool:
        """Whether updates of jobs of this type may be pushed, as far as the limit goes."""
        return not self.job_types or job_type in self.job_types

    def ends_soon(self, now: datetime) -> bool:
        """Whether it is time to make the next one."""
        return self.expires_at - now < ENDS_SOON
