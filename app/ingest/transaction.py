"""One ingest transaction: stores updates in the series, and changes their jobs and disks.

Updates that continue jobs whose state is known take one statement (`app.ingest.known_jobs`).
Others take two round trips: one locks and reads, one writes. For updates at or before a job's
newest instant, the updates stored there are read too (`app.domain.lifecycle`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from app.clock import from_micros, isoformat
from app.database.pool import (
    Connection,
    DeadlockDetected,
    ForeignKeyViolation,
    SerializationFailure,
)
from app.domain import clocks, timestamps
from app.domain.job_state import (
    END_WARNINGS,
    DiskColumns,
    JobState,
    disk_columns,
    end_warnings,
    job_columns,
)
from app.domain.lifecycle import Change, Event, logged, note, renew, take, too_late
from app.domain.repeats import find_repeats
from app.domain.runs import JobRuns, split_key
from app.domain.timestamps import FUTURE_TOLERANCE, OLD_AFTER, Stamped
from app.domain.updates import Ping, Update
from app.errors import Conflict, NotFound, RequestError
from app.ingest.known_jobs import KnownJobs
from app.ingest.runs import Written, place_in_runs, run_of, runs_of, written_changes
from app.store import ingest as store
from app.store.ingest import Instant, Span

DAY = 86_400 * timestamps.SECOND
MOST_LOGS = 1_000  # of a run: events are kept for ever, and each of these has 10 kB


@dataclass(slots=True)  # frozen ones take three times as long to make
class Receipt:
    """The result of a stored report. Instants in µs. `lost_updates`: losses not known before."""

    status: str
    is_duplicate: bool
    is_applied: bool
    reason: str | None
    time: int
    received_at: int
    run: str = ""
    lost_updates: int = 0


Outcome = Receipt | RequestError


def store_updates(
    conn: Connection, updates: Sequence[Update], late_days: int, known: KnownJobs | None = None
) -> list[Outcome]:
    """Store updates and change their jobs; return an outcome for each, in order.

    Idempotent. The caller must commit before it answers. An update that contradicts its job is
    refused by itself (Conflict, NotFound); database errors are raised. The rows of jobs that are
    `known` are not read, and if all are, the updates may be committed here already. Raises
    OutdatedState if one of the rows has changed: roll back and try again.
    """
    return _Transaction(conn, updates, late_days, KnownJobs() if known is None else known).run()


class _Transaction:
    def __init__(
        self, conn: Connection, updates: Sequence[Update], late_days: int, known: KnownJobs
    ) -> None:
        self.conn = conn
        self.updates = updates
        self.late_days = late_days
        self.known = known
        self.versions: dict[str, int] = {}  # of the runs that are not locked
        self.version = 0  # of the rows that this transaction writes
        self.is_at_once = False  # whether nothing has been read, not even the clock
        self.now = self.dropped_before = self.late_horizon = 0
        self.runs: dict[str, JobRuns] = {}  # by job, of the jobs that are not known
        self.changes: dict[str, Change] = {}  # by run
        self.runs_written = Written()
        self.completions: dict[str, Update] = {}  # each run's first update without telemetry
        self.outcomes: dict[int, Outcome] = {}  # by position in `updates`
        self.stored: dict[int, Update] = {}  # likewise, only new ones
        self.too_late: dict[int, Update] = {}  # likewise, for which only an event is written
        self.losses: dict[str, store.Losses] = {}  # by run, where the sender lost updates

    def run(self) -> list[Outcome]:
        self._lock()
        accepted = [
            (position, update)
            for position, update in enumerate(self.updates)
            if self._belongs(position, update)
        ]
        if not self.is_at_once:  # which are fresh
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
        if new or self.runs_written.moved:
            self._write_to_known(new, existing)
        for position, update in self.stored.items():
            self.outcomes[position] = self._receipt(update)
        if lossy:
            self._warn_of_repeats({update.run for update in new})
            self._credit(lossy)
        return [self.outcomes[position] for position in range(len(self.updates))]

    def _lock(self) -> None:
        """Lock the rows of jobs that are not known, creating those that are missing."""
        self.known.use(self.conn)
        known = self.known.take(self.updates)
        for update in self.updates:
            job = known.get(update.job_id)
            update.run = "" if job is None else job.state.run  # it may be stored a second time
        self.versions = {job.state.run: job.version for job in known.values()}
        self.changes = {job.state.run: Change(job.state) for job in known.values()}
        others = [update for update in self.updates if update.job_id not in known]
        if not others and self._can_be_at_once():
            return
        ids = {update.job_id for update in others}
        types = {u.job_id: u.job_type for u in reversed(others) if u.is_telemetry}
        locked = store.lock_jobs(self.conn, ids)
        created: set[str] = set()
        missing = {job_id: types[job_id] for job_id in ids - set(locked.states) if job_id in types}
        if missing:
            created = store.create_missing_jobs(self.conn, missing)
            locked = store.lock_jobs(self.conn, ids)
        self._set_clock(locked.now, locked.dropped_before)
        self.known.note_clock(locked.now, locked.dropped_before)
        self.version = locked.version
        if has_old(self.updates, self.now):
            store.limit_lock_waits(self.conn)
        for job_id, state in locked.states.items():
            self.runs[job_id] = locked.runs.get(job_id) or runs_of(state)
            self.changes[job_id] = Change(state, is_new=job_id in created)
        self._lock_runs({runs.newest.key for runs in self.runs.values()})
        for runs in self.runs.values():
            newest = self.changes[runs.newest.key]
            if clocks.was_hub_ahead(newest.state, self.now):
                self._undo_hubs_error(newest)
                runs.renew(run_of(newest.state))
        self._read_names(others)
        self._find_runs(others)

    def _lock_runs(self, keys: set[str]) -> None:
        """Lock the rows of runs that are not locked yet."""
        if missing := keys - self.changes.keys():
            for run, state in store.lock_jobs(self.conn, missing).states.items():
                self.changes[run] = Change(state)

    def _read_names(self, updates: list[Update]) -> None:
        """Read which runs have the names that the updates call theirs by."""
        names = {(u.job_id, u.run_name) for u in updates if u.run_name and u.job_id in self.runs}
        if names:
            for (job_id, name), run in store.read_named_runs(self.conn, names).items():
                self.runs[job_id].names[name] = run

    def _find_runs(self, updates: list[Update]) -> None:
        """Set the run of each update, and lock the rows of those that are not locked yet."""
        placed = [
            update
            for update in updates
            if update.job_id in self.runs and self._has_its_type(update)
        ]
        states = {job_id: self.changes[runs.newest.key].state for job_id, runs in self.runs.items()}
        horizon = self.late_horizon
        self.runs_written = place_in_runs(self.conn, placed, self.runs, states, self.now, horizon)
        for change in written_changes(self.conn, self.runs_written):
            self.changes[change.state.run] = change
        self._lock_runs({update.run for update in placed})

    def _undo_hubs_error(self, change: Change) -> None:
        """Give updates back the times that the hub changed while its own clock was ahead."""
        state = change.state
        first, newest = store.return_from_future(self.conn, state.run, clocks.latest(self.now))
        note(change, clocks.forget_hubs_error(state, self.now, first, newest))
        change.must_rebuild = True

    def _can_be_at_once(self) -> bool:
        """Whether the updates can be written without reading anything first; sets the clock.

        If the connection is lost they are stored again, so all of them must be recognised.
        """
        clock = self.known.clock()
        if clock is None:
            return False
        self._set_clock(*clock)
        earliest, latest = self.now - OLD_AFTER, self.now + FUTURE_TOLERANCE
        self.is_at_once = all(
            update.timestamp is not None and earliest <= update.timestamp <= latest
            for update in self.updates
        )
        return self.is_at_once

    def _set_clock(self, now: int, dropped_before: int) -> None:
        self.now, self.dropped_before = now, dropped_before
        self.late_horizon = max(now - self.late_days * DAY, dropped_before)

    def _has_its_type(self, update: Update) -> bool:
        """Whether it names the type of its job, or none. The job exists."""
        known = self.changes[update.run or update.job_id].state.job_type
        return update.job_type in ("", known)

    def _belongs(self, position: int, update: Update) -> bool:
        if not (update.run and self._has_its_type(update)):
            self.outcomes[position] = self._refusal(update)
            return False
        if update.ping is not None and update.ping.is_log:
            self._keep_log(position, update, update.ping)
            return False
        state = self.changes[update.run].state
        if not update.is_telemetry:
            first = self.completions.setdefault(update.run, update)
            if state.has_ended or first is not update:
                ended = state.status if state.has_ended else first.status
                self.outcomes[position] = self._ended_before(state, update, ended)
                return False
        return True

    def _keep_log(self, position: int, update: Update, ping: Ping) -> None:
        if store.count_logs(self.conn, update.run) >= MOST_LOGS:
            reason = f"a run may log {MOST_LOGS} times, and this one has"
            self.outcomes[position] = Conflict(f"job_id: {reason}", {"job_id": [reason]})
            return
        store.insert_events(self.conn, [(update.run, logged(ping))], self.now)
        reason = "a log changes no status"
        receipt = Receipt(update.status, False, False, reason, self.now, self.now, update.run)
        self.outcomes[position] = receipt

    def _refusal(self, update: Update) -> RequestError:
        change = self.changes.get(update.run or update.job_id)
        if change is None:
            return NotFound(f"There is no job {update.job_id}.")
        known = change.state.job_type
        return Conflict(
            f"job_type: {update.job_id} is a {known} job, not {update.job_type}.",
            {"job_type": [f"The job's type is {known}."]},
        )

    def _ended_before(self, state: JobState, update: Update, ended: str) -> Outcome:
        """POST …/complete of an ended job: a repeat, or a contradiction."""
        reason = f"the job has already ended: {ended}"
        if ended != update.status:
            return Conflict(f"status: {reason}", {"status": [reason]})
        at = state.completed_at or self.now
        return Receipt(update.status, True, False, reason, at, self.now, update.run)

    def _place(self, position: int, update: Update) -> None:
        """Decide the time at which the series stores the update."""
        state = self.changes[update.run].state
        if update.timestamp is None:
            # Two in one transaction must not look like a repeat. It is the newest, even if the
            # sender's clock, which stamped earlier updates or the run before, is ahead of this one.
            earliest = max((state.newest or 0) + 1, state.begins_at or 0)
            update.time = max(self.now, earliest) + position
            return
        offset = state.clock_offset
        if state.has_ended and not timestamps.can_place(
            update.timestamp, self.now, self.late_horizon, offset
        ):
            update.time = update.timestamp
            self.too_late[position] = update
            return
        if self._is_set_back(update):
            return
        clocks.measure(state, update.timestamp, self.now)
        state.clock_offset = timestamps.place(update, self.now, self.late_horizon, offset)
        if update.sender_time is not None and update.time == self.now:  # its time of arrival
            update.time = max(self.now, state.begins_at or 0)

    def _is_set_back(self, update: Update) -> bool:
        """Whether the sender's clock was set back in the run: then the update is shifted."""
        change = self.changes[update.run]
        state = change.state
        assert update.timestamp is not None
        if set_back := clocks.find_set_back(state, update, self.now):
            note(change, {clocks.SET_BACK: clocks.set_back_sentence(set_back)})
            state.clock_offset = set_back
        elif not clocks.is_shifted(state, update.timestamp, self.now):
            return False
        assert state.clock_offset is not None
        update.sender_time = update.timestamp
        update.time = update.timestamp + state.clock_offset
        return True

    def _drop_dropped(self, accepted: list[tuple[int, Update]]) -> list[tuple[int, Update]]:
        """Leave out repeats of updates that have been dropped; they get their receipts."""
        positions: dict[Instant, list[int]] = defaultdict(list)
        for position, update in accepted:
            state = self.changes[update.run].state
            for time in _times(update, state.clock_offset):
                if time < self.dropped_before and state.may_have(time):
                    positions[update.run, time].append(position)
        if not positions:
            return accepted
        reason = "updates of this minute were stored, and have been dropped since"
        for instant in store.find_dropped(self.conn, positions):
            for position in positions[instant]:
                status = self.updates[position].status
                receipt = Receipt(status, True, False, reason, instant[1], self.now, instant[0])
                self.outcomes[position] = receipt
        return [(position, u) for position, u in accepted if position not in self.outcomes]

    def _keep_as_events(self) -> None:
        """Keep updates of ended jobs that are too late to be charted, each once."""
        kept = store.find_kept_as_events(self.conn, {u.run for u in self.too_late.values()})
        events: list[tuple[str, Event]] = []
        for position, update in self.too_late.items():
            if self.stored.pop(position, None) is None:
                continue  # a repeat of one that is stored
            event = too_late(update)
            entry = (update.run, store.evidence_of(event))
            ended = f"the job has already ended: {self.changes[update.run].state.status}"
            is_repeat = entry in kept
            reason = f"{ended}; the update is kept as an event"
            self.outcomes[position] = Receipt(
                update.status, is_repeat, False, reason, update.time, self.now, update.run
            )
            if not is_repeat:
                kept.append(entry)
                events.append((update.run, event))
        if events:
            store.insert_events(self.conn, events, self.now)

    def _find_existing(self, updates: list[Update]) -> dict[Instant, list[Update]]:
        """The stored updates at the instants of updates that may be repeats or ties."""
        instants: set[Instant] = set()
        shifted: dict[Instant, JobState] = {}
        for update in updates:
            state = self.changes[update.run].state
            if state.may_have(update.time):
                instants.add((update.run, update.time))
            if state.clock_offset is not None and update.timestamp is not None:
                # If it was sent before, it may have been shifted then but not now, or vice versa.
                if state.may_have(update.timestamp):
                    instants.add((update.run, update.timestamp))
                if state.newest is not None:
                    shifted[update.run, update.timestamp] = state
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
        return Receipt(update.status, True, False, reason, first.time, self.now, update.run)

    def _take(self, new: list[Update], existing: dict[Instant, list[Update]]) -> None:
        groups: dict[Instant, list[Update]] = defaultdict(list)
        for update in new:
            groups[update.run, update.time].append(update)
        for instant, group in sorted(groups.items()):
            job_id, time = instant
            change = self.changes[job_id]
            take(change, time, existing.get(instant, []), group)
            for update in group:
                if update.sender_time is not None and clocks.SET_BACK not in change.state.warnings:
                    note(change, {"clock_shifted": _CLOCK_WARNING})
        for run in self.losses.keys() & {update.run for update in new}:
            self._warn_of_losses(run)

    def _add_losses(self, lossy: list[tuple[int, Update]]) -> None:
        """Store reported losses; a repeat may report more than before."""
        lost: dict[Instant, int] = {}
        for position, update in lossy:
            repeat = self.outcomes.get(position)
            time = repeat.time if isinstance(repeat, Receipt) else update.time
            instant = (update.run, time)
            lost[instant] = max(update.lost_updates, lost.get(instant, 0))
        self.losses = store.add_losses(self.conn, lost, self.now)

    def _warn_of_losses(self, run: str) -> bool:
        """Set the warning about a run's losses; return whether it changed."""
        losses = self.losses[run]
        at = isoformat(from_micros(losses.last_reported // timestamps.SECOND * timestamps.SECOND))
        updates = "1 update" if losses.total == 1 else f"{losses.total} updates"
        sentence = f"The sender lost {updates} (last reported {at})."
        return renew(self.changes[run], "sender_lost", sentence)

    def _warn_of_repeats(self, touched: set[str]) -> None:
        """Write losses that only repeats reported; `touched` are the runs already written."""
        repeats = sorted(self.losses.keys() - touched)
        if changes := [self.changes[run] for run in repeats if self._warn_of_losses(run)]:
            store.write_warnings(self.conn, changes, self.now)

    def _credit(self, lossy: list[tuple[int, Update]]) -> None:
        """Report new losses in one receipt of each run, so that they are counted once."""
        first = {update.run: position for position, update in reversed(lossy)}
        for run, position in first.items():
            receipt = self.outcomes[position]
            assert isinstance(receipt, Receipt)
            self.outcomes[position] = replace(receipt, lost_updates=self.losses[run].news)

    def _write_to_known(self, new: list[Update], existing: dict[Instant, list[Update]]) -> None:
        """Write, and keep the states. Raises OutdatedState if a job that is not locked changed."""
        try:
            if self.is_at_once:
                self._write_at_once(new)
            else:
                self._write(new, existing).check()
        except (
            store.OutdatedState,
            SerializationFailure,
            DeadlockDetected,
            ForeignKeyViolation,
        ) as exc:
            if not self.versions:
                raise
            self.known.distrust()
            raise store.OutdatedState from exc  # ForeignKeyViolation: a job was deleted
        if self.versions:
            self.known.trust()
        for run in {update.run for update in new}:
            runs = self.runs.get(split_key(run)[0])
            if runs is None or runs.newest.key == run:
                self.known.keep(self.changes[run].state, self.version)

    def _write_at_once(self, new: list[Update]) -> None:
        self._take(new, {})
        rows = self._rows({update.run for update in new}, new)
        self.version = store.write_at_once(self.conn, new, rows, self.now, self.dropped_before)

    def _write(self, new: list[Update], existing: dict[Instant, list[Update]]) -> store.JobsWritten:
        touched = {update.run for update in new} | self.runs_written.moved.keys()
        written = store.JobsWritten()
        with self.conn.pipeline() as pipeline:
            store.insert_updates(self.conn, new, self.now, self.runs_written.moved_times)
            pipeline.sync()  # the database works on it while the jobs are changed
            self._take(new, existing)
            self._raise_intervals(new)
            rebuilds = [
                self.changes[run] for run in sorted(touched) if self.changes[run].must_rebuild
            ]
            if not rebuilds:
                written = store.write_jobs(self.conn, self._rows(touched, new), self.now)
        if rebuilds:
            rebuild(self.conn, rebuilds, self.dropped_before)
            written = store.write_jobs(self.conn, self._rows(touched, new), self.now)
        return written

    def _raise_intervals(self, new: list[Update]) -> None:
        """Write what senders newly say about how often they report: seldom anything."""
        raised: dict[str, int] = {}
        for update in new:
            state = self.changes[update.run].state
            if update.interval > state.interval:
                state.interval = raised[update.run] = update.interval
        if raised:
            store.raise_intervals(self.conn, raised)

    def _rows(self, touched: set[str], new: list[Update]) -> list[store.JobRow]:
        named_disks: dict[str, set[int]] = defaultdict(set)
        for update in new:
            named_disks[update.run].update(update.disks)
        return [
            make_row(self.changes[run], named_disks[run], self.versions.get(run))
            for run in sorted(touched)
        ]

    def _receipt(self, update: Update) -> Receipt:
        applied, reason = self.changes[update.run].results.get(id(update), _MOVED)
        return Receipt(
            update.status, False, bool(applied), reason, update.time, self.now, update.run
        )


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


_MOVED = (True, None)
_CLOCK_WARNING = (
    "The sender's clock is wrong: timestamps more than 5 minutes ahead or older than the late "
    "horizon are stored shifted by clock_offset_seconds."
)


def make_row(change: Change, named_disks: set[int], version: int | None = None) -> store.JobRow:
    """The row of a job from its state, with the disks that may have changed."""
    state = change.state
    if change.is_charted_only:
        return store.JobRow(change, None, {}, version)
    disks = {index: disk_columns(disk, state.status) for index, disk in state.disks.items()}
    columns = job_columns(state, disks)
    _renew_end_warnings(change, disks)
    if not (state.has_ended or change.must_rebuild or change.is_revived):
        disks = {index: disks[index] for index in named_disks}
    return store.JobRow(change, columns, disks, version)


def _renew_end_warnings(change: Change, disks: dict[int, DiskColumns]) -> None:
    """Set the warnings about the end; earlier ones may no longer hold."""
    warnings, known = end_warnings(change.state, disks), change.state.warnings
    if known:
        for code in END_WARNINGS:
            if known.get(code) != warnings.get(code):
                known.pop(code, None)
    note(change, warnings)


def rebuild(conn: Connection, changes: Sequence[Change], dropped_before: int) -> None:
    """Read the registers of jobs from the series again, up to their ends.

    Values of dropped updates (`dropped_before`, µs) stay.
    """
    states = [change.state for change in changes]
    before = [(_shown(state), state.has_disk_progress) for state in states]
    spans = [Span(s.run, s.first, s.newest or 0, s.status) for s in states]
    ends = store.earliest_ends(conn, spans)
    for state, span in zip(states, spans, strict=True):
        if state.has_ended:
            span.last = ends.get(state.run) or state.completed_at or span.last
            state.completed_at = span.last
    updates = store.deciding_updates(conn, spans)
    for state in states:
        state.forget_telemetry(dropped_before)
        state.merge_all(updates[state.run])
    store.delete_other_disks(conn, states)
    for change, (shown, has_disk_progress) in zip(changes, before, strict=True):
        now_shown = _shown(change.state)
        moved = now_shown != shown
        # The merge has filled the disks from nothing: what counts is what they show.
        change.state.has_disk_progress = has_disk_progress or now_shown[-1] != shown[-1]
        for key, (applied, reason) in change.results.items():
            if applied is None:
                change.results[key] = (moved, None if moved else reason)


def _shown(state: JobState) -> tuple[object, ...]:
    """The visible part of a state, for comparison; that of its disks comes last."""
    disks = {index: disk_columns(disk, state.status) for index, disk in state.disks.items()}
    return state.status, state.completed_at, job_columns(state, disks), disks
