"""How an update changes its job: running, ended, revived, or charted only.

An end reported by the sender applies whatever its timestamp, and is final. Later updates are only
charted; a second, different end is an event. Every change of status is an `Event`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.domain.job_state import JobState
from app.domain.updates import Ping, Update


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `job_events`: a transition, or a warning or log (no statuses)."""

    kind: str
    from_status: str | None
    to_status: str | None
    actor: str
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Change:
    """What a transaction does to one job.

    `must_rebuild`: the registers must be read from the series again, because of an end older than
    the registers, or a late update of an ended job. `moves`: an update came before the job ended;
    otherwise all are charted only, and the row does not change. `is_revived`: the detector had
    failed the job, so the rows of all its disks change back. `results`: by update identity, whether
    the state moved (None: known only after the rebuild) and why not; without one it did.
    """

    state: JobState
    is_new: bool = False
    must_rebuild: bool = False
    moves: bool = False
    is_revived: bool = False
    has_life: bool = False
    events: list[Event] = field(default_factory=list)
    results: dict[int, tuple[bool | None, str | None]] = field(default_factory=dict)

    @property
    def is_charted_only(self) -> bool:
        return not (self.moves or self.must_rebuild)


def take(change: Change, time: int, existing: list[Update], new: list[Update]) -> None:
    """Apply the new updates of one instant (µs) to a job.

    `existing` are the stored updates of the same instant, so that the order of arrival does not
    decide a tie. `new` holds no duplicates and is not empty.
    """
    state = change.state
    if not existing and len(new) == 1 and _follows(state, time, new[0]):
        _follow(change, new[0])
        return
    if state.has_ended:
        _take_after_the_end(change, new)
    else:
        change.moves = True
        _take_live(change, time, existing, new)
    if any(update.is_telemetry for update in new):
        change.has_life = True
        _begin(change, time, new)
    state.newest = time if state.newest is None else max(state.newest, time)
    for update in new:
        note(change, update.notes)


def _follows(state: JobState, time: int, update: Update) -> bool:
    """Whether a running job goes on in order, as it mostly does."""
    return (
        state.status == "running"
        and state.has_telemetry
        and state.newest is not None
        and time > state.newest
        and update.status == "running"
        and update.is_telemetry
        and not update.notes
    )


def _follow(change: Change, update: Update) -> None:
    """What `take` does for an update that follows, in a third of the time."""
    state = change.state
    state.merge(update)
    state.newest = update.time
    change.moves = change.has_life = True


def _begin(change: Change, time: int, new: list[Update]) -> None:
    """Move the start of the run to new updates of one instant, if they are older.

    If all that a registered job has reported is its end, it began when it was registered.
    """
    state = change.state
    is_sole_end = state.newest is None and len(new) == 1 and new[0].is_end
    if state.has_telemetry or (is_sole_end and not change.is_new):
        state.started_at = min(state.started_at, time)
    else:
        end = state.completed_at
        state.started_at = time if end is None else min(time, end)
        state.has_telemetry = True


def note(change: Change, warnings: dict[str, str]) -> None:
    """Record warnings (code to sentence), each once per job."""
    for code, sentence in warnings.items():
        if code not in change.state.warnings:
            change.state.warnings[code] = sentence
            change.events.append(Event("warning", None, None, "hub", sentence))


def renew(change: Change, code: str, sentence: str) -> bool:
    """Set a warning, with an event only the first time; return whether its sentence changed."""
    is_news = change.state.warnings.get(code) != sentence
    note(change, {code: sentence})
    change.state.warnings[code] = sentence
    return is_news


def _take_live(change: Change, time: int, existing: list[Update], new: list[Update]) -> None:
    state = change.state
    was = None if change.is_new and not state.newest else state.status
    is_newest = state.newest is None or time > state.newest
    if state.ended_by == "detector":
        state.reopen()
        change.is_revived = True
    ends = [update for update in new if update.is_end]
    end = max(ends, key=Update.tie_key, default=None)
    mine = {id(update) for update in new}
    for update in sorted([*existing, *new], key=Update.tie_key) if existing or new[1:] else new:
        if end is not None and update.is_end and update.status != end.status:
            change.events.append(_second_end(update, end.status))
            change.results[id(update)] = (False, f"the job ended otherwise: {end.status}")
            continue
        taken = state.merge(update)
        if id(update) in mine:
            applied = taken or is_newest or update.is_end or was in ("stalled", "failed")
            change.results[id(update)] = (applied, None if applied else _OLDER)
    if end is not None:
        state.end(end.status, time, "sender")
        change.must_rebuild |= not is_newest
        change.events.append(_transition(was, end.status, end))
    else:
        state.status = "running"
        if was != "running":
            change.events.append(_transition(was, "running", new[0]))


_OLDER = "a newer update has already set every field it names"


def _take_after_the_end(change: Change, new: list[Update]) -> None:
    state = change.state
    reason = f"the job has already ended: {state.status}"
    for update in new:
        is_late = state.completed_at is not None and update.time > state.completed_at
        is_other_end = update.is_end and update.status != state.status
        if is_other_end:
            change.events.append(_second_end(update, state.status))
        if is_late or is_other_end:
            change.results[id(update)] = (False, reason)
        else:  # from before the end: it may name a field that no other update names
            change.results[id(update)] = (None, reason)
            change.must_rebuild = True


def logged(ping: Ping) -> Event:
    """The event that keeps what a job has logged."""
    return Event("log", None, None, "sender", "The sender logged output", _said(ping))


def too_late(update: Update) -> Event:
    """The event that keeps an update of an ended job which is too late to be charted."""
    sent: dict[str, Any] = {"status": update.status, **update.fields}
    if update.disks:
        sent["disks"] = {str(index): disk for index, disk in update.disks.items()}
    return Event(
        "warning",
        None,
        None,
        "sender",
        "An update came too late, or its clock is wrong: the job has ended, and its chart stays.",
        {"time": update.time, "update": sent},
    )


def _transition(was: str | None, status: str, update: Update) -> Event:
    reasons = {
        None: "First update",
        "pending": "First update of a registered job",
        "stalled": "A new update arrived",
        "failed": "A new update arrived: the job had been failed for its silence only",
    }
    reason = reasons.get(was, "") if status == "running" else f"The sender reported {status}"
    evidence: dict[str, Any] = {"time": update.time}
    if "error_message" in update.fields:
        evidence["error"] = update.fields["error_message"]
    if update.ping is not None:
        evidence |= _said(update.ping)
    return Event("transition", was, status, "sender", reason, evidence)


def _said(ping: Ping) -> dict[str, Any]:
    """What a ping says, as evidence. The name of a run is found there (`read_named_runs`)."""
    said = {"rid": ping.run_name, "output": ping.output}
    return {name: text for name, text in said.items() if text}


def _second_end(update: Update, first: str) -> Event:
    return Event(
        "warning",
        None,
        None,
        "sender",
        f"The sender reported {update.status} after {first}; the first end stays.",
        {"time": update.time, "error": update.fields.get("error_message")},
    )
