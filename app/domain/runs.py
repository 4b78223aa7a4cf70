"""The runs of a job, and which of them an update belongs to. Instants in µs.

A job's id may be used again, as by a nightly task. Each use is a run, with its own row, chart and
events. Runs follow each other in time, so the time of an update decides (docs/decisions/0025).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.domain.timestamps import SECOND

# Updates after the end of a run that still belong to it: heartbeats that were on their way.
GRACE = 60 * SECOND
_SEPARATOR = "/"  # no job's id contains it


def run_key(job_id: str, run: int) -> str:
    """The `job_id` of a run in the tables: the job's id, with a number from the second run on."""
    return job_id if run == 1 else f"{job_id}{_SEPARATOR}{run}"


def run_name(job_id: str, run: int | None) -> str:
    """What readers find a run by (SQL's `find_run`); without a number, it is the newest one."""
    return job_id if run is None else f"{job_id}{_SEPARATOR}{run}"


def name_of_key(key: str) -> str:
    """The name of the run with this key, even if it is the first of several."""
    return run_name(*split_key(key))


def split_key(key: str) -> tuple[str, int]:
    """The job's id and the number of the run."""
    job_id, _, run = key.partition(_SEPARATOR)
    return job_id, int(run or 1)


@dataclass(slots=True)
class Run:
    """What is known of a run to place updates in it.

    `begins_at`: updates from then on belong to it, up to the next run; None for the first one.
    `is_announced`: its sender named its first update. `first` and `newest`: the times of its
    updates, None without any. `ended_at`: when its sender ended it. `lost_end`: that end belongs to
    another run now. `placed`: the newest update that was placed in it, but not stored yet.
    """

    key: str
    begins_at: int | None = None
    is_announced: bool = False
    first: int | None = None
    newest: int | None = None
    ended_at: int | None = None
    clock_offset: int | None = None
    lost_end: bool = False
    placed: int | None = None

    def add(self, time: int) -> None:
        """Note an update that is placed in it."""
        self.placed = time
        self.first = time if self.first is None else min(self.first, time)
        self.newest = time if self.newest is None else max(self.newest, time)

    def set_extent(self, stored: tuple[int, int] | None) -> None:
        """Set the first and the newest update from those that are stored, and those placed."""
        known = [*(stored or ()), *([] if self.placed is None else [self.placed])]
        self.first, self.newest = min(known, default=None), max(known, default=None)


@dataclass(frozen=True, slots=True)
class Move:
    """Updates of one run, from an instant on, that belong to a later one."""

    source: Run
    target: Run
    from_at: int


