"""Scenarios, and the table of what they saw at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.chaos.scenario import Scenario, lasting
from tests.chaos.senders import Senders
from tools.hub_process import HubProcess

# `make test` runs other tests beside: four senders without a pause take a whole processor.
PAUSE_SECONDS = lasting(0, 0.02)

Run = Callable[..., AbstractContextManager[Scenario]]


@pytest.fixture
def chaos(record_property: Callable[[str, object], None]) -> Run:
    """`with chaos(hub) as scenario:` has senders push throughout and counts when they are done.

    Further arguments are the senders': `count`, `ahead_seconds`, and `url` where it is not the
    hub's own (a proxy before it).
    """

    @contextmanager
    def run(hub: HubProcess, url: str | None = None, **options: Any) -> Iterator[Scenario]:
        address = url or f"http://127.0.0.1:{hub.port}"
        with Senders(address, pause_seconds=PAUSE_SECONDS, **options) as senders:
            scenario = Scenario(hub, senders, record_property)
            senders.keep_going()
            yield scenario
            senders.keep_going()
        scenario.assert_nothing_lost()

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line a scenario: how soon the hub was back, what was acknowledged, what was lost."""
    rows = [
        (report.nodeid.rpartition("::")[2], dict(report.user_properties))
        for reports in (
            terminalreporter.getreports("passed"),
            terminalreporter.getreports("failed"),
        )
        for report in reports
        if getattr(report, "user_properties", None) and report.when == "call"
    ]
    seen = [(name, noted) for name, noted in rows if "acknowledged" in noted]
    if not seen:
        return
    terminalreporter.section("chaos")
    for name, noted in seen:
        terminalreporter.write_line(
            f"{name:<58} back after {noted.get('recovery_seconds', '-'):>5} s, "
            f"acknowledged {noted['acknowledged']:>6}, lost {noted['lost']}"
        )
