"""What a program logs as an error, as an error of its job."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from telemetry_client import ProgressTracker, TelemetryHandler
from tools.faulty_hub import FaultyHub


@pytest.fixture
def log() -> logging.Logger:
    """A program's own logger, of this test only."""
    logger = logging.Logger("program")
    logger.setLevel(logging.DEBUG)
    return logger


def errors(hub: FaultyHub) -> list[str]:
    return [update["error"] for update in hub.accepted if "error" in update]


def test_errors_are_reported_and_do_not_end_the_job(
    faulty_hub: FaultyHub, places: dict[str, Any], log: logging.Logger
) -> None:
    with ProgressTracker("backup-1", **places) as tracker:
        log.addHandler(TelemetryHandler(tracker))
        log.warning("not this")
        log.error("disk %d is slow", 3)
        try:
            raise OSError("no space on https://user:hunter2@host/")
        except OSError:
            log.exception("a file was not copied")
    assert errors(faulty_hub) == [
        "disk 3 is slow",
        "a file was not copied: OSError: no space on https://host/",
    ]
    assert faulty_hub.accepted[-1]["status"] == "completed"


def test_without_a_tracker_it_uses_the_current_one(
    faulty_hub: FaultyHub, places: dict[str, Any], log: logging.Logger
) -> None:
    log.addHandler(TelemetryHandler(level="WARNING"))
    log.error("before")
    with ProgressTracker("backup-1", **places):
        log.warning("within")
    log.error("after")
    assert errors(faulty_hub) == ["within"]


def test_a_formatter_is_used(
    faulty_hub: FaultyHub, places: dict[str, Any], log: logging.Logger
) -> None:
    with ProgressTracker("backup-1", **places) as tracker:
        handler = TelemetryHandler(tracker)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        log.addHandler(handler)
        log.error("slow")
    assert errors(faulty_hub) == ["ERROR slow"]


def test_the_clients_own_errors_are_not_the_jobs(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    """They are about telemetry, and reporting them would cause more of them."""
    handler = TelemetryHandler()
    logging.getLogger().addHandler(handler)
    try:
        with ProgressTracker("backup-1", **places):
            faulty_hub.next_faults.extend(["502", "502"])
            logging.getLogger("telemetry_client.tracker").error("its own")
            logging.getLogger("urllib3.connectionpool").error("its library's")
    finally:
        logging.getLogger().removeHandler(handler)
    assert errors(faulty_hub) == []


def test_a_record_that_cannot_be_formatted_breaks_nothing(
    faulty_hub: FaultyHub,
    places: dict[str, Any],
    log: logging.Logger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressTracker("backup-1", **places) as tracker:
        log.addHandler(TelemetryHandler(tracker))
        log.error("%d", "text")
        log.error("fine")
    assert errors(faulty_hub) == ["fine"]
    assert "Logging error" in capsys.readouterr().err