@dataclass(slots=True)
class JobRuns:
    """The runs of one job in the order of time. Collects what an update changes of them.

    `names`: what their senders call some of them, name to key.
    """

    job_id: str
    runs: list[Run]
    created: list[Run] = field(default_factory=list)  # they have no row yet
    moved_starts: list[Run] = field(default_factory=list)  # their `begins_at` has changed
    moves: list[Move] = field(default_factory=list)  # in this order
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runs.sort(key=lambda run: -1 if run.begins_at is None else run.begins_at)

    @property
    def newest(self) -> Run:
        """The run that took place last."""
        return self.runs[-1]

    def renew(self, run: Run) -> None:
        """Replace what is known of a run."""
        self.runs = [run if known.key == run.key else known for known in self.runs]

    def at(self, time: int, *, is_start: bool = False) -> Run:
        """The run that an update of this time belongs to, unless it begins another."""
        position = self._position(time)
        run = self.runs[position]
        if position and not is_start and run.is_announced and run.begins_at == time:
            before = self.runs[position - 1]
            if before.newest == time:  # its end, with timestamps in seconds
                return before
        return run

    def written_before(self, run: Run) -> Run:
        """The run with a row that precedes another, or the first one with a row."""
        written = [other for other in self.runs if other not in self.created]
        earlier = [other for other in self.runs[: self.runs.index(run)] if other in written]
        return (earlier or written[:1])[-1]

    def place(self, time: int, *, is_end: bool = False, is_start: bool = False) -> Run:
        """The run of an update, which may begin it. `is_start`: the sender names it the first.

        Call it in the order of time for the updates of one transaction.
        """
        run = self._start_at(time) if is_start else self.at(time)
        if run.is_announced and run.begins_at is not None and time < run.begins_at:
            run = self._create(0, None, run.clock_offset)  # the earliest was another
        if run.ended_at is not None and time > run.ended_at + GRACE:
            run = self._go_on_after_end(run)
        if is_end:
            self._end(run, time)
        run.add(time)
        return run

    def place_named(self, name: str, time: int, *, is_end: bool = False) -> Run:
        """The run that the sender of an update calls by a name, which begins with its first one.

        Whatever the time is: runs with names may overlap.
        """
        run = next((run for run in self.runs if run.key == self.names.get(name)), None)
        if run is None:
            run = self.place(time, is_end=is_end, is_start=True)
            self.names[name] = run.key
            return run
        if is_end and run.ended_at is None:
            run.ended_at = time
        run.add(time)
        return run

    def _end(self, run: Run, time: int) -> None:
        """End a run, unless it ended before. What it has after that belongs to the next run."""
        known = run.newest or 0
        if run.ended_at is None or time < run.ended_at <= known:
            if known > time + GRACE:
                self._give_on(run, time + GRACE + 1)
            run.ended_at = time

    def _give_on(self, run: Run, from_at: int) -> None:
        """Let what a run has from an instant on belong to the next one, or to a new one."""
        following = self._unannounced_after(run)
        if following is None or run.ended_at is None or run.ended_at >= from_at:
            self._divide(run, from_at)
        else:  # they were heartbeats after a later end
            following.begins_at = from_at
            self._note_start(following)
            self._move(run, following, from_at)

    def begin(self, clock_offset: int | None = None) -> Run:
        """A new run after all that is known of the newest one, for a registration."""
        last = self.newest
        known = (last.begins_at, last.ended_at, last.newest)
        begins_at = max((at for at in known if at is not None), default=0) + 1
        return self._create(len(self.runs), begins_at, clock_offset)

    def divide_after(self, run: Run, end: int) -> None:
        """Divide a run with updates that may be of several, given the first end among them."""
        run.ended_at = end
        if (run.newest or 0) > end + GRACE:
            self._divide(run, end + GRACE + 1)

    def _position(self, time: int) -> int:
        for position in range(len(self.runs) - 1, 0, -1):
            begins_at = self.runs[position].begins_at
            if begins_at is not None and begins_at <= time:
                return position
        return 0

    def _start_at(self, time: int) -> Run:
        """The run whose first update is of this instant."""
        run = self.at(time, is_start=True)
        if run.is_announced and run.begins_at is not None:
            if run.begins_at == time:
                return run  # a repeat
            if time < run.begins_at:  # the earliest run, which has no lower bound
                return self._create(0, time, run.clock_offset, is_announced=True)
        elif run.first is None or time <= run.first:
            return self._begin_at(run, time)
        following = self._unannounced_after(run)
        if following is not None and (run.ended_at is None or run.ended_at < time):
            self._move(run, following, time)
            return self._begin_at(following, time)
        return self._divide(run, time, is_announced=True)

    def _go_on_after_end(self, run: Run) -> Run:
        """The run that updates belong to which came some time after the end of another."""
        assert run.ended_at is not None
        begins_at = run.ended_at + GRACE + 1
        following = self._unannounced_after(run)
        if following is None or (run.newest is not None and run.newest >= begins_at):
            return self._divide(run, begins_at)
        following.begins_at = begins_at
        self._note_start(following)
        return following

    def _unannounced_after(self, run: Run) -> Run | None:
        """The next run, if its start may be earlier than is known."""
        following = self.runs[self.runs.index(run) + 1 :][:1]
        return following[0] if following and not following[0].is_announced else None

    def _divide(self, run: Run, begins_at: int, *, is_announced: bool = False) -> Run:
        """A new run that has the part of a run from an instant on."""
        position = self.runs.index(run) + 1
        target = self._create(position, begins_at, run.clock_offset, is_announced=is_announced)
        self._move(run, target, begins_at)
        return target

    def _move(self, run: Run, target: Run, from_at: int) -> None:
        if run.ended_at == from_at:  # the end stays
            from_at += 1
        if run.newest is None or run.newest < from_at:
            return
        self.moves.append(Move(run, target, from_at))
        target.newest = max(run.newest, target.newest or 0)
        if run.ended_at is not None and run.ended_at >= from_at:
            target.ended_at, run.ended_at = run.ended_at, None
            run.lost_end = True

    def _begin_at(self, run: Run, time: int) -> Run:
        run.begins_at, run.is_announced = time, True
        self._note_start(run)
        return run

    def _note_start(self, run: Run) -> None:
        if run not in self.created and run not in self.moved_starts:
            self.moved_starts.append(run)

    def _create(
        self,
        position: int,
        begins_at: int | None,
        clock_offset: int | None,
        *,
        is_announced: bool = False,
    ) -> Run:
        number = max(split_key(run.key)[1] for run in self.runs) + 1
        run = Run(run_key(self.job_id, number), begins_at, is_announced, clock_offset=clock_offset)
        self.runs.insert(position, run)
        self.created.append(run)
        return run
