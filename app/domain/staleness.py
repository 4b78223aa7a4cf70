"""When a job counts as stale, and the messages about it. The statements are in app.store.

Only time in which a web process takes updates, from its start to its last beat, counts as silence.
A restart of the hub does not, nor time in which only the tasks run.

How long a job may be silent is set by a rule, else by the settings of the hub. What is known of its
cadence can only raise that (docs/decisions/0032).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from app.domain.rules import CONDITIONS, Applied, RuleSet, Subject, is_pattern

BEAT_SECONDS = 2  # silence may be noticed this long after its threshold
# Seven failed beats in a row. With fewer, a database that is briefly busy would look like a hub
# that is down, and delay status changes.
BEAT_GAP_SECONDS = 15
# A time further in the future was written before the database's clock was set back. A smaller
# difference may come from another transaction, which read the clock later.
FUTURE_SECONDS = 15
# Of a sender that reports every 60 s, two updates may be lost before it is silent.
MISSED_UPDATES = 3
# A pause of many times the threshold was an outage, not a cadence.
MOST_TIMES_RAISED = 10

RaisedBy = Literal["interval", "pause", "stall_after_seconds"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """How long a job may be silent before its status changes.

    `rule_id`: the rule that sets it; None: the hub's settings do. `raised_by`: why it is longer
    than that says.
    """

    seconds: int
    rule_id: int | None = None
    raised_by: RaisedBy | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Of one job: when it is stalled, and when it is failed, which is always later."""

    stall: Threshold
    fail: Threshold


def judge_silence(
    stall: Threshold, fail: Threshold, margin: int, interval: int | None, pause: int | None
) -> Thresholds:
    """The thresholds of a job, from those that are set, its interval and its longest pause (s).

    - It is failed later than it is stalled: where that is not so, by `margin`.
    - It may miss some updates of its interval.
    - A pause that was not the end of the job may come again (hysteresis), but hardly an outage.

    Whatever delays the stall delays the failure by as much.
    """
    if fail.seconds <= stall.seconds:
        fail = Threshold(stall.seconds + margin, fail.rule_id, "stall_after_seconds")
    by_interval = MISSED_UPDATES * (interval or 0)
    most = max(fail.seconds, MOST_TIMES_RAISED * stall.seconds)
    by_pause = min(MISSED_UPDATES * (pause or 0), most)
    delay = max(by_interval, by_pause) - stall.seconds
    if delay <= 0:
        return Thresholds(stall, fail)
    raised_by: RaisedBy = "interval" if by_interval >= by_pause else "pause"
    return Thresholds(
        Threshold(stall.seconds + delay, stall.rule_id, raised_by),
        Threshold(fail.seconds + delay, fail.rule_id, raised_by),
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """Which jobs a sweep has to look at: a superset of those that are due a status.

    `seconds`: every job that has been silent for so long. `least_seconds`: those that have been
    silent for so long, and meet one of the `conditions`; of each field, exact names and patterns.
    """

    seconds: int
    least_seconds: int
    conditions: dict[str, list[str]]


class SilenceRules:
    """The thresholds of any job, by the rules and the hub's settings (in seconds)."""

    def __init__(self, rules: RuleSet, stall_after_seconds: int, fail_after_seconds: int) -> None:
        self.rules = rules
        self._stall = Threshold(stall_after_seconds)
        self._fail = Threshold(fail_after_seconds)
        self._margin = fail_after_seconds - stall_after_seconds

    def of(self, subject: Subject, interval: int | None, pause: int | None) -> Thresholds:
        """The thresholds of a job with this interval and longest pause (s)."""
        return judge_silence(
            _threshold(self.rules.setting("stall_after_seconds", subject), self._stall),
            _threshold(self.rules.setting("fail_after_seconds", subject), self._fail),
            self._margin,
            interval,
            pause,
        )

    def reach_of_stall(self) -> Reach:
        """Which running jobs may be due."""
        return self._reach("stall_after_seconds", self._stall.seconds)

    def reach_of_fail(self) -> Reach:
        """Which stalled jobs may be due."""
        return self._reach("fail_after_seconds", self._fail.seconds)

    def _reach(self, name: str, default: int) -> Reach:
        """One exact condition of each rule that sets less than the default, else a pattern."""
        seconds = least = default
        conditions: dict[str, list[str]] = {}
        for match, value in self.rules.below(name, default):
            if match.node_id is not None:
                continue  # no job has a node
            named = [(n, c) for n in CONDITIONS if (c := getattr(match, n)) is not None]
            if not named:
                seconds = value
                continue
            field, condition = min(named, key=lambda each: is_pattern(*each))
            conditions.setdefault(field, []).append(condition)
            least = min(least, value)
        return Reach(seconds, min(least, seconds), conditions)


def _threshold(applied: Applied | None, default: Threshold) -> Threshold:
    return default if applied is None else Threshold(applied.value, applied.rule_id)


@dataclass(frozen=True, slots=True)
class Watch:
    """A stretch in which one web process took updates without a gap, on the database's clock."""

    up_since: datetime
    beat_at: datetime

    @property
    def seconds(self) -> float:
        return (self.beat_at - self.up_since).total_seconds()


def silent_since(watches: Iterable[Watch], threshold_seconds: int) -> datetime | None:
    """The latest sign of life that makes a job stale; None when no status may change.

    `watches` are those of the processes that still beat. One of them must have been taking updates
    for the whole threshold.
    """
    threshold = timedelta(seconds=threshold_seconds)
    ends = [watch.beat_at for watch in watches if watch.seconds >= threshold_seconds]
    return max(ends) - threshold if ends else None


def stall_text(threshold_seconds: int) -> str:
    """The error_message of a stalled job. Analysts search for it: the wording is a contract."""
    return f"Job stalled due to no telemetry updates for {threshold_seconds}s"


def fail_text(threshold_seconds: int) -> str:
    """The error_message of a job that failed because it was silent. The wording is a contract."""
    return f"Job failed due to no telemetry updates for {go_duration(threshold_seconds)}"


def go_duration(seconds: int) -> str:
    """Whole seconds as Go's time.Duration prints them: 45s, 1m30s, 1h0m0s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
