"""Places the updates of a transaction in the runs of their jobs, and begins runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.database.pool import Connection
from app.domain import clocks, timestamps
from app.domain.job_state import JobState
from app.domain.lifecycle import Change, Event
from app.domain.runs import JobRuns, Run
from app.domain.statuses import END_STATUSES, LIVE_STATUSES
from app.domain.updates import Update
from app.store import runs as store
from app.store.ingest import lock_jobs


def runs_of(state: JobState) -> JobRuns:
    """The runs of a job that has only one."""
    return JobRuns(state.run, [run_of(state)])


def run_of(state: JobState) -> Run:
    """What is known of a run to place updates in it."""
    return Run(
        state.run,
        state.begins_at,
        state.is_announced,
        state.started_at if state.has_telemetry else None,
        state.newest,
        state.completed_at if state.has_ended else None,
        None if clocks.SET_BACK in state.warnings else state.clock_offset,
    )


def place_in_runs(
    conn: Connection,
    updates: Sequence[Update],
    runs: Mapping[str, JobRuns],
    states: Mapping[str, JobState],
    now: int,
    late_horizon: int,
) -> Written:
    """Set the `run` of each update, and write the runs that they begin. The jobs are locked.

    `states`: of the newest run of each job.
    """
    by_job: dict[str, list[Update]] = defaultdict(list)
    for update in updates:
        by_job[update.job_id].append(update)
    written = Written()
    for job_id, group in by_job.items():
        known = runs[job_id]
        times = _times(group, states[job_id], now, late_horizon)
        for time, update in sorted(zip(times, group, strict=True), key=lambda item: item[0] or 0):
            if update.is_telemetry and time is not None:
                _place(known, update, time)
                move_all(conn, known, written)
        for time, update in zip(times, group, strict=True):
            update.run = _run_of(update, time, known).key
    return written


def _place(runs: JobRuns, update: Update, time: int) -> None:
    if update.run_name:
        runs.place_named(update.run_name, time, is_end=update.is_end)
    else:
        runs.place(time, is_end=update.is_end, is_start=update.is_start)


def _run_of(update: Update, time: int | None, runs: JobRuns) -> Run:
    if named := runs.names.get(update.run_name):
        return next(run for run in runs.runs if run.key == named)
    if not update.is_telemetry:
        return runs.newest
    return runs.at(update.timestamp or 0 if time is None else time, is_start=update.is_start)


def _times(
    updates: Sequence[Update], newest: JobState, now: int, late_horizon: int
) -> list[int | None]:
    """The times (µs) that decide the runs of a job's updates; None: it can begin none.

    `newest`: the state of its newest run.
    """
    offset = newest.clock_offset
    is_live = not newest.has_ended
    latest = max(newest.newest or 0, (newest.begins_at or 0) - 1)
    times: list[int | None] = []
    for position, update in enumerate(updates):
        is_live |= update.is_start
        sent_at = update.timestamp
        if sent_at is None:
            time = max(now, latest + 1) + position
        elif shift := clocks.shift_of(newest, update, now):
            time = sent_at + shift
        elif is_live or timestamps.can_place(sent_at, now, late_horizon, offset):
            offset = timestamps.place(update, now, late_horizon, offset)
            is_arrival = update.sender_time is not None and update.time == now
            # With a clock like this, the order of arrival is all that is known.
            time = max(now, latest + 1) if is_arrival else update.time
        else:  # kept as an event of the run that took place then
            times.append(None)
            continue
        latest = max(latest, time)
        times.append(time)
    return times


@dataclass(slots=True)
class Written:
    """The keys of the runs that were created, and the runs between which updates were moved.

    `moved_times`: the hours (µs) of those updates.
    """

    created: set[str] = field(default_factory=set)
    moved: dict[str, Run] = field(default_factory=dict)
    moved_times: list[int] = field(default_factory=list)


def move_all(conn: Connection, runs: JobRuns, written: Written) -> None:
    """Write the runs that have changed, and move updates: where they are decides about the next."""
    _write(conn, runs, written)
    while runs.moves:
        move = runs.moves.pop(0)
        written.moved_times += store.move_updates(conn, move)
        for run in (move.source, move.target):
            written.moved[run.key] = run
            run.set_extent(store.read_extent(conn, run.key, 0, timestamps.LATEST))
        newest = move.target.newest or move.from_at
        stored = store.read_ends(conn, move.target.key, move.from_at, newest)
        ends = [time for time, _ in stored[:1]]
        if move.target.ended_at is not None:  # by an update that is not stored yet
            ends.append(move.target.ended_at)
        if ends and all(later.source is not move.target for later in runs.moves):
            runs.divide_after(move.target, min(ends))
        _write(conn, runs, written)


def _write(conn: Connection, runs: JobRuns, written: Written) -> None:
    if runs.created:
        written.created |= store.create_runs(conn, runs)
    if runs.moved_starts:
        store.set_begins(conn, runs.moved_starts)
        runs.moved_starts.clear()


def written_changes(conn: Connection, written: Written) -> list[Change]:
    """The changes of the runs that were created, and of those that must be rebuilt, locked."""
    keys = written.created | written.moved.keys()
    states = lock_jobs(conn, keys).states if keys else {}
    changes = [Change(state, is_new=key in written.created) for key, state in states.items()]
    for change in changes:
        if change.is_new:
            change.state.merge_registered()  # the identity
        if change.state.run in written.moved:
            _set_life(conn, written.moved[change.state.run], change)
    return changes


def _set_life(conn: Connection, run: Run, change: Change) -> None:
    """Set the start, the end and the newest instant of a run from the updates it now has."""
    state = change.state
    change.must_rebuild = change.moves = change.has_life = True
    extent = store.read_extent(conn, run.key, 0, timestamps.LATEST)
    if extent is None:
        state.newest, state.has_telemetry = None, False
        if run.lost_end:
            state.reopen()
        return
    first, state.newest = extent
    # Older updates may have been dropped.
    state.started_at = min(first, state.started_at) if state.has_telemetry else first
    state.has_telemetry = True
    ends = store.read_ends(conn, run.key, first, state.newest)
    if ends:
        time, status = ends[0]
        state.end(status, time, "sender")
    elif run.lost_end or state.status not in (*LIVE_STATUSES, *END_STATUSES):
        state.reopen()
    if change.is_new:
        reason = "Updates that came after the end of the run before it"
        change.events.append(
            Event("transition", None, state.status, "sender", reason, {"time": first})
        )
