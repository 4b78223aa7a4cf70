"""One ingest transaction: stores updates in the series, and changes their jobs and disks.

Updates that arrive in order take two round trips: one locks and reads, one writes. For updates at
or before a job's newest instant, the updates stored there are read too (`app.domain.lifecycle`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from app.clock import from_micros, isoformat
from app.database.pool import Connection
from app.domain import timestamps
from app.domain.job_state import (
    END_WARNINGS,
    JobState,
    disk_columns,
    end_warnings,
    job_columns,
)
from app.domain.lifecycle import Change, Event, note, renew, take, too_late
from app.domain.repeats import find_repeats
from app.domain.timestamps import OLD_AFTER, Stamped
from app.domain.updates import Update
from app.errors import Conflict, NotFound, RequestError
from app.store import ingest as store
from app.store.ingest import Instant

DAY = 86_400 * timestamps.SECOND


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of a stored update. Instants in µs. `lost_updates`: losses not known before."""

    status: str
    is_duplicate: bool
    is_applied: bool
    reason: str | None
    time: int
    received_at: int
    lost_updates: int = 0


Outcome = Receipt | RequestError


def store_updates(conn: Connection, updates: Sequence[Update], late_days: int) -> list[Outcome]:
    """Store updates and change their jobs; return an outcome for each, in order.

    Idempotent. The caller must commit before it answers. An update that contradicts its job is
    refused by itself (Conflict, NotFound); database errors are raised.
    """
    return _Transaction(conn, updates, late_days).run()


