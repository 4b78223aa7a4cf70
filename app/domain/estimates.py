"""Computes from a job's row how long it ran and how long it still needs."""

from __future__ import annotations

import math
from datetime import datetime

from app.domain.statuses import LIVE_STATUSES

# Beyond this a rate is noise (one byte in a day of a 100 TiB job), and a count of seconds
# would outgrow what JSON readers keep exactly.
LONGEST_ETA_SECONDS = 10 * 365 * 86_400


def duration_seconds(
    started_at: datetime, completed_at: datetime | None, newest_update_at: datetime | None
) -> float | None:
    """Seconds from the start to the end, or to the newest update of a job that has not ended.

    To the millisecond, never negative; None before the first update.
    """
    end = completed_at or newest_update_at
    return None if end is None else max(0.0, round((end - started_at).total_seconds(), 3))


def hub_eta_seconds(
    *,
    status: str,
    bytes_transferred: int,
    total_bytes: int,
    started_at: datetime,
    newest_update_at: datetime | None,
) -> int | None:
    """The hub's own estimate of the seconds a live job still needs, rounded up.

    It assumes the mean rate so far. With d bytes done of T, and e seconds from the start to the
    newest update:

        rate = d / e            ETA = (T - d) / rate = (T - d) * e / d

    It is steadier than the sender's ETA, which follows the current speed, and does not change while
    a job is stalled. None if the job is not live, has moved nothing, has no total or has reached
    it, if no time has passed, or if the result exceeds LONGEST_ETA_SECONDS.
    """
    if status not in LIVE_STATUSES or newest_update_at is None:
        return None
    elapsed_seconds = (newest_update_at - started_at).total_seconds()
    if elapsed_seconds <= 0 or not 0 < bytes_transferred < total_bytes:
        return None
    remaining_bytes = total_bytes - bytes_transferred
    eta_seconds = math.ceil(remaining_bytes * elapsed_seconds / bytes_transferred)
    return eta_seconds if eta_seconds <= LONGEST_ETA_SECONDS else None
