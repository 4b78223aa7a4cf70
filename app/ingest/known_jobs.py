"""The states of running jobs as this process last wrote them, so that they need not be read again.

Reading, locking and decoding the rows of a job and its disks takes a third of the time to store an
update. A state is kept with the version of its row (the id of the transaction that wrote it). The
next transaction writes only if the row still has that version. If another process has changed it,
the transaction is rolled back and repeated with the rows locked and read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.job_state import JobState
from app.domain.runs import split_key
from app.domain.updates import Update

MOST_JOBS = 8_192  # 3 KiB each, with two disks
# Larger states are not kept: one of 1,024 disks takes 1 MiB, and so may one error message.
MOST_DISKS = 32
LONGEST_ERROR = 255  # characters
CLOCK_MICROS = 5_000_000  # for how long the database's clock is not read again
SHORTEST_PAUSE, LONGEST_PAUSE = 16, 1_024  # transactions


@dataclass(slots=True)
class KnownJob:
    """The state of a job's newest run, and the version of the row that it is in."""

    state: JobState
    version: int


class KnownJobs:
    """At most MOST_JOBS states, the least recently used removed first. For one thread.

    An outdated state costs a rollback. If two processes store updates of the same jobs, most are
    outdated: after each, none is used for a while, which is twice as long each time.
    """

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, KnownJob] = OrderedDict()
        self._pause = SHORTEST_PAUSE
        self._paused_for = 0
        self._clock: tuple[int, int] | None = None  # the database's less this one; the edge
        self._clock_read_at = 0
        self._connection: object = None

    def use(self, connection: object) -> None:
        """Forget everything if the connection is not that of the last call.

        After a failover, transactions that were committed may be missing, and their numbers used
        again.
        """
        if connection is not self._connection:
            self._connection = connection
            self._jobs.clear()
            self._clock = None

    def take(self, updates: Sequence[Update]) -> dict[str, KnownJob]:
        """Remove and return the jobs, by id, whose updates can be stored without locks."""
        if self._paused_for:
            self._paused_for -= 1
            return {}
        taken: dict[str, KnownJob] = {}
        refused: set[str] = set()
        for update in updates:
            job_id = update.job_id
            known = taken.get(job_id) or self._jobs.pop(job_id, None)
            if known is None:
                continue
            if _continues(known.state, update):
                taken[job_id] = known
            else:
                refused.add(job_id)
        for job_id in refused:
            taken.pop(job_id, None)
        return taken

    def keep(self, state: JobState, version: int) -> None:
        """Keep the state of a job's newest run, which the current transaction has written.

        It need not be committed: if it is rolled back, no row has this version.
        """
        if _is_plain(state) and _is_small(state):
            state.has_disk_progress = False
            state.shown_error = None  # not used while the job runs, and as long as any
            self._jobs[split_key(state.run)[0]] = KnownJob(state, version)
            if len(self._jobs) > MOST_JOBS:
                self._jobs.popitem(last=False)

    def note_clock(self, now: int, edge: int) -> None:
        """Note the database's clock, and the time before which updates were dropped (µs)."""
        self._clock_read_at = _elapsed()
        self._clock = now - self._clock_read_at, edge

    def clock(self) -> tuple[int, int] | None:
        """What `note_clock` was told, brought forward to now; None if it is not recent."""
        elapsed = _elapsed()
        if self._clock is None or elapsed - self._clock_read_at > CLOCK_MICROS:
            return None
        return elapsed + self._clock[0], self._clock[1]

    def trust(self) -> None:
        """Note that all states taken were those of the rows."""
        self._pause = max(SHORTEST_PAUSE, self._pause // 2)

    def distrust(self) -> None:
        """Note that a state taken was outdated."""
        self._jobs.clear()
        self._clock = None
        self._paused_for = self._pause
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)


def _elapsed() -> int:
    return time.monotonic_ns() // 1000


def _is_plain(state: JobState) -> bool:
    """Whether no verdict or end hides the registers, and timestamps are taken as they are."""
    return state.status == "running" and state.clock_offset is None


def _is_small(state: JobState) -> bool:
    return len(state.disks) <= MOST_DISKS and all(
        len(str(registers.values.get("error_message", ""))) <= LONGEST_ERROR
        for registers in (state.registers, *state.disks.values())
    )


def _continues(state: JobState, update: Update) -> bool:
    """Whether an update needs nothing but its job's state: it is newer, and no end.

    For any other, what is stored is read, which must not change meanwhile: it needs the lock.
    """
    return (
        update.status == "running"
        and update.is_telemetry
        and not update.is_start
        and update.ping is None
        and not update.lost_updates
        and update.interval <= state.interval
        and (update.timestamp is None or state.newest is None or update.timestamp > state.newest)
    )