class _Transaction:
    def __init__(self, conn: Connection, updates: Sequence[Update], late_days: int) -> None:
        self.conn = conn
        self.updates = updates
        self.late_days = late_days
        self.now = self.dropped_before = 0
        self.changes: dict[str, Change] = {}
        self.completions: dict[str, Update] = {}  # each job's first update without telemetry
        self.outcomes: dict[int, Outcome] = {}  # by position in `updates`
        self.stored: dict[int, Update] = {}  # likewise, only new ones
        self.too_late: dict[int, Update] = {}  # likewise, for which only an event is written
        self.losses: dict[str, store.Losses] = {}  # by job, where the sender lost updates

    def run(self) -> list[Outcome]:
        self._lock()
        accepted = [
            (position, update)
            for position, update in enumerate(self.updates)
            if self._belongs(position, update)
        ]
        accepted = self._drop_dropped(accepted)
        for position, update in accepted:
            self._place(position, update)
        existing = self._find_existing([update for _, update in accepted])
        new = self._drop_duplicates(accepted, existing)
        if self.too_late:
            self._keep_as_events()
            new = list(self.stored.values())
        lossy = [(position, update) for position, update in accepted if update.lost_updates]
        if lossy:
            self._add_losses(lossy)
        if new:
            self._write(new, existing)
        for position, update in self.stored.items():
            self.outcomes[position] = self._receipt(update)
        if lossy:
            self._warn_of_repeats({update.job_id for update in new})
            self._credit(lossy)
        return [self.outcomes[position] for position in range(len(self.updates))]

    def _lock(self) -> None:
        """Lock the jobs' rows, creating those that are missing."""
        types = {u.job_id: u.job_type for u in reversed(self.updates) if u.is_telemetry}
        ids = {update.job_id for update in self.updates}
        locked = store.lock_jobs(self.conn, ids)
        created: set[str] = set()
        missing = {job_id: types[job_id] for job_id in ids - set(locked.states) if job_id in types}
        if missing:
            created = store.create_missing_jobs(self.conn, missing)
            locked = store.lock_jobs(self.conn, ids)
        self.now, self.dropped_before = locked.now, locked.dropped_before
        self.changes = {
            job_id: Change(state, is_new=job_id in created)
            for job_id, state in locked.states.items()
        }
        if has_old(self.updates, self.now):
            store.limit_lock_waits(self.conn)

    def _belongs(self, position: int, update: Update) -> bool:
        change = self.changes.get(update.job_id)
        if change is None:
            self.outcomes[position] = NotFound(f"There is no job {update.job_id}.")
            return False
        state = change.state
        if not update.is_telemetry:
            first = self.completions.setdefault(update.job_id, update)
            if state.has_ended or first is not update:
                ended = state.status if state.has_ended else first.status
                self.outcomes[position] = self._ended_before(state, update, ended)
                return False
        known = state.job_type
        if update.job_type and update.job_type != known:
            self.outcomes[position] = Conflict(
                f"job_type: {update.job_id} is a {known} job, not {update.job_type}.",
                {"job_type": [f"The job's type is {known}."]},
            )
            return False
        return True

    def _ended_before(self, state: JobState, update: Update, ended: str) -> Outcome:
        """POST …/complete of an ended job: a repeat, or a contradiction."""
        reason = f"the job has already ended: {ended}"
        if ended != update.status:
            return Conflict(f"status: {reason}", {"status": [reason]})
        at = state.completed_at or self.now
        return Receipt(update.status, True, False, reason, at, self.now)

    def _place(self, position: int, update: Update) -> None:
        """Decide the time at which the series stores the update."""
        state = self.changes[update.job_id].state
        if update.timestamp is None:
            # Two in one transaction must not look like a repeat. It is the newest, even if the
            # sender's clock, which stamped earlier updates, is ahead of the hub's.
            update.time = max(self.now, (state.newest or 0) + 1) + position
            return
        late_horizon = max(self.now - self.late_days * DAY, self.dropped_before)
        offset = state.clock_offset
        if state.has_ended and not timestamps.can_place(
            update.timestamp, self.now, late_horizon, offset
        ):
            update.time = update.timestamp
            self.too_late[position] = update
            return
        state.clock_offset = timestamps.place(update, self.now, late_horizon, state.clock_offset)

    def _drop_dropped(self, accepted: list[tuple[int, Update]]) -> list[tuple[int, Update]]:
        """Leave out repeats of updates that have been dropped; they get their receipts."""
        positions: dict[Instant, list[int]] = defaultdict(list)
        for position, update in accepted:
            state = self.changes[update.job_id].state
            for time in _times(update, state.clock_offset):
                if time < self.dropped_before and state.may_have(time):
                    positions[update.job_id, time].append(position)
        if not positions:
            return accepted
        reason = "updates of this minute were stored, and have been dropped since"
        for instant in store.find_dropped(self.conn, positions):
            for position in positions[instant]:
                status = self.updates[position].status
                receipt = Receipt(status, True, False, reason, instant[1], self.now)
                self.outcomes[position] = receipt
        return [(position, u) for position, u in accepted if position not in self.outcomes]

    def _keep_as_events(self) -> None:
        """Keep updates of ended jobs that are too late to be charted, each once."""
        kept = store.find_kept_as_events(self.conn, {u.job_id for u in self.too_late.values()})
        events: list[tuple[str, Event]] = []
        for position, update in self.too_late.items():
            if self.stored.pop(position, None) is None:
                continue  # a repeat of one that is stored
            event = too_late(update)
            entry = (update.job_id, store.evidence_of(event))
            ended = f"the job has already ended: {self.changes[update.job_id].state.status}"
            is_repeat = entry in kept
            reason = f"{ended}; the update is kept as an event"
            self.outcomes[position] = Receipt(
                update.status, is_repeat, False, reason, update.time, self.now
            )
            if not is_repeat:
                kept.append(entry)
                events.append((update.job_id, event))
        if events:
            store.insert_events(self.conn, events, self.now)

    def _find_existing(self, updates: list[Update]) -> dict[Instant, list[Update]]:
        """The stored updates at the instants of updates that may be repeats or ties."""
        instants: set[Instant] = set()
        shifted: dict[Instant, JobState] = {}
        for update in updates:
            state = self.changes[update.job_id].state
            if state.may_have(update.time):
                instants.add((update.job_id, update.time))
            if state.clock_offset is not None and update.timestamp is not None:
                # If it was sent before, it may have been shifted then but not now, or vice versa.
                if state.may_have(update.timestamp):
                    instants.add((update.job_id, update.timestamp))
                if state.newest is not None:
                    shifted[update.job_id, update.timestamp] = state
        existing = store.find_updates(self.conn, instants)
        if shifted:
            first = min(state.first for state in shifted.values())
            last = max(state.newest or 0 for state in shifted.values())
            found = store.find_shifted_updates(self.conn, shifted, first, last)
            existing = {**found, **existing}  # of an instant in both, the latter has all updates
        return existing

    def _drop_duplicates(
        self, accepted: list[tuple[int, Update]], existing: dict[Instant, list[Update]]
    ) -> list[Update]:
        """Return the new updates, each with its `seq`; the others get their receipts."""
        stored = (update for updates in existing.values() for update in updates)
        repeats = find_repeats([update for _, update in accepted], stored)
        for (position, update), first in zip(accepted, repeats, strict=True):
            if first is None:
                self.stored[position] = update
            else:
                self.outcomes[position] = self._duplicate(update, first)
        return list(self.stored.values())

    def _duplicate(self, update: Update, first: Update) -> Receipt:
        reason = "the same update is already stored"
        return Receipt(update.status, True, False, reason, first.time, self.now)

    def _take(self, new: list[Update], existing: dict[Instant, list[Update]]) -> None:
        groups: dict[Instant, list[Update]] = defaultdict(list)
        for update in new:
            groups[update.job_id, update.time].append(update)
        for (job_id, time), group in sorted(groups.items()):
            change = self.changes[job_id]
            take(change, time, existing.get((job_id, time), []), group)
            if any(update.sender_time is not None for update in group):
                note(change, {"clock_shifted": _CLOCK_WARNING})
        for job_id in self.losses.keys() & {update.job_id for update in new}:
            self._warn_of_losses(job_id)

    def _add_losses(self, lossy: list[tuple[int, Update]]) -> None:
        """Store reported losses; a repeat may report more than before."""
        lost: dict[Instant, int] = {}
        for position, update in lossy:
            repeat = self.outcomes.get(position)
            time = repeat.time if isinstance(repeat, Receipt) else update.time
            instant = (update.job_id, time)
            lost[instant] = max(update.lost_updates, lost.get(instant, 0))
        self.losses = store.add_losses(self.conn, lost, self.now)

    def _warn_of_losses(self, job_id: str) -> bool:
        """Set the warning about a job's losses; return whether it changed."""
        losses = self.losses[job_id]
        at = isoformat(from_micros(losses.last_reported // timestamps.SECOND * timestamps.SECOND))
        updates = "1 update" if losses.total == 1 else f"{losses.total} updates"
        sentence = f"The sender lost {updates} (last reported {at})."
        return renew(self.changes[job_id], "sender_lost", sentence)

    def _warn_of_repeats(self, touched: set[str]) -> None:
        """Write losses that only repeats reported; `touched` are the jobs already written."""
        repeats = sorted(self.losses.keys() - touched)
        if changes := [self.changes[job_id] for job_id in repeats if self._warn_of_losses(job_id)]:
            store.write_warnings(self.conn, changes, self.now)

    def _credit(self, lossy: list[tuple[int, Update]]) -> None:
        """Report new losses in one receipt of each job, so that they are counted once."""
        first = {update.job_id: position for position, update in reversed(lossy)}
        for job_id, position in first.items():
            receipt = self.outcomes[position]
            assert isinstance(receipt, Receipt)
            self.outcomes[position] = replace(receipt, lost_updates=self.losses[job_id].news)

    def _write(self, new: list[Update], existing: dict[Instant, list[Update]]) -> None:
        touched = {update.job_id for update in new}
        with self.conn.pipeline() as pipeline:
            store.insert_updates(self.conn, new, self.now)
            pipeline.sync()  # the database works on it while the jobs are changed
            self._take(new, existing)
            rebuilds = [job_id for job_id in touched if self.changes[job_id].must_rebuild]
            if not rebuilds:
                store.write_jobs(self.conn, self._rows(touched, new), self.now)
        if rebuilds:
            for job_id in rebuilds:
                rebuild(self.conn, self.changes[job_id], self.dropped_before)
            store.write_jobs(self.conn, self._rows(touched, new), self.now)

    def _rows(self, touched: set[str], new: list[Update]) -> list[store.JobRow]:
        named_disks: dict[str, set[int]] = defaultdict(set)
        for update in new:
            named_disks[update.job_id].update(update.disks)
        return [make_row(self.changes[job_id], named_disks[job_id]) for job_id in sorted(touched)]

    def _receipt(self, update: Update) -> Receipt:
        applied, reason = self.changes[update.job_id].results[id(update)]
        return Receipt(update.status, False, bool(applied), reason, update.time, self.now)


def _times(update: Update, offset: int | None) -> Iterator[int]:
    """At which an update with a timestamp may have been stored before (µs)."""
    if update.timestamp is not None:
        yield update.timestamp
        if offset is not None:
            yield update.timestamp + offset


def has_old(reports: Iterable[Stamped], now: int) -> bool:
    """Whether a report is older than fresh ones are (µs)."""
    earliest = now - OLD_AFTER
    return any(r.timestamp is not None and r.timestamp < earliest for r in reports)


_CLOCK_WARNING = (
    "The sender's clock is wrong: timestamps more than 5 minutes ahead or older than the late "
    "horizon are stored shifted by clock_offset_seconds."
)


def make_row(change: Change, named_disks: set[int]) -> store.JobRow:
    """The row of a job from its state, with the disks that may have changed."""
    state = change.state
    if change.is_charted_only:
        return store.JobRow(change, None, {})
    disks = {index: disk_columns(disk, state.status) for index, disk in state.disks.items()}
    columns = job_columns(state, disks)
    warnings = end_warnings(state, disks)
    for code in END_WARNINGS:  # earlier warnings about the end may no longer hold
        if state.warnings.get(code) != warnings.get(code):
            state.warnings.pop(code, None)
    note(change, warnings)
    if not (state.has_ended or change.must_rebuild or change.is_revived):
        disks = {index: disks[index] for index in named_disks}
    return store.JobRow(change, columns, disks)


def rebuild(conn: Connection, change: Change, dropped_before: int) -> None:
    """Read the registers of a job from the series again, up to its end.

    Values of dropped updates (`dropped_before`, µs) stay.
    """
    state = change.state
    before = _shown(state)
    first, until = state.first, state.newest or 0
    if state.has_ended:
        state.completed_at = until = (
            store.earliest_end(conn, state.job_id, first, until, state.status)
            or state.completed_at
            or until
        )
    state.forget_telemetry(dropped_before)
    state.merge_all(store.deciding_updates(conn, state.job_id, first, until, state.status))
    store.delete_disks_but(conn, state.job_id, state.disks)
    moved = _shown(state) != before
    for key, (applied, reason) in change.results.items():
        if applied is None:
            change.results[key] = (moved, None if moved else reason)


def _shown(state: JobState) -> object:
    """The visible part of a state, for comparison."""
    disks = {index: disk_columns(disk, state.status) for index, disk in state.disks.items()}
    return state.status, state.completed_at, job_columns(state, disks), disks
