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

from app.domain.runs import split_key

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

# Those that are about jobs rather than nodes.
JOB_SETTINGS = tuple(name for name in SETTINGS if "percent" not in name)

WILDCARD_SET = re.compile(r"\[[^]]+\]")  # one character of some
_WILDCARDS = re.compile(rf"\*|\?|{WILDCARD_SET.pattern}")


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


def subject_of(
    job_type: str, phase: str | None, vm_name: str | None, run_key: str, node_id: str | None = None
) -> Subject:
    """The subject of a run, from its row; `pending` stands for no phase."""
    phase = None if phase == "pending" else phase
    return Subject(job_type, phase, vm_name, split_key(run_key)[0], node_id)


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


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one rule has for one setting. `rank`: 0 for the most specific rule."""

    rank: int
    matcher: Matcher
    applied: Applied


class RuleSet:
    """Every rule at one time. It does not change."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = sorted(
            rules, key=lambda rule: (rule.match.specificity(), rule.id), reverse=True
        )
        self._settings: dict[str, _Setting] = {}
        for rank, rule in enumerate(self.rules):
            matcher = rule.match.compile()
            for name, value in rule.settings.items():
                entry = _Entry(rank, matcher, Applied(value, rule.id))
                self._settings.setdefault(name, _Setting()).add(entry)

    def sets(self, name: str) -> bool:
        """Whether any rule has this setting."""
        return name in self._settings

    def setting(self, name: str, subject: Subject) -> Applied | None:
        """What the most specific rule sets for the subject; None: no rule does.

        `schedule` is a `Schedule`, `mute_until` a datetime, everything else a number.
        """
        entry = self._find(name, subject)
        return None if entry is None else entry.applied

    def rhythm(self, subject: Subject) -> Applied | None:
        """`overdue_after_seconds` (int) or `schedule` (Schedule), whichever is more specific."""
        found = [self._find(name, subject) for name in ("overdue_after_seconds", "schedule")]
        first = min((e for e in found if e is not None), key=lambda e: e.rank, default=None)
        return None if first is None else first.applied

    def mute(self, subject: Subject, now: datetime) -> Applied | None:
        """The most specific rule that mutes the subject now. One that has expired mutes nothing."""
        setting = self._settings.get("mute_until")
        matching = setting.matching(subject) if setting else ()
        muting = [entry for entry in matching if entry.applied.value > now]
        return min(muting, key=lambda entry: entry.rank).applied if muting else None

    def is_muted(self, subject: Subject, now: datetime) -> bool:
        """Whether a rule mutes the subject now."""
        return self.mute(subject, now) is not None

    def below(self, name: str, most: Any) -> list[tuple[Match, Any]]:
        """The conditions and values of the rules that set a setting to less than `most`."""
        values = ((rule.match, rule.settings.get(name)) for rule in self.rules)
        return [(match, value) for match, value in values if value is not None and value < most]

    def has_mute_ended(self, after: datetime, until: datetime) -> bool:
        """Whether a rule's mute ended between two instants."""
        ends = (rule.settings.get("mute_until") for rule in self.rules)
        return any(end is not None and after < end <= until for end in ends)

    def least(self, name: str) -> Any:
        """The smallest value that any rule has for a setting; None: no rule sets it."""
        values = (rule.settings[name] for rule in self.rules if name in rule.settings)
        return min(values, default=None)

    def _find(self, name: str, subject: Subject) -> _Entry | None:
        setting = self._settings.get(name)
        return None if setting is None else setting.find(subject)


class _Setting:
    """The rules that have one setting, by an exact condition of theirs: a subject meets few."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], list[_Entry]] = {}
        self._others: list[_Entry] = []  # only with patterns, or without conditions

    def add(self, entry: _Entry) -> None:
        """Add a less specific rule than all before."""
        if entry.matcher.exact:
            self._by_name.setdefault(entry.matcher.exact[0], []).append(entry)
        else:
            self._others.append(entry)

    def find(self, subject: Subject) -> _Entry | None:
        """The most specific rule that matches."""
        found: _Entry | None = None
        for entries in self._candidates(subject):
            for entry in entries:
                if found is not None and entry.rank > found.rank:
                    break
                if entry.matcher.holds(subject):
                    found = entry
                    break
        return found

    def matching(self, subject: Subject) -> Iterator[_Entry]:
        """Every rule that matches, in any order."""
        for entries in self._candidates(subject):
            yield from (entry for entry in entries if entry.matcher.holds(subject))

    def _candidates(self, subject: Subject) -> Iterator[list[_Entry]]:
        if self._by_name:
            for name in CONDITIONS:
                value = getattr(subject, name)
                if value is not None and (entries := self._by_name.get((name, value))):
                    yield entries
        yield self._others


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
