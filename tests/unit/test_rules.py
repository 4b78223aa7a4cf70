"""Which rule applies: the most specific wins, whatever the order. What maintenance covers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.rules import (
    CONDITIONS,
    PATTERN_CONDITIONS,
    Maintenance,
    MaintenanceWindow,
    Match,
    Rule,
    RuleSet,
    Schedule,
    Subject,
    is_pattern,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STALL = "stall_after_seconds"
JOB = Subject("backup", "transferring", "vm-1", "nightly-vm-1")

_NAMES = ("a", "ab", "b")
_PATTERNS = ("*", "a*", "?", "ab*", "[ab]", "*b")
_MATCHES = st.builds(
    Match,
    **{
        name: st.none()
        | st.sampled_from(_NAMES + (_PATTERNS if name in PATTERN_CONDITIONS else ()))
        for name in CONDITIONS
    },
)
_SUBJECTS = st.builds(Subject, **{name: st.none() | st.sampled_from(_NAMES) for name in CONDITIONS})
_RULES = st.lists(_MATCHES, max_size=12, unique=True).map(
    lambda matches: [Rule(n, match, {STALL: n}) for n, match in enumerate(matches, 1)]
)


def applied(subject: Subject, *rules: Rule) -> int | None:
    """The id of the rule that applies."""
    found = RuleSet(rules).setting(STALL, subject)
    return None if found is None else found.rule_id


def rule(rule_id: int, **conditions: str) -> Rule:
    return Rule(rule_id, Match(**conditions), {STALL: 10 * rule_id})


# The order.


@given(_RULES, _SUBJECTS, st.randoms(use_true_random=False))
def test_the_first_rule_in_one_total_order_that_matches_applies(
    rules: list[Rule], subject: Subject, random: Any
) -> None:
    """Independent of the order of the rows, and the same as looking at every rule in turn."""
    ordered = RuleSet(rules).rules
    keys = [(each.match.specificity(), each.id) for each in ordered]
    assert keys == sorted(set(keys), reverse=True)  # no two rules are equal
    matching = [each.id for each in ordered if _holds(each.match, subject)]
    random.shuffle(rules)
    assert applied(subject, *rules) == (matching[0] if matching else None)


@given(_MATCHES, _MATCHES, _MATCHES)
def test_the_order_of_specificity_is_total(a: Match, b: Match, c: Match) -> None:
    first, second, third = (each.specificity() for each in (a, b, c))
    assert (first < second) + (first == second) + (first > second) == 1
    assert not (first <= second <= third) or first <= third


@given(_MATCHES, st.sampled_from(CONDITIONS), st.sampled_from(_NAMES))
def test_another_condition_makes_a_rule_more_specific(match: Match, name: str, value: str) -> None:
    without = replace(match, **{name: None})
    assert replace(match, **{name: value}).specificity() > without.specificity()


def _holds(match: Match, subject: Subject) -> bool:
    for name in CONDITIONS:
        condition, value = getattr(match, name), getattr(subject, name)
        if condition is None:
            continue
        if value is None:
            return False
        is_equal = value == condition
        if not (fnmatchcase(value, condition) if is_pattern(name, condition) else is_equal):
            return False
    return True


def test_a_job_comes_before_its_machine_phase_and_type() -> None:
    node = replace(JOB, node_id="node-1")
    rules = [
        rule(1, job_id="nightly-vm-1"),
        rule(2, vm_name="vm-1"),
        rule(3, node_id="node-1"),
        rule(4, phase="transferring"),
        rule(5, job_type="backup"),
        rule(6),
    ]
    for left in range(len(rules)):
        assert applied(node, *rules[left:]) == left + 1


def test_a_rule_of_a_job_comes_before_one_with_every_other_condition() -> None:
    others = {"vm_name": "vm-1", "phase": "transferring", "job_type": "backup"}
    assert applied(JOB, rule(1, job_id="nightly-*"), rule(2, **others)) == 1


def test_an_exact_name_comes_before_a_pattern_and_more_letters_before_fewer() -> None:
    rules = [
        rule(1, vm_name="vm-1"),
        rule(2, vm_name="vm-?"),
        rule(3, vm_name="v*"),
        rule(4, vm_name="*"),
    ]
    for left in range(len(rules)):
        assert applied(JOB, *rules[left:]) == left + 1


def test_among_equals_the_newest_applies() -> None:
    rules = [rule(1, vm_name="vm-*"), rule(2, vm_name="*vm-")]
    assert applied(replace(JOB, vm_name="vm-"), *rules) == 2
    assert applied(replace(JOB, vm_name="vm-"), *reversed(rules)) == 2


def test_all_conditions_must_hold() -> None:
    assert applied(JOB, rule(1, vm_name="vm-1", job_type="restore")) is None
    assert applied(JOB, rule(1, vm_name="vm-1", job_type="backup")) == 1


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_a_subject_does_not_have_matches_no_condition(condition: str) -> None:
    assert applied(Subject(), rule(1, **{condition: "*"})) is None


def test_a_pattern_respects_case_and_the_whole_name() -> None:
    assert applied(JOB, rule(1, vm_name="VM-*")) is None
    assert applied(JOB, rule(1, vm_name="m-?")) is None
    assert applied(JOB, rule(1, vm_name="vm-[!2]")) == 1


@pytest.mark.parametrize("name", ["a[", "[", "a]b", "[]"])
def test_a_bracket_alone_is_no_pattern(name: str) -> None:
    assert not is_pattern("vm_name", name)
    assert applied(replace(JOB, vm_name=name), rule(1, vm_name=name)) == 1


def test_types_and_phases_are_never_patterns() -> None:
    assert applied(JOB, rule(1, job_type="*")) is None
    assert applied(replace(JOB, phase="*"), rule(1, phase="*")) == 1


# Settings.


def test_each_setting_is_looked_up_by_itself() -> None:
    rules = RuleSet(
        [
            Rule(1, Match(job_type="backup"), {STALL: 90, "hung_after_seconds": 1800}),
            Rule(2, Match(vm_name="vm-1"), {STALL: 120}),
        ]
    )
    found = {name: rules.setting(name, JOB) for name in (STALL, "hung_after_seconds")}
    assert {name: (a.value, a.rule_id) for name, a in found.items() if a} == {
        STALL: (120, 2),
        "hung_after_seconds": (1800, 1),
    }
    assert rules.setting("unusual_factor", JOB) is None


def test_the_least_value_of_a_setting_is_of_any_rule() -> None:
    rules = RuleSet([rule(3), rule(1, job_id="x"), Rule(9, Match(), {"memory_percent": 2.0})])
    assert rules.least(STALL) == 10
    assert rules.least("fail_after_seconds") is None


@pytest.mark.parametrize("specific", ["schedule", "overdue_after_seconds"])
def test_the_more_specific_of_schedule_and_distance_is_the_rhythm(specific: str) -> None:
    values: dict[str, Any] = {
        "schedule": Schedule("0 22 * * 1-5", "Europe/Berlin"),
        "overdue_after_seconds": 90_000,
    }
    [general] = values.keys() - {specific}
    rules = RuleSet(
        [
            Rule(1, Match(job_id="nightly-vm-1"), {specific: values[specific]}),
            Rule(2, Match(job_type="backup"), {general: values[general]}),
        ]
    )
    rhythm = rules.rhythm(JOB)
    assert rhythm is not None
    assert (rhythm.value, rhythm.rule_id) == (values[specific], 1)
    assert rules.rhythm(Subject("restore")) is None


def test_a_mute_that_has_expired_hides_no_other() -> None:
    hour = timedelta(hours=1)
    rules = RuleSet(
        [
            Rule(1, Match(job_id="nightly-vm-1"), {"mute_until": NOW - hour}),
            Rule(2, Match(vm_name="vm-1"), {"mute_until": NOW + hour}),
        ]
    )
    mute = rules.mute(JOB, NOW)
    assert mute is not None
    assert mute.rule_id == 2
    assert not rules.is_muted(JOB, NOW + hour)
    assert not rules.is_muted(replace(JOB, vm_name="vm-2"), NOW)


# Maintenance.


def window(from_minutes: float, to_minutes: float, **conditions: str) -> MaintenanceWindow:
    begins, ends = (NOW + timedelta(minutes=m) for m in (from_minutes, to_minutes))
    return MaintenanceWindow(1, begins, ends, Match(**conditions))


def maintenance(*windows: MaintenanceWindow, grace: float = 60) -> Maintenance:
    return Maintenance(NOW, windows, grace)


@pytest.mark.parametrize(
    ("from_minutes", "to_minutes", "is_covered"),
    [(-5, 5, True), (0, 5, True), (1, 5, False), (-5, 0, True), (-5, -0.5, True), (-5, -1, False)],
)
def test_a_window_covers_from_its_beginning_to_a_grace_after_its_end(
    from_minutes: float, to_minutes: float, *, is_covered: bool
) -> None:
    assert maintenance(window(from_minutes, to_minutes)).covers(JOB) is is_covered


def test_a_window_covers_only_what_it_matches() -> None:
    planned = maintenance(window(-5, 5, vm_name="vm-*", job_type="backup"))
    assert planned.covers(JOB)
    assert not planned.covers(replace(JOB, job_type="restore"))
    assert not planned.covers(Subject(node_id="vm-1"))
    assert maintenance(window(-5, 5)).covers(Subject(node_id="vm-1"))


def test_a_cancelled_window_covers_nothing() -> None:
    assert maintenance(window(-5, -5)).last_covered(JOB) is None
    assert not maintenance(window(0, 0)).covers(JOB)


def test_the_last_covered_instant_is_now_while_a_window_is_open() -> None:
    assert maintenance(window(-9, -7), window(-5, 5)).last_covered(JOB) == NOW
    assert maintenance(window(-9, -7), window(3, 5)).last_covered(JOB) == NOW - timedelta(minutes=7)


@pytest.mark.parametrize(
    ("windows", "minutes"),
    [
        ([], 0),
        ([(-50, -40)], 10),
        ([(-70, -40), (-50, -45)], 20),  # cut to the span; one inside another
        ([(-50, -30), (-40, -20), (-20, -10)], 40),  # overlapping, then adjoining
        ([(-5, 90)], 5),
        ([(-90, -60), (0, 90)], 0),
    ],
)
def test_covered_time_counts_once(windows: list[tuple[float, float]], minutes: float) -> None:
    planned = maintenance(*(window(*bounds) for bounds in windows))
    assert planned.seconds_covered(JOB, NOW - timedelta(hours=1), NOW) == 60 * minutes


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=6))
def test_covered_time_is_that_of_the_minutes_covered(bounds: list[tuple[int, int]]) -> None:
    windows = [window(low, high) for low, high in bounds if low <= high <= 0]
    covered = {
        minute
        for minute, each in product(range(-5, 0), windows)
        if each.from_at <= NOW + timedelta(minutes=minute) < each.to_at
    }
    spent = maintenance(*windows).seconds_covered(JOB, NOW - timedelta(minutes=5), NOW)
    assert spent == 60 * len(covered)
