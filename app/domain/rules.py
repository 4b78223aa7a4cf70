"""Rules: thresholds by job, machine, node, phase and type; and planned silence (maintenance).

A rule has conditions and settings. For each setting by itself, the most specific rule applies that
sets it and whose conditions all match. The order of specificity:

1. by field: a rule that names the job comes before every rule that does not; then machine, node,
   phase and job type, in this order;
2. within a field, an exact name before a pattern, and a pattern with more literal characters first;
3. among equals, the newest rule (the highest id).

Without such a rule the default applies, which callers take from the settings of the hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import translate
from typing import Any

# From the most specific field to the least.
CONDITIONS = ("job_id", "vm_name", "node_id", "phase", "job_type")
PATTERN_CONDITIONS = ("job_id", "vm_name", "node_id")
# `schedule` and `timezone` are one setting.
SETTINGS = (
    "stall_after_seconds",
    "fail_after_seconds",
    "hung_after_seconds",
    "overdue_after_seconds",
    "schedule",
    "unusual_factor",
    "disk_percent_warning",
    "disk_percent_critical",
    "memory_percent",
    "mute_until",
)

_WILDCARDS = re.compile(r"\*|\?|\[[^]]+\]")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule is looked up for: a run of a job, a series or a node. None: it has no such thing.

    `job_id` is the job's name, without the number of a run.
    """

    job_type: str | None = None
    phase: str | None = None
    vm_name: str | None = None
    job_id: str | None = None
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions, which must all hold; None: any. Without conditions it matches everything.

    A condition of PATTERN_CONDITIONS may be a shell pattern (`*`, `?`, `[…]`); case matters.
    """

    job_type: str | None = None
    phase: str | None = None
    vm_name: str | None = None
    job_id: str | None = None
    node_id: str | None = None

    def specificity(self) -> tuple[tuple[int, int], ...]:
        """The greater, the more specific; see the head of this module."""
        return tuple(_specificity(name, getattr(self, name)) for name in CONDITIONS)

    def compile(self) -> Matcher:
        """The conditions in the form that is quick to check."""
        exact: list[tuple[str, str]] = []
        patterns: list[tuple[str, re.Pattern[str]]] = []
        for name in CONDITIONS:
            condition = getattr(self, name)
            if condition is None:
                continue
            if is_pattern(name, condition):
                patterns.append((name, re.compile(translate(condition))))
            else:
                exact.append((name, condition))
        return Matcher(tuple(exact), tuple(patterns))


@dataclass(frozen=True, slots=True)
class Matcher:
    """A compiled `Match`."""

    exact: tuple[tuple[str, str], ...]
    patterns: tuple[tuple[str, re.Pattern[str]], ...]

    def holds(self, subject: Subject) -> bool:
        """Whether every condition holds for the subject. What it does not have never matches."""
        for name, condition in self.exact:
            if getattr(subject, name) != condition:
                return False
        for name, pattern in self.patterns:
            value = getattr(subject, name)
            if value is None or pattern.match(value) is None:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Schedule:
    """When runs are due: a cron expression of five fields, in an IANA time zone."""

    expression: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of `rules`. `settings`: only what it sets, by a name of SETTINGS."""

    id: int
    match: Match
    settings: dict[str, Any]
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The value of a setting, and the rule that sets it."""

    value: Any
    rule_id: int


class RuleSet:
    """Every rule at one time. It does not change."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = sorted(
            rules, key=lambda rule: (rule.match.specificity(), rule.id), reverse=True
        )
        self._by_setting: dict[str, list[tuple[Matcher, Applied]]] = {}
        for rule in self.rules:
            matcher = rule.match.compile()
            for name, value in rule.settings.items():
                entry = (matcher, Applied(value, rule.id))
                self._by_setting.setdefault(name, []).append(entry)

    def setting(self, name: str, subject: Subject) -> Applied | None:
        """What the most specific rule sets for the subject; None: no rule does.

        `schedule` is a `Schedule`, `mute_until` a datetime, everything else a number.
        """
        return next(self._matching(name, subject), None)

    def rhythm(self, subject: Subject) -> Applied | None:
        """`overdue_after_seconds` (int) or `schedule` (Schedule), whichever is more specific."""
        found = (self.setting(name, subject) for name in ("overdue_after_seconds", "schedule"))
        order = {rule.id: place for place, rule in enumerate(self.rules)}
        return min(
            (applied for applied in found if applied is not None),
            key=lambda applied: order[applied.rule_id],
            default=None,
        )

    def mute(self, subject: Subject, now: datetime) -> Applied | None:
        """The most specific rule that mutes the subject now. One that has expired mutes nothing."""
        muting = (each for each in self._matching("mute_until", subject) if each.value > now)
        return next(muting, None)

    def is_muted(self, subject: Subject, now: datetime) -> bool:
        """Whether a rule mutes the subject now."""
        return self.mute(subject, now) is not None

    def has_mute_ended(self, after: datetime, until: datetime) -> bool:
        """Whether a rule's mute ended between two instants."""
        muted = self._by_setting.get("mute_until", ())
        return any(after < applied.value <= until for _, applied in muted)

    def least(self, name: str) -> Any:
        """The smallest value that any rule has for a setting; None: no rule sets it."""
        return min((applied.value for _, applied in self._by_setting.get(name, ())), default=None)

    def _matching(self, name: str, subject: Subject) -> Iterator[Applied]:
        for matcher, applied in self._by_setting.get(name, ()):
            if matcher.holds(subject):
                yield applied


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A row of `maintenance`: planned silence of what matches, from `from_at` to before `to_at`."""

    id: int
    from_at: datetime
    to_at: datetime
    match: Match
    reason: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Maintenance:
    """The maintenance windows, at `now`. It does not change.

    `grace_seconds`: what was silent on purpose has this long, after its window ended, to report.
    """

    now: datetime
    windows: tuple[MaintenanceWindow, ...] = ()
    grace_seconds: float = 60
    _begun: list[tuple[MaintenanceWindow, Matcher]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        begun = [(w, w.match.compile()) for w in self.windows if w.from_at <= self.now]
        object.__setattr__(self, "_begun", begun)

    def covers(self, subject: Subject) -> bool:
        """Whether a window of the subject is open now, or ended within the grace."""
        last = self.last_covered(subject)
        return last is not None and last > self.now - timedelta(seconds=self.grace_seconds)

    def last_covered(self, subject: Subject) -> datetime | None:
        """The last instant, up to now, that a window of the subject covers; None: there is none."""
        ends = (
            min(w.to_at, self.now)
            for w, m in self._begun
            if w.from_at < w.to_at and m.holds(subject)
        )
        return max(ends, default=None)

    def seconds_covered(self, subject: Subject, from_at: datetime, to_at: datetime) -> float:
        """How long, between two instants, windows of the subject are open. Overlaps count once."""
        covered = 0.0
        counted_to = from_at
        for window, matcher in sorted(self._begun, key=lambda each: each[0].from_at):
            begins, ends = max(window.from_at, counted_to), min(window.to_at, to_at)
            if ends > begins and matcher.holds(subject):
                covered += (ends - begins).total_seconds()
                counted_to = ends
        return covered


def is_pattern(name: str, condition: str) -> bool:
    """Whether a condition is a shell pattern rather than an exact name."""
    return name in PATTERN_CONDITIONS and _WILDCARDS.search(condition) is not None


def _specificity(name: str, condition: str | None) -> tuple[int, int]:
    """0: no condition, 1: a pattern, by its literal characters; 2: an exact name."""
    if condition is None:
        return 0, 0
    if is_pattern(name, condition):
        return 1, len(_WILDCARDS.sub("", condition))
    return 2, 0
