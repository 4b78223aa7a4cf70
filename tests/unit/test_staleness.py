"""The rules of staleness: texts that are a contract, and what counts as watched silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.rules import Match, Rule, RuleSet, Subject
from app.domain.staleness import (
    Reach,
    SilenceRules,
    Threshold,
    Watch,
    fail_text,
    go_duration,
    judge_silence,
    silent_since,
    stall_text,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def before(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_the_texts_at_the_default_thresholds() -> None:
    assert stall_text(60) == "Job stalled due to no telemetry updates for 60s"
    assert fail_text(300) == "Job failed due to no telemetry updates for 5m0s"


def test_the_stall_text_stays_in_seconds() -> None:
    assert stall_text(90) == "Job stalled due to no telemetry updates for 90s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "2s"),
        (45, "45s"),
        (60, "1m0s"),
        (90, "1m30s"),
        (300, "5m0s"),
        (3600, "1h0m0s"),
        (3661, "1h1m1s"),
        (90_000, "25h0m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: int, text: str) -> None:
    assert go_duration(seconds) == text


def test_silence_is_counted_back_from_the_last_beat() -> None:
    assert silent_since([Watch(before(3600), before(2))], 60) == before(62)


def test_a_watch_shorter_than_the_threshold_gives_no_verdict() -> None:
    assert silent_since([Watch(before(59), NOW)], 60) is None
    assert silent_since([Watch(before(60), NOW)], 60) == before(60)


def test_without_a_watch_nothing_is_judged() -> None:
    assert silent_since([], 60) is None


def test_one_process_that_watched_long_enough_is_enough() -> None:
    just_started = Watch(before(5), NOW)
    assert silent_since([just_started, Watch(before(3600), before(1))], 60) == before(61)


def test_watches_of_two_processes_do_not_add_up() -> None:
    # A process that was killed and the one that took its place: none listened in between.
    assert silent_since([Watch(before(3600), before(50)), Watch(before(40), NOW)], 60) == before(
        110
    )


# The thresholds of a job.


def seconds_of(
    stall: int = 60, fail: int = 300, *, interval: int | None = None, pause: int | None = None
) -> tuple[int, int]:
    judged = judge_silence(Threshold(stall), Threshold(fail), 240, interval, pause)
    assert judged.stall.seconds < judged.fail.seconds
    return judged.stall.seconds, judged.fail.seconds


def test_without_a_rule_or_a_cadence_the_settings_count() -> None:
    assert seconds_of() == (60, 300)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(1, (60, 300)), (20, (60, 300)), (21, (63, 303)), (600, (1800, 2040))],
)
def test_a_sender_may_miss_two_of_its_updates(interval: int, expected: tuple[int, int]) -> None:
    assert seconds_of(interval=interval) == expected


@pytest.mark.parametrize(
    ("given", "pause", "expected"),
    [
        ((5, 10), 9, (27, 32)),  # every 9 s against a threshold of 5 s
        ((5, 10), 45, (50, 55)),  # no more than ten times the threshold …
        ((60, 300), 61, (183, 423)),
        ((60, 300), 18_000, (600, 840)),  # … however long an outage was
        ((60, 86_400), 1000, (3000, 89_340)),  # … or the failure threshold, if that is longer
    ],
)
def test_a_pause_that_was_not_the_end_may_come_again(
    given: tuple[int, int], pause: int, expected: tuple[int, int]
) -> None:
    assert seconds_of(*given, pause=pause) == expected


@pytest.mark.parametrize("pause", [5, 9, 20, 49])
def test_a_steady_sender_slower_than_the_threshold_is_called_silent_once(pause: int) -> None:
    assert seconds_of(5, 10, pause=pause)[0] > pause


def test_a_failure_threshold_below_that_of_the_stall_is_put_after_it() -> None:
    judged = judge_silence(Threshold(600, 7), Threshold(300), 240, None, None)
    assert judged.stall == Threshold(600, 7)
    assert judged.fail == Threshold(840, None, "stall_after_seconds")


def test_what_raised_a_threshold_is_named() -> None:
    by_interval = judge_silence(Threshold(60, 7), Threshold(300), 240, 30, 20)
    assert by_interval.stall == Threshold(90, 7, "interval")
    by_pause = judge_silence(Threshold(60), Threshold(300, 8), 240, 20, 30)
    assert by_pause.fail == Threshold(330, 8, "pause")


def test_each_threshold_comes_from_its_own_most_specific_rule() -> None:
    rules = RuleSet(
        [
            Rule(1, Match(job_type="backup"), {"stall_after_seconds": 30}),
            Rule(2, Match(vm_name="a"), {"fail_after_seconds": 900}),
            Rule(3, Match(vm_name="b"), {"stall_after_seconds": 20}),
        ]
    )
    silence = SilenceRules(rules, 60, 300)
    assert silence.reach_of_stall() == Reach(60, 20, {"job_type": ["backup"], "vm_name": ["b"]})
    assert silence.reach_of_fail() == Reach(300, 300, {})
    of_a = silence.of(Subject("backup", vm_name="a"), None, None)
    assert (of_a.stall, of_a.fail) == (Threshold(30, 1), Threshold(900, 2))
    of_b = silence.of(Subject("backup", vm_name="b"), None, None)
    assert (of_b.stall, of_b.fail) == (Threshold(20, 3), Threshold(300))
    assert silence.of(Subject("restore"), None, None).stall == Threshold(60)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), Reach(10, 10, {})),
        (Match(vm_name="pg-*"), Reach(60, 10, {"vm_name": ["pg-*"]})),
        # The exact one is quicker to look for.
        (Match(vm_name="pg-*", phase="snapshot"), Reach(60, 10, {"phase": ["snapshot"]})),
        (Match(job_id="j", job_type="backup"), Reach(60, 10, {"job_id": ["j"]})),
        (Match(node_id="n"), Reach(60, 60, {})),
    ],
)
def test_a_sweep_looks_at_few_jobs_for_a_narrow_rule(match: Match, expected: Reach) -> None:
    rules = RuleSet([Rule(1, match, {"stall_after_seconds": 10})])
    assert SilenceRules(rules, 60, 300).reach_of_stall() == expected


def test_a_longer_threshold_than_that_of_the_settings_needs_no_look() -> None:
    rules = RuleSet([Rule(1, Match(vm_name="a"), {"stall_after_seconds": 600})])
    assert SilenceRules(rules, 60, 300).reach_of_stall() == Reach(60, 60, {})
