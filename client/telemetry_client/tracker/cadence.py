"""When an update is due: every 5 seconds, every 10 percent, and at every change of state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

INTERVAL_SECONDS = 5.0
PERCENT_STEP = 10.0

Reason = Literal["start", "end", "status", "phase", "error", "interval", "percent"]
# Changes of state: never dropped, and sent at once.
IMPORTANT: frozenset[Reason] = frozenset({"start", "end", "status", "phase", "error"})


@dataclass(frozen=True)
class Moment:
    """What decides whether an update is due.

    `at_seconds` is of the monotonic clock; `percent` is None while it is unknown and then never a
    reason; `disk_statuses` and `error` may be any values that can be compared.
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
    """Why an update is due, or None. `last` was captured last, None before the first update.

    After the end of a job no update is due.
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
    # So is a percent that becomes known, and one that goes back because the job was restarted.
    if last.percent is None or abs(now.percent - last.percent) >= percent_step:
        return "percent"
    return None
