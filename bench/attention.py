"""What the hub notices of a simulated fleet, and what it says without reason.

    python bench/attention.py [--machines 200] [--nights 60] [--seed 1] [--route] [--all]

200 machines for 60 nights in virtual time: their runs, the troubles that are planted among them,
and a hub that looks every 30 s. The rules are those of the hub (app.domain.attention); the times
at which its tasks look are computed. Prints for each kind how many troubles there were, how many
were found within their bound, how late, and how many alarms had no cause. Ends with 1 if a trouble
was missed or the false alarms are more than one per machine and year. `--all` prints each of them.
`--route` lets a route tell the items, and counts the messages about each trouble.
`tests/unit/test_attention_simulation.py` runs the same with fewer machines.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.domain.attention.items import SEVERITIES, Kind
from app.domain.attention.live import (
    HUNG_SECONDS,
    PHASES_WITHOUT_BYTES,
    hung_after,
)
from app.domain.attention.rhythm import MOST_STARTS, Rhythm, learn_rhythm
from app.domain.attention.run import Disk, Run, judge
from app.domain.attention.series import MOST_RUNS, Series, findings_of, is_good, state_of
from app.domain.attention.usual import MOST_RUNS as USUAL_RUNS
from app.domain.attention.usual import SLOW_SECONDS, GoodRun, Pace, pace_of, usual_of
from app.domain.notify.episodes import RECOVERY_GROUP, Change, Episode, follow, step
from app.domain.notify.items import Item
from app.domain.notify.routes import Route

FIRST_DAY = date(2026, 10, 1)  # summer time ends on 25 October in Berlin, on 1 November in New York
ZONES = tuple(map(ZoneInfo, ("Europe/Berlin", "America/New_York", "UTC")))
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
GIB = 2**30
SWEEP = 30.0
SETTLED = 15.0  # the summary of an ended run, and its judgement
STALE, FAILED = 60.0, 300.0  # HUB_STALE_AFTER_SECONDS, HUB_FAIL_AFTER_SECONDS
BACKLOG_WAIT = HOUR  # of find_attention
LARGEST_RATE = 1.0  # false alarms per machine and year


# What truly happens.


@dataclass(frozen=True)
class Sender:
    """What a program reports of its runs, and how often it has something new to say."""

    bytes: bool = True
    total: bool = True
    percent: bool = True
    progress_seconds: float = 5.0


@dataclass(frozen=True)
class Stretch:
    """A part of a run: its phase, how long it lasts and what it moves. `is_stuck`: it hangs."""

    phase: str
    seconds: float
    bytes: float = 0.0
    is_stuck: bool = False


@dataclass
class Night:
    """A run as it happened. `reported`: what its end reports otherwise than it should."""

    start: float
    stretches: list[Stretch]
    status: str = "completed"
    is_silent: bool = False  # its machine dies: no end
    reported: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return sum(each.seconds for each in self.stretches)

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def bytes(self) -> int:
        return round(sum(each.bytes for each in self.stretches))

    def progress(self) -> list[tuple[float, float]]:
        """Seconds and bytes at the end of each stretch."""
        points, seconds, moved = [], 0.0, 0.0
        for each in self.stretches:
            points.append((seconds, moved))
            seconds, moved = seconds + each.seconds, moved + each.bytes
        return [*points, (seconds, moved)]


@dataclass(frozen=True)
class Trouble:
    """What is planted: of a kind, to be noticed by `by`; from `since` to `until` it explains
    alarms of the kinds `explains`."""

    kind: Kind
    at: float
    by: float
    since: float
    until: float
    explains: frozenset[str]


@dataclass
class Plan:
    """A series: when and how it runs. `nights` and `troubles` are what came of it."""

    series: Series
    machine: str
    sender: Sender
    nights: list[Night] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


@dataclass(frozen=True)
class Alarm:
    """An item that was opened."""

    kind: str
    at: float
    summary: str


@dataclass(frozen=True)
class ItemChange:
    """An item that was opened, became worse or ended."""

    at: float
    kind: str
    change: Change
    severity: str


@dataclass(frozen=True)
class Hub:
    """When the hub was away, and how long senders take to deliver what they kept; ascending."""

    absences: tuple[tuple[float, float], ...] = ()
    delivery_seconds: float = 20 * MINUTE

    def arrival(self, at: float) -> float:
        """When something sent at a time arrives."""
        for begins, ends in self.absences:
            if begins <= at < ends:
                return ends + self.delivery_seconds * (at - begins) / (ends - begins)
            if ends <= at < ends + self.delivery_seconds:
                return max(at, ends + self.delivery_seconds)  # after what was kept
        return at

    def watched(self, since: float, seconds: float) -> float:
        """When the hub has watched for so long, counted from a time."""
        at = since + seconds
        for begins, ends in self.absences:
            if begins < at and since < ends:
                at = ends + seconds
        return at

    def ready(self, at: float) -> float:
        """The next time at which it says that a series is overdue."""
        for begins, ends in self.absences:
            if begins <= at < ends + BACKLOG_WAIT:
                at = ends + BACKLOG_WAIT
        return at


# What the hub makes of it.


class Watcher:
    """The hub's view of a series: its runs as they arrive, and the alarms that follow.

    The steps are those of jobs/judge_runs.py and jobs/find_attention.py.
    """

    def __init__(self, plan: Plan, hub: Hub) -> None:
        self.plan = plan
        self.hub = hub
        self.alarms: list[Alarm] = []
        self.opened: dict[str, tuple[float, str]] = {}  # since when, and its severity
        self.changes: list[ItemChange] = []
        self.history: list[Run] = []  # newest first
        self.counted: dict[int, GoodRun] = {}
        self.live: dict[int, Night] = {}
        self.starts: list[datetime] = []
        self.rhythm: Rhythm | None = None
        self.pace: Pace | None = None
        self.phases: list[dict[str, tuple[float, bool]]] = []  # of completed runs
        self.pauses: list[float] = []

    def watch(self, until: float) -> list[Alarm]:
        """Let every run arrive in its order; return the alarms."""
        events: list[tuple[float, int, int, str]] = []
        for number, night in enumerate(self.plan.nights):
            events.append((self.hub.arrival(night.start), number, 0, "begin"))
            end = self.hub.arrival(night.end)
            if night.is_silent:
                events.append((self.hub.watched(end, STALE), number, 1, "stalled"))
                end = self.hub.watched(end, FAILED)
            events.append((end, number, 2, "end"))
        heapq.heapify(events)
        at = 0.0
        while events:
            next_at, number, _, what = heapq.heappop(events)
            self._look_for_overdue(at, min(next_at, until))
            if next_at >= until:
                return self.alarms
            at = next_at
            getattr(self, f"_{what}")(number, self.plan.nights[number], at)
        self._look_for_overdue(at, until)
        return self.alarms

    # A run begins, stalls, ends.

    def _begin(self, number: int, night: Night, at: float) -> None:
        overlaps = any(other.end > night.start for other in self.live.values())
        self.live[number] = night
        if overlaps:
            self._open("overlapping", sweep(at), "")
        self._close("overdue", at)
        self._put(Run(number, f"j-{number}", f"j-{number}", 1, "running", moment(night.start)))
        self._judge(at)
        self._look_at_live(night)

    def _stalled(self, number: int, night: Night, at: float) -> None:
        run = next(run for run in self.history if run.id == number)
        self._put(replace(run, status="stalled", last_seen_at=moment(night.end)))
        self._judge(sweep(at))

    def _end(self, number: int, night: Night, at: float) -> None:
        del self.live[number]
        if len(self.live) < 2:
            self._close("overlapping", at)
        for kind in ("hung", "slow"):
            self._close(kind, at)
        run = ended_run(self.plan, number, night, at)
        if run.status == "completed":
            before = [each for each in self.history if each.started_at < run.started_at]
            good = [GoodRun(each.seconds, each.bytes) for each in before if is_good(each)]
            findings = judge(run, usual_of(good))
            run = replace(run, result="warning" if findings else "good", findings=tuple(findings))
            if is_good(run):
                self.starts = sorted([*self.starts, run.started_at])[-MOST_STARTS:]
                self.counted[number] = GoodRun(run.seconds, run.bytes, night.progress())
            self._keep_phases(night)
        self._put(run)
        self.rhythm = learn_rhythm(self.starts)
        good_runs = [run for run in self.history if is_good(run) and run.ended_at is not None]
        self.pace = pace_of(
            [self.counted[run.id] for run in good_runs[:USUAL_RUNS] if run.bytes is not None]
        )
        self._judge(sweep(at) if night.is_silent else at + SETTLED)

    def _put(self, run: Run) -> None:
        others = [each for each in self.history if each.id != run.id]
        self.history = sorted([run, *others], key=lambda each: each.started_at, reverse=True)
        del self.history[MOST_RUNS:]

    def _judge(self, at: float) -> None:
        state = state_of(self.history, self.rhythm)
        found = findings_of(self.plan.series, self.history, state, moment(at))
        wanted = {each.kind: each for each in found}
        for kind in ("silent", "failed", "suspicious", "unusual", "clock", "losing"):
            if kind not in wanted:
                self._close(kind, at)
        for kind, finding in wanted.items():
            self._open(kind, at, finding.summary, finding.severity)

    def _keep_phases(self, night: Night) -> None:
        phases: dict[str, tuple[float, bool]] = {}
        for each in night.stretches:
            seconds, moves = phases.get(each.phase, (0.0, False))
            phases[each.phase] = seconds + each.seconds, moves or each.bytes > 0
        self.phases = [*self.phases, phases][-USUAL_RUNS:]

    # What a live run shows.

    def _look_at_live(self, night: Night) -> None:
        self._look_for_hang(night)
        if self.pace is None or not self.plan.sender.bytes:
            return
        points = GoodRun(night.seconds, night.bytes, night.progress())
        for number in range(1, len(self.pace.low) + 1):
            age = number * self.pace.step_seconds + SLOW_SECONDS
            if age >= night.seconds:
                return
            total = night.bytes if self.plan.sender.total else None
            if self.pace.is_behind(age, points.bytes_at(age), total):
                at = self.hub.arrival(night.start + age)
                self._open("slow", sweep(at), f"{number} of 20 steps")
                return

    def _look_for_hang(self, night: Night) -> None:
        sender = self.plan.sender
        at, longest = night.start, 0.0
        for each in night.stretches:
            moves = each.bytes > 0 and (sender.bytes or sender.percent)
            pause = min(sender.progress_seconds, each.seconds) if moves else each.seconds
            if each.is_stuck or pause > HUNG_SECONDS:
                threshold = self._threshold(each, longest)
                if threshold is not None and pause > threshold:
                    noticed = self.hub.watched(self.hub.arrival(at), threshold)
                    if noticed < at + each.seconds:
                        self._open("hung", sweep(noticed), each.phase, "critical")
                        return
            longest = max(longest, pause)
            at += each.seconds

    def _threshold(self, stretch: Stretch, longest: float) -> float | None:
        earlier = [phases[stretch.phase] for phases in self.phases if stretch.phase in phases]
        return hung_after(
            HUNG_SECONDS,
            longest,
            reports_progress=self.plan.sender.bytes or self.plan.sender.percent,
            may_be_still=stretch.phase in PHASES_WITHOUT_BYTES,
            earlier_runs=len(earlier),
            earlier_seconds=max((seconds for seconds, _ in earlier), default=0.0),
            earlier_moved=any(moves for _, moves in earlier),
            earlier_pause=self.plan.sender.progress_seconds,
        )

    def _look_for_overdue(self, after: float, before: float) -> None:
        if self.rhythm is None or self.live or {"failed", "silent", "overdue"} & self.opened.keys():
            return
        at = self.hub.ready(max(after, self.rhythm.overdue_at.timestamp()))
        if sweep(at) < before:
            expected = f"expected {self.rhythm.next_at:%a %d %b %H:%M}"
            self._open("overdue", sweep(at), expected, "critical")

    def _open(self, kind: str, at: float, summary: str, severity: str = "warning") -> None:
        if kind not in self.opened:
            self.alarms.append(Alarm(kind, at, summary))
            self.changes.append(ItemChange(at, kind, "opened", severity))
            self.opened[kind] = at, severity
        elif SEVERITIES.index(severity) < SEVERITIES.index(self.opened[kind][1]):
            self.changes.append(ItemChange(at, kind, "worse", severity))
            self.opened[kind] = self.opened[kind][0], severity

    def _close(self, kind: str, at: float) -> None:
        if kind in self.opened:
            since, severity = self.opened.pop(kind)
            self.changes.append(ItemChange(max(at, since), kind, "ended", severity))


def ended_run(plan: Plan, number: int, night: Night, arrived_at: float) -> Run:
    """A night as the hub has it when it has ended."""
    sender = plan.sender
    key = f"j-{number}"
    return Run(
        id=number,
        key=key,
        name=key,
        number=1,
        status="failed" if night.is_silent else night.status,
        started_at=moment(night.start),
        ended_at=moment(night.end),
        ended_by="detector" if night.is_silent else "sender",
        is_settled=True,
        last_seen_at=moment(arrived_at),
        error="it broke" if night.status == "failed" else None,
        **{
            "bytes": night.bytes if sender.bytes else None,
            "total_bytes": night.bytes if sender.bytes and sender.total else None,
            "percent": 100.0 if sender.percent else None,
            **night.reported,
        },
    )


def moment(at: float) -> datetime:
    """An instant from seconds since 1970."""
    return datetime.fromtimestamp(at, UTC)


def sweep(at: float) -> float:
    """The first look of the hub at or after a time."""
    return math.ceil(at / SWEEP) * SWEEP


# The fleet.


@dataclass(frozen=True)
class Habit:
    """How a series runs when nothing is wrong. `hours`: local times of its starts."""

    job_type: str
    backup_type: str | None
    hours: tuple[float, ...]
    days: frozenset[int]  # of the week
    size: float
    sigma: float
    bps: float
    sender: Sender
    still: tuple[tuple[str, float], ...]  # phases without bytes before and after, median seconds
    day_of_month: int | None = None
    growth: float = 0.0  # per day


EVERY_DAY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
# With less of it in a series, plants of this kind could not be found.
_EARLIEST: dict[Kind, int] = {"unusual": 15, "slow": 8, "overdue": 8, "overlapping": 2, "hung": 2}
_KINDS: tuple[tuple[Kind, int], ...] = (
    *(("failed", 4), ("overdue", 4), ("suspicious", 3), ("unusual", 8), ("hung", 3)),
    *(("silent", 3), ("slow", 40), ("overlapping", 8)),
)
_TROUBLE_SHARE = 0.012  # of the runs
EXPLAINED_DAYS = 3  # after a trouble its alarms have a cause
_AFTER = 4  # runs that are left alone after a trouble


def machine_habits(chance: random.Random) -> list[Habit]:
    """What runs for a machine: one to four series."""
    hour = chance.choice((20, 21, 22, 23, 0, 1, 2)) + chance.choice((0, 0.25, 0.5))
    sender = chance.choices(
        (
            Sender(),
            Sender(progress_seconds=chance.uniform(60, 600)),
            Sender(total=False, percent=False),
            Sender(bytes=False),
            Sender(bytes=False, percent=False),  # telemetry exec in front of any program
        ),
        (60, 12, 10, 6, 12),
    )[0]
    phases = (
        ("snapshot", chance.uniform(5, 180)),
        ("finalizing", chance.uniform(5, 120)),
        *((("verify", chance.uniform(300, 2_400)),) if chance.random() < 0.15 else ()),
    )
    size = math.exp(chance.uniform(math.log(2 * GIB), math.log(2_000 * GIB)))
    nightly = Habit(
        job_type="backup",
        backup_type=None,
        hours=(hour,),
        days=EVERY_DAY,
        size=size,
        sigma=chance.uniform(0.02, 0.15),
        bps=chance.uniform(40, 400) * 2**20,
        sender=sender,
        still=phases,
        growth=chance.choice((0, 0, 0.002, 0.008)),
    )
    small = replace(
        nightly,
        size=max(size * chance.uniform(0.01, 0.1), GIB / 4),
        sigma=chance.uniform(0.1, 0.6),
        backup_type="incremental",
    )
    sunday = chance.choice((5, 6))
    shapes: tuple[tuple[list[Habit], int], ...] = (
        (
            [
                replace(small, days=EVERY_DAY - {sunday}),
                replace(nightly, backup_type="full", days=frozenset({sunday})),
            ],
            40,
        ),
        ([nightly], 20),
        ([replace(nightly, days=WEEKDAYS)], 12),
        ([replace(small, hours=tuple((hour + 6 * n) % 24 for n in range(4)))], 8),
        ([replace(small, hours=tuple(8 + n + 0.1 for n in range(11)), days=WEEKDAYS)], 2),
        ([replace(nightly, days=frozenset({chance.randrange(7)}))], 6),
        ([replace(small, days=frozenset({0, 2, 4}))], 4),
        ([replace(nightly, day_of_month=chance.randint(1, 28))], 3),
    )
    habits = list(chance.choices([s for s, _ in shapes], [weight for _, weight in shapes])[0])
    if chance.random() < 0.15:
        hours = tuple(n * 4 + chance.uniform(0, 0.3) for n in range(6))
        habits.append(replace(small, job_type="replication", backup_type=None, hours=hours))
    if chance.random() < 0.2:
        habits.append(replace(nightly, job_type="restore", hours=(), sigma=1.5, growth=0))
    return habits


def make_fleet(machines: int, nights: int, seed: int) -> Iterator[Plan]:
    """The series of a fleet, with their nights and what is planted."""
    number = 0
    for machine in range(machines):
        chance = random.Random(f"{seed} {machine}")
        zone = chance.choice(ZONES)
        first = FIRST_DAY + timedelta(chance.randrange(nights // 2) if chance.random() < 0.1 else 0)
        last = FIRST_DAY + timedelta(nights)
        names = [(f"vm{machine}", first, last)]
        if chance.random() < 0.02:  # renamed: for the hub another machine
            changed = first + timedelta(chance.randrange(10, max(11, nights - 20)))
            names = [(f"vm{machine}", first, changed), (f"vm{machine}-new", changed, last)]
        habits = machine_habits(chance)
        for name, begins, ends in names:
            for habit in habits:
                number += 1
                series = Series(number, name, None, habit.job_type, "repo", habit.backup_type)
                plan = Plan(series, name, habit.sender)
                fill(plan, habit, zone, begins, ends, chance)
                yield plan


def fill(
    plan: Plan, habit: Habit, zone: ZoneInfo, first: date, last: date, chance: random.Random
) -> None:
    """The nights of a series, with noise and troubles."""
    due = list(due_times(habit, zone, first, last, chance))
    added = chance.randrange(20, 60) if chance.random() < 0.1 else None  # a disk is added
    added_factor = chance.uniform(1.1, 1.7)
    quiet = 0  # runs until the next trouble
    skip_until = 0.0
    for place, at in enumerate(due):
        if at < skip_until:
            continue
        days = (at - due[0]) / DAY
        size = habit.size * (1 + habit.growth) ** days
        size *= math.exp(chance.gauss(0, habit.sigma))
        if added is not None and days > added:
            size *= added_factor
        start = at + chance.uniform(0, 4 * MINUTE)
        night = make_night(habit, start, size, chance)
        if plan.nights and start < plan.nights[-1].end + MINUTE:
            continue  # schedulers do not start a run while another is live
        quiet -= 1
        following = due[place + 1] if place + 1 < len(due) else None
        if quiet < 0 and chance.random() < _TROUBLE_SHARE and following is not None:
            goes_on = plant(plan, habit, night, due[place:], chance)
            if goes_on:
                quiet, skip_until = _AFTER, goes_on
                continue
        plan.nights.append(night)
        if habit.hours and chance.random() < 0.005:  # by hand, on the next day
            extra = make_night(habit, night.end + chance.uniform(1, 8) * HOUR, size, chance)
            if following is None or extra.end + HOUR < following:
                plan.nights.append(extra)


def plant(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    """Plant the first trouble that fits, in random order; when the plan goes on, or 0."""
    kinds = sorted(_KINDS, key=lambda each: chance.random() ** (1 / each[1]), reverse=True)
    for kind, _ in kinds:
        if len(plan.nights) >= _EARLIEST.get(kind, 0):
            goes_on = _PLANTS[kind](plan, habit, night, due, chance)
            if goes_on:
                return goes_on
    return 0


def due_times(
    habit: Habit, zone: ZoneInfo, first: date, last: date, chance: random.Random
) -> Iterator[float]:
    """When a series is due; without hours it is started on demand."""
    if not habit.hours:
        at = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()
        end = datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp()
        mean = chance.uniform(1, 10) * DAY
        while (at := at + chance.expovariate(1) * mean) < end:
            yield at
        return
    for days in range((last - first).days):
        day = first + timedelta(days)
        if day.weekday() not in habit.days or habit.day_of_month not in (None, day.day):
            continue
        for hour in sorted(habit.hours):
            local = datetime(day.year, day.month, day.day, tzinfo=zone)
            yield local.replace(hour=int(hour), minute=round(hour % 1 * 60)).timestamp()


def make_night(habit: Habit, start: float, size: float, chance: random.Random) -> Night:
    """A run with its phases; the transfer in ten parts of different speeds."""
    bps = habit.bps * math.exp(chance.gauss(0, 0.2))
    parts = [
        Stretch("transferring", size / 10 / (bps * math.exp(chance.gauss(0, 0.3))), size / 10)
        for _ in range(10)
    ]
    (before, seconds), *after = habit.still
    still = math.exp(chance.gauss(0, 0.3))
    return Night(
        start,
        [
            Stretch(before, seconds * still),
            *parts,
            *(Stretch(phase, length * math.exp(chance.gauss(0, 0.3))) for phase, length in after),
        ],
    )


# Troubles. Each changes a night, adds what it planted, and says from when the plan goes on; 0: it
# does not fit.


def _plant(plan: Plan, night: Night, kind: Kind, at: float, by: float, *explains: str) -> float:
    plan.nights.append(night)
    until = max(night.end, by) + EXPLAINED_DAYS * DAY
    explained = frozenset({kind, *explains})
    plan.troubles.append(Trouble(kind, at, by, night.start, until, explained))
    return night.end + MINUTE


def _fail(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    cut = _cut(night, chance.uniform(0.05, 0.9))
    return _plant(plan, replace(cut, status="failed"), "failed", cut.end, cut.end)


def _die(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    cut = replace(_cut(night, chance.uniform(0.05, 0.9)), is_silent=True)
    goes_on = _plant(plan, cut, "silent", cut.end, cut.end + STALE, "failed")
    if chance.random() < 0.3 and night.end + 2 * MINUTE < due[1]:  # started again at once
        plan.nights.append(replace(night, start=cut.end + MINUTE))
        return night.end + 2 * MINUTE
    return goes_on


def _contradict(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    ways: list[dict[str, Any]] = [{"is_dry_run": True}, {"disks": (Disk(0, "failed", 1),)}]
    if habit.sender.bytes and habit.sender.total:
        ways += [{"bytes": 0}, {"bytes": round(night.bytes * chance.uniform(0.01, 0.95))}]
    if habit.sender.percent:
        ways += [{"percent": chance.uniform(1, 97), "bytes": None, "total_bytes": None}]
    night = replace(night, reported=chance.choice(ways))
    return _plant(plan, night, "suspicious", night.end, night.end, "overdue")


def _differ(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    if habit.sigma > 0.5:  # a hundredth may be usual
        return 0
    if habit.sender.bytes and chance.random() < 0.6:
        factor = 1 / 100 if habit.size > 4 * GIB and chance.random() < 0.5 else 100.0
        if factor > 1 and night.seconds * factor > 0.5 * (due[1] - due[0]):
            factor = 1 / 100
        if habit.size * 0.5 < 2**30:
            return 0
        parts = [
            replace(s, bytes=s.bytes * factor, seconds=s.seconds * (factor if s.bytes else 1))
            for s in night.stretches
        ]
    elif habit.sigma <= 0.2 or habit.sender.bytes:
        if night.seconds * 9 > due[1] - due[0] or night.seconds < 10 * MINUTE:
            return 0
        parts = [replace(s, seconds=s.seconds * 9) for s in night.stretches]
    else:
        return 0
    night = replace(night, stretches=parts)
    return _plant(plan, night, "unusual", night.end, night.end, "slow", "hung")


def _hang(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    """Stuck in the transfer until it is killed in the morning."""
    if not (habit.sender.bytes or habit.sender.percent):
        return 0
    transfer = sum(each.seconds for each in night.stretches if each.bytes)
    before = night.stretches[0].seconds
    cut = _cut(night, (before + transfer * chance.uniform(0.2, 0.8)) / night.seconds)
    pauses = [night.stretches[0].seconds, habit.sender.progress_seconds]
    by = cut.end + max(HUNG_SECONDS, 5 * max(pauses))
    stuck = Stretch("transferring", by - cut.end + chance.uniform(0.3, 4) * HOUR, is_stuck=True)
    if cut.end + stuck.seconds + MINUTE > due[1]:
        return 0
    stopped_at = cut.end
    cut.stretches.append(stuck)
    return _plant(
        plan, replace(cut, status="failed"), "hung", stopped_at, by, "failed", "slow", "unusual"
    )


def _miss(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    """Some runs are not started. `by`: from the last good run, and when the next was due."""
    if not habit.hours or habit.day_of_month is not None or not plan.nights:
        return 0
    last = plan.nights[-1].start
    weeks = (due[0] - plan.nights[0].start) / (7 * DAY)
    if weeks < (4 if plan.troubles else 1.2):  # two weeks that differ say nothing
        return 0
    usual = median(later - at for at, later in pairwise(due))
    if usual < 2 * HOUR and moment(due[0]).month > 10:
        return 0  # after the change of the clocks it learns the last hour of the day again
    missed = chance.choice((1, 2, 5))
    waited = due[0] - last
    by = due[0] + 0.5 * usual + 0.1 * waited + 0.1 * usual
    if missed >= len(due) or due[missed] < by + HOUR:
        return 0
    until = due[missed] + DAY
    plan.troubles.append(Trouble("overdue", due[0], by, due[0], until, frozenset({"overdue"})))
    return due[missed] - MINUTE


def _crawl(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    """An eighth of the usual speed."""
    transfer = sum(each.seconds for each in night.stretches if each.bytes)
    if not habit.sender.bytes or habit.sigma > 0.4 or transfer < max(1_200, night.seconds / 2):
        return 0
    if night.seconds * 8 > due[1] - due[0]:
        return 0
    parts = [replace(s, seconds=s.seconds * (8 if s.bytes else 1)) for s in night.stretches]
    by = night.end + 10 * MINUTE
    return _plant(plan, replace(night, stretches=parts), "slow", night.start, by, "unusual", "hung")


def _twice(
    plan: Plan, habit: Habit, night: Night, due: Sequence[float], chance: random.Random
) -> float:
    """Started a second time while it runs."""
    if night.seconds < 15 * MINUTE or night.end + night.seconds > due[1]:
        return 0
    second = replace(night, start=night.start + night.seconds * chance.uniform(0.2, 0.7))
    plan.nights.append(night)
    return _plant(plan, second, "overlapping", second.start, second.start)


def _cut(night: Night, share: float) -> Night:
    """A night that ends early."""
    left, parts = night.seconds * share, []
    for each in night.stretches:
        part = min(1.0, left / each.seconds)
        parts.append(replace(each, seconds=each.seconds * part, bytes=each.bytes * part))
        left -= each.seconds
        if left <= 0:
            break
    return replace(night, stretches=parts)


_PLANTS = {
    "failed": _fail,
    "silent": _die,
    "suspicious": _contradict,
    "unusual": _differ,
    "hung": _hang,
    "overdue": _miss,
    "slow": _crawl,
    "overlapping": _twice,
}


def make_hub(nights: int, seed: int, *, is_down_at_night: bool = False) -> Hub:
    """A hub with an outage of minutes to ten hours every second week, or with one every night."""
    chance = random.Random(f"{seed} hub")
    midnight = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp()
    if is_down_at_night:
        return Hub(
            tuple((midnight + n * DAY, midnight + n * DAY + 6 * HOUR) for n in range(nights))
        )
    absences = []
    for week in range(1, nights // 7, 2):
        begins = midnight + (7 * week + chance.random() * 6) * DAY
        absences.append(
            (begins, begins + math.exp(chance.uniform(math.log(60), math.log(10 * HOUR))))
        )
    return Hub(tuple(absences))


# The balance.


@dataclass
class Balance:
    """Of a fleet: what was planted, what was found and when, and what was false."""

    machines: int
    nights: int
    runs: int = 0
    planted: Counter[str] = field(default_factory=Counter)
    delays: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missed: list[tuple[Plan, Trouble]] = field(default_factory=list)
    false: list[tuple[Plan, Alarm]] = field(default_factory=list)
    found: list[tuple[Plan, Alarm]] = field(default_factory=list)
    changes: dict[str, list[ItemChange]] = field(default_factory=dict)  # by series

    @property
    def machine_years(self) -> float:
        return self.machines * self.nights / 365

    @property
    def false_rate(self) -> float:
        """False alarms per machine and year."""
        return len(self.false) / self.machine_years

    @property
    def holds(self) -> bool:
        return not self.missed and self.false_rate <= LARGEST_RATE

    def count(self, plan: Plan, alarms: Sequence[Alarm], hub: Hub) -> None:
        """Compare the alarms of a series with what was planted in it."""
        self.runs += len(plan.nights)
        for trouble in plan.troubles:
            if trouble.kind == "hung" and _was_over(trouble, hub):
                continue
            self.planted[trouble.kind] += 1
            bound = _bound(trouble, hub)
            found = [
                each
                for each in alarms
                if each.kind == trouble.kind and trouble.at - MINUTE <= each.at <= bound
            ]
            if found:
                self.delays[trouble.kind].append(found[0].at - trouble.at)
                self.found.append((plan, found[0]))
            else:
                self.missed.append((plan, trouble))
        for alarm in alarms:
            if not any(
                alarm.kind in each.explains and each.since <= alarm.at <= each.until
                for each in plan.troubles
            ):
                self.false.append((plan, alarm))


def _was_over(trouble: Trouble, hub: Hub) -> bool:
    """Whether a run had ended before the hub could have called it hung. Then it is a failed one."""
    noticed = hub.watched(hub.arrival(trouble.at), trouble.by - trouble.at)
    return noticed > trouble.until - EXPLAINED_DAYS * DAY


def _bound(trouble: Trouble, hub: Hub) -> float:
    """By when a trouble must be noticed: a look after its bound, or after what the hub missed."""
    if trouble.kind == "overdue":
        return hub.ready(trouble.by) + SWEEP
    at = hub.arrival(trouble.by)
    if trouble.kind in ("hung", "silent"):
        at = max(at, hub.watched(hub.arrival(trouble.at), trouble.by - trouble.at))
    return at + SWEEP + SETTLED


def simulate(machines: int, nights: int, seed: int, *, is_down_at_night: bool = False) -> Balance:
    """Let a fleet run, and the hub watch it."""
    hub = make_hub(nights, seed, is_down_at_night=is_down_at_night)
    day = FIRST_DAY + timedelta(nights)
    until = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    balance = Balance(machines, nights)
    for plan in make_fleet(machines, nights, seed):
        watcher = Watcher(plan, hub)
        balance.count(plan, watcher.watch(until), hub)
        balance.changes[plan.series.subject] = watcher.changes
    return balance


# What is told.

TICK = 3.0  # of the task notify


@dataclass
class Told:
    """What a route with the defaults tells. `wrong`: found troubles that are not told exactly once,
    or whose end is not, with both counts.
    """

    messages: int = 0
    openings: Counter[int] = field(default_factory=Counter)  # by item
    recoveries: Counter[int] = field(default_factory=Counter)
    wrong: list[tuple[Plan, Alarm, int, int]] = field(default_factory=list)


def tell(balance: Balance) -> Told:
    """Let a route tell the items of a fleet, with the rules of the task notify."""
    told, route = Told(), Route(1, "all", 1)
    ids: dict[tuple[str, str, float], int] = {}
    ended: dict[int, float] = {}
    episodes: dict[tuple[str, str], Episode] = {}
    changes = sorted(
        (
            (each.at, number, subject, each)
            for subject, found in balance.changes.items()
            for number, each in enumerate(found)
        ),
        key=lambda change: change[:2],
    )
    for index, (at, _, subject, change) in enumerate(changes):
        before = episodes.pop((change.kind, subject), None)
        if change.change == "opened":
            ids[subject, change.kind, at] = len(ids)
            item = _item(len(ids) - 1, subject, change)
        else:
            item = _item(_newest(ids, subject, change.kind), subject, change)
        if change.change == "ended":
            ended[item.id] = at
        after = follow(route, before, item, change.change, moment(at), is_held=False)
        if after is not None:
            episodes[item.key] = after
        next_at = changes[index + 1][0] if index + 1 < len(changes) else at + DAY
        _pass_time(route, episodes, next_at, told)
    for plan, alarm in balance.found:
        item_id = ids[plan.series.subject, alarm.kind, alarm.at]
        counts = told.openings[item_id], told.recoveries[item_id]
        if counts != (1, 1 if item_id in ended else 0):
            told.wrong.append((plan, alarm, *counts))
    return told


def _item(number: int, subject: str, change: ItemChange) -> Item:
    at = moment(change.at)
    rank = SEVERITIES.index(change.severity) + 1
    return Item(number, change.kind, change.severity, rank, subject, at, at, "", "")


def _newest(ids: dict[tuple[str, str, float], int], subject: str, kind: str) -> int:
    return max(number for (s, k, _), number in ids.items() if (s, k) == (subject, kind))


def _pass_time(
    route: Route, episodes: dict[tuple[str, str], Episode], until: float, told: Told
) -> None:
    """Let the task run whenever something is due."""
    while due := [each.due_at.timestamp() for each in episodes.values() if each.due_at is not None]:
        at = math.ceil(min(due) / TICK) * TICK
        if at >= until:
            return
        soon = moment(at) + RECOVERY_GROUP
        ready = [each for each in episodes.values() if each.due_at and each.due_at <= soon]
        done = step(route, ready, moment(at), lambda _: False)
        for each in done.ended:
            del episodes[each.item.key]
        episodes.update({each.item.key: each for each in done.kept})
        for telling in done.tellings:
            told.messages += 1
            told.openings.update(each.item.id for each in (*telling.opened, *telling.open))
            told.recoveries.update(each.item.id for each in telling.recovered)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--down-at-night", action="store_true", help="the hub is down from 0 to 6 UTC"
    )
    parser.add_argument(
        "--route", action="store_true", help="let a route tell the items, and count its messages"
    )
    parser.add_argument("--all", action="store_true", help="print each miss and each false alarm")
    args = parser.parse_args()
    balance = simulate(args.machines, args.nights, args.seed, is_down_at_night=args.down_at_night)
    report(balance, is_long=args.all)
    if not args.route:
        return 0 if balance.holds else 1
    told = tell(balance)
    print(
        f"\n{told.messages} messages, {told.messages / balance.machine_years:.2f} per machine and "
        f"year; {len(told.wrong)} of {len(balance.found)} troubles without exactly one message and "
        "one recovery"
    )
    if args.all:
        for plan, alarm, openings, recoveries in told.wrong:
            where = f"{moment(alarm.at):%a %d %b %H:%M} {plan.series.title}"
            print(f"told   {alarm.kind} {where}: {openings} times, its end {recoveries} times")
    return 0 if balance.holds and not told.wrong else 1


def report(balance: Balance, *, is_long: bool) -> None:
    """Print the figures."""
    print(f"{balance.machines} machines, {balance.nights} nights, {balance.runs} runs\n")
    print(f"{'kind':<12} {'planted':>8} {'found':>6} {'median':>9} {'latest':>9} {'false':>6}")
    false = Counter(alarm.kind for _, alarm in balance.false)
    for kind in dict.fromkeys((*(kind for kind, _ in _KINDS), *false)):
        delays = balance.delays[kind]
        times = [f"{median(delays):.0f} s", f"{max(delays):.0f} s"] if delays else ["", ""]
        print(
            f"{kind:<12} {balance.planted[kind]:>8} {len(delays):>6} {times[0]:>9} {times[1]:>9} "
            f"{false[kind]:>6}"
        )
    print(
        f"\n{len(balance.missed)} missed; {len(balance.false)} false alarms, "
        f"{balance.false_rate:.2f} per machine and year"
    )
    if not is_long:
        return
    for plan, trouble in balance.missed:
        print(f"missed {trouble.kind} {moment(trouble.at):%a %d %b %H:%M} {plan.series.title}")
    for plan, alarm in balance.false:
        where = f"{moment(alarm.at):%a %d %b %H:%M} {plan.series.title}"
        print(f"false  {alarm.kind} {where}: {alarm.summary}")


if __name__ == "__main__":
    sys.exit(main())
