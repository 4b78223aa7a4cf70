"""The rules of staleness: texts that are a contract, and what counts as watched silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.staleness import Watch, fail_text, go_duration, silent_since, stall_text

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
