"""When an update is due."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from telemetry_client.tracker.cadence import IMPORTANT, Moment, should_send

LAST = Moment(100.0, 20.0, phase="transferring")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"at_seconds": 104.9}, None),
        ({"at_seconds": 105.0}, "interval"),
        ({"percent": 29.99}, None),
        ({"percent": 30.0}, "percent"),
        ({"percent": 10.0}, "percent"),  # it began again
        ({"percent": None}, None),
        ({"percent": None, "at_seconds": 105.0}, "interval"),
        ({"phase": "finalizing"}, "phase"),
        ({"error": "a bad block"}, "error"),
        ({"disk_statuses": {0: "completed"}}, "status"),
        ({"status": "completed"}, "end"),
        ({"status": "failed", "phase": "finalizing"}, "end"),
    ],
)
def test_an_update_is_due(changes: dict[str, Any], reason: str | None) -> None:
    assert should_send(LAST, replace(LAST, **changes)) == reason


def test_the_start_is_always_sent() -> None:
    assert should_send(None, Moment(0.0)) == "start"


def test_nothing_is_sent_after_the_end() -> None:
    ended = replace(LAST, status="completed")
    assert should_send(ended, replace(ended, at_seconds=10_000.0, phase="x")) is None


def test_a_percent_that_becomes_known_is_a_step() -> None:
    assert should_send(replace(LAST, percent=None), replace(LAST, percent=0.0)) == "percent"


def test_interval_and_step_can_be_chosen() -> None:
    now = replace(LAST, at_seconds=101.0, percent=21.0)
    assert should_send(LAST, now, interval_seconds=1.0) == "interval"
    assert should_send(LAST, now, percent_step=1.0) == "percent"


def test_only_ordinary_updates_may_be_dropped() -> None:
    assert {"start", "end", "status", "phase", "error"} == IMPORTANT
