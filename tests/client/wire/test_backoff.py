"""Waits: full jitter at every step, and what a Retry-After asks for."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from telemetry_client.wire.backoff import (
    RETRY_BACKOFF_SECONDS,
    after_retry_after,
    around,
    backoff_seconds,
    full_jitter,
    parse_date,
    parse_retry_after,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def draw(tries: int, count: int = 1000) -> list[float]:
    dice = random.Random(1)
    return [backoff_seconds(tries, rng=dice) for _ in range(count)]


def test_the_steps_are_5_15_and_60_seconds() -> None:
    assert RETRY_BACKOFF_SECONDS == (5, 15, 60)


@pytest.mark.parametrize(("tries", "longest"), [(1, 5), (2, 15), (3, 60), (4, 60), (100, 60)])
def test_jitter_is_full_at_every_step_the_last_too(tries: int, longest: float) -> None:
    waits = draw(tries)
    assert 0 <= min(waits) < 0.05 * longest
    assert 0.95 * longest < max(waits) <= longest
    assert abs(sum(waits) / len(waits) - longest / 2) < 0.05 * longest
    assert len(set(waits)) == len(waits)


def test_senders_do_not_share_their_dice() -> None:
    random.seed(1)
    first = full_jitter(60)
    random.seed(1)
    assert full_jitter(60) != first


def test_a_pace_varies_by_a_fifth() -> None:
    waits = [around(5.0) for _ in range(1000)]
    assert 4.0 <= min(waits) < 4.2
    assert 5.8 < max(waits) <= 6.0


@pytest.mark.parametrize("retry_after", [0.0, 1.0, 120.0])
def test_a_retry_after_is_never_cut_short_and_always_a_little_longer(retry_after: float) -> None:
    waits = [after_retry_after(retry_after) for _ in range(1000)]
    assert all(retry_after < wait <= retry_after + max(1.0, retry_after / 4) for wait in waits)
    assert max(waits) - min(waits) > 0.8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thursday, 01-Jan-26 00:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 00:02:00", 120.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("999999999", 3600.0),
        ("Fri, 01 Jan 2999 00:00:00 GMT", 3600.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("１２", None),
        ("Thu, 99 Jan 2026 99:00:00 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_a_retry_after_has_two_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == seconds


def test_a_date_is_measured_by_the_hubs_own_clock() -> None:
    until, date = "Thu, 01 Jan 2026 00:02:00 GMT", "Thu, 01 Jan 2026 00:01:30 GMT"
    wrong_clock = datetime(2031, 5, 5, tzinfo=UTC)
    assert parse_retry_after(until, date=date, now=wrong_clock) == 30.0


@pytest.mark.parametrize("text", [None, "", "soon", "Dec 32 99999999999999 23:59:60", "\xff"])
def test_what_is_not_a_date_is_none(text: str | None) -> None:
    assert parse_date(text) is None
