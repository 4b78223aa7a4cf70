"""When an update is due: every few seconds, every few percent, and at every change of state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

INTERVAL_SECONDS = 5.0
PERCENT_STEP = 10.0

Reason = Literal["start", "end", "status", "phase", "error", "interval", "percent"]
# Changes of state: never dropped, and sent at once.
IMPORTANT: frozenset[Reason] = frozenset({"start", "end", "status", "phase", "error"})


@dataclass(frozen=True, slots=True)
class Moment:
    """What decides whether an update is due.

    `at_seconds` is of the monotonic clock; `percent` is None while it is unknown, and then never a
    reason; `disk_statuses` and `error` are whatever can be compared.
    """

    at_seconds: float
    percent: float | None = None
    status: str = "running"
    phase: str | None = None
    error: object = None
    disk_statuses: object = ()


def should_send(
    last: Moment | None,
    now: Moment,
    *,
    interval_seconds: float = INTERVAL_SECONDS,
    percent_step: float = PERCENT_STEP,
) -> Reason | None:
    """Why an update is due, or None. `last` is the last one that was captured, None before any.

    A job that has ended has nothing more to say.
    """
    if last is None:
        return "start"
    if last.status != "running":
        return None
    if now.status != "running":
        return "end"
    if now.disk_statuses != last.disk_statuses:
        return "status"
    if now.phase != last.phase:
        return "phase"
    if now.error != last.error:
        return "error"
    if now.at_seconds - last.at_seconds >= interval_seconds:
        return "interval"
    if now.percent is None:
        return None
    # From unknown to known is a step of its own; a restarted job goes back, which is one as well.
    if last.percent is None or abs(now.percent - last.percent) >= percent_step:
        return "percent"
    return None
