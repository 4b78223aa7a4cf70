"""The clock of a job's sender: how far it is ahead of the hub's, and when it was set back.

Instants and differences in µs. Only updates that are fresh say something: an old one may have been
waiting for any time.
"""

from __future__ import annotations

from app.domain.job_state import JobState, Registers
from app.domain.staleness import FUTURE_SECONDS
from app.domain.timestamps import FUTURE_TOLERANCE, OLD_AFTER, SECOND
from app.domain.updates import Fields, Update

# Updates that overtake each other on the way are closer together.
LEAST_SET_BACK = 30 * SECOND
# How much less than usual an update may take to arrive.
_JITTER = 5 * SECOND
SET_BACK = "clock_set_back"
HUB_AHEAD = "hub_clock_ahead"
_MOVING = ("bytes_transferred", "progress_percent")


def measure(state: JobState, timestamp: int, now: int) -> None:
    """Take the skew from the update that took the least time to arrive, whatever their order."""
    if timestamp >= now - OLD_AFTER:
        ahead = timestamp - now
        state.skew = ahead if state.skew is None else max(state.skew, ahead)


def find_set_back(state: JobState, update: Update, now: int) -> int | None:
    """By how much the clock was set back since the newest update (µs); None if it was not.

    An update that comes late from before the newest has no more bytes, and no higher percent: one
    that has was sent after it.
    """
    timestamp = update.timestamp
    if timestamp is None or state.newest is None or state.skew is None or state.has_ended:
        return None
    if state.clock_offset is not None and SET_BACK not in state.warnings:
        return None  # a clock that is wrong altogether
    set_back = now + state.skew - timestamp
    if not LEAST_SET_BACK <= state.newest - timestamp <= set_back <= OLD_AFTER:
        return None
    named = [(state.registers, update.fields)]
    named += [(state.disks[i], disk) for i, disk in update.disks.items() if i in state.disks]
    moved = [_moved(registers, fields, timestamp) for registers, fields in named]
    return set_back if any(moved) and None not in moved else None


def _moved(registers: Registers, named: Fields, timestamp: int) -> bool | None:
    """Whether something is further on than a later update says; None if something is behind."""
    moved = False
    for name in _MOVING:
        value, known = named.get(name), registers.values.get(name)
        if value is None or known is None or registers.times[name] <= timestamp:
            continue
        if value < known:  # type: ignore[operator]  # both are numbers
            return None
        moved |= value > known  # type: ignore[operator]
    return moved


def is_shifted(state: JobState, timestamp: int, now: int) -> bool:
    """Whether the clock is still set back: else it was set right again, and its time is used."""
    if state.clock_offset is None or SET_BACK not in state.warnings:
        return False
    return timestamp + state.clock_offset <= now + (state.skew or 0) + _JITTER


def shift_of(state: JobState, update: Update, now: int) -> int | None:
    """What is added to the update's timestamp because the clock was set back; None: nothing."""
    if set_back := find_set_back(state, update, now):
        return set_back
    if update.timestamp is not None and is_shifted(state, update.timestamp, now):
        return state.clock_offset
    return None


def was_hub_ahead(state: JobState, now: int) -> bool:
    """Whether updates are stored so far ahead that the hub's clock must have been wrong."""
    return state.newest is not None and state.newest > latest(now)


def latest(now: int) -> int:
    """Up to when an update may be stored by a clock that is right."""
    return now + FUTURE_TOLERANCE + FUTURE_SECONDS * SECOND


def forget_hubs_error(
    state: JobState, now: int, first: int | None, newest: int | None
) -> dict[str, str]:
    """Forget what was learnt while the hub's clock was ahead; return the warning, by its code.

    `first`, `newest`: of the updates, which are stored at their senders' times by now.
    """
    assert state.newest is not None
    days, seconds = divmod(round((state.newest - now) / SECOND), 86_400)
    state.newest, state.clock_offset, state.skew = newest, None, None
    if first is not None and state.has_telemetry:
        state.started_at = min(state.started_at, first)
    state.started_at = min(state.started_at, now)
    for code in ("clock_shifted", SET_BACK):
        state.warnings.pop(code, None)
    hours = f"{seconds / 3600:.1f} hours"
    ahead = f"{days} days" if days else hours
    return {
        HUB_AHEAD: f"The hub's clock was {ahead} ahead when updates arrived: they have their "
        "sender's times again."
    }


def set_back_sentence(set_back: int) -> str:
    """The warning."""
    return (
        f"The sender's clock was set back by {round(set_back / SECOND)} s during the run: later "
        "timestamps are stored shifted by clock_offset_seconds."
    )
