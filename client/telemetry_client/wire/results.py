"""What can become of a push."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

CONNECTION_ERROR = "connection_error"
TIMEOUT = "timeout"


@dataclass(frozen=True)
class Rejection:
    """One item of a batch that was not accepted."""

    index: int
    reason: str
    # Whether fields of the item are to blame. Otherwise the hub failed to store it, which may pass,
    # or the token does not allow it: pushed alone, it gets a status that says which.
    names_fields: bool = True


@dataclass(frozen=True)
class NotApplied:
    """One item that is stored, is not a repeat, and did not change its job."""

    index: int
    reason: str


@dataclass(frozen=True)
class Accepted:
    """The hub has stored it, except what is `rejected` (batches only).

    `not_applied`: of a batch, the first 20. `run`: of a single update, the run that it belongs to;
    None if the hub does not say.
    """

    duplicates: int = 0
    rejected: tuple[Rejection, ...] = ()
    not_applied: tuple[NotApplied, ...] = ()
    run: int | None = None


@dataclass(frozen=True)
class Refused:
    """This payload will never be accepted; `reason` is the hub's and names fields."""

    status: int
    reason: str


@dataclass(frozen=True)
class Unreachable:
    """Nothing is known to be stored: send it again later.

    `status`: of the response, if there was one. `is_from_hub`: it was the hub's, and not that of a
    proxy, a login page or another program at the hub's address.
    """

    reason: str
    retry_after_seconds: float | None = None
    spends_try: bool = False
    status: int | None = None
    is_from_hub: bool = False


RESULTS = (Accepted, Refused, Unreachable)
Result = Union[Accepted, Refused, Unreachable]
