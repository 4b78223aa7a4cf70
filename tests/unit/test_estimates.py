"""What the hub works out about a job from its own row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.estimates import LONGEST_ETA_SECONDS, duration_seconds, hub_eta_seconds

START = datetime(2025, 10, 10, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def eta(**changes: Any) -> int | None:
    known: dict[str, Any] = {
        "status": "running",
        "bytes_transferred": 400,
        "total_bytes": 1000,
        "started_at": START,
        "newest_update_at": after(100),
    }
    return hub_eta_seconds(**(known | changes))


def test_the_rest_goes_at_the_mean_rate_so_far() -> None:
    assert eta() == 150  # 400 bytes took 100 s, 600 remain


def test_an_estimate_is_rounded_up() -> None:
    assert eta(bytes_transferred=999) == 1


def test_a_stalled_job_keeps_its_estimate() -> None:
    assert eta(status="stalled") == 150


@pytest.mark.parametrize("status", ["pending", "completed", "failed", "cancelled"])
def test_a_job_that_is_not_live_has_no_estimate(status: str) -> None:
    assert eta(status=status) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes_transferred": 0},
        {"total_bytes": 0},
        {"bytes_transferred": 1000},
        {"bytes_transferred": 1001},
        {"newest_update_at": None},
        {"newest_update_at": START},
        {"newest_update_at": after(-1)},
    ],
)
def test_no_estimate_without_something_to_go_by(changes: dict[str, Any]) -> None:
    assert eta(**changes) is None


def test_an_estimate_beyond_reason_is_none() -> None:
    assert eta(bytes_transferred=1, total_bytes=2**63 - 1) is None
    assert eta(bytes_transferred=1, total_bytes=1 + LONGEST_ETA_SECONDS // 100) is not None


def test_duration_runs_to_the_end() -> None:
    assert duration_seconds(START, after(12.5), after(11)) == 12.5


def test_duration_of_a_live_job_runs_to_its_newest_update() -> None:
    assert duration_seconds(START, None, after(11)) == 11.0


def test_duration_is_unknown_before_the_first_update() -> None:
    assert duration_seconds(START, None, None) is None


def test_duration_is_never_negative() -> None:
    assert duration_seconds(START, after(-5), None) == 0.0
