"""What every scenario of the chaos suite is held against: back in time by itself, nothing lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from tests.chaos.senders import Senders
from tools.hub_process import HubProcess, wait_until

# `make chaos` sets it: faults then last as long as docs/reliability.md says, else a few seconds.
IS_LONG = os.environ.get("CHAOS") == "long"
# Large enough for the tables to have to grow.
BATCH = {
    "updates": [
        {
            "job_type": "backup",
            "job_id": f"batch-{n}",
            "status": "running",
            "current_phase": "x" * 200,
            "bytes_transferred": n,
        }
        for n in range(300)
    ]
}


def lasting(long_seconds: float, short_seconds: float) -> float:
    """How long a fault is to last, or how often to do something."""
    return long_seconds if IS_LONG else short_seconds


def within(seconds: float) -> float:
    """The bound of a figure that docs/reliability.md states.

    `make chaos` has the machine to itself and holds it. `make test` runs several hubs side by side
    and only tells an answer from one that waits for the fault to end.
    """
    return lasting(seconds, max(5.0, 5 * seconds))


# From the end of a fault until the hub is healthy and takes updates. In `make test` several hubs
# start beside each other on the same processors, and a start is most of it.
RECOVERY_SECONDS = lasting(10, 60)


class Scenario:
    """One fault while senders push. Notes what happened for the table at the end of the run."""

    def __init__(
        self, hub: HubProcess, senders: Senders, note: Callable[[str, object], None]
    ) -> None:
        self.hub = hub
        self.senders = senders
        self._note = note
        self._slowest = 0.0
        self._pushed = 0

    def recover(self, since: float, within: float = RECOVERY_SECONDS) -> None:
        """Wait until the hub is healthy and takes an update of every sender.

        `since`: when the fault ended, by time.monotonic().
        """
        wait_until(self.hub.is_healthy)
        self.senders.keep_going(more=1)
        seconds = time.monotonic() - since
        self._slowest = max(self._slowest, seconds)
        self._note("recovery_seconds", round(self._slowest, 1))
        assert seconds <= within, f"healthy again only after {seconds:.1f} s"

    def goes_on(self, seconds: float) -> None:
        """For so long updates are taken, the hub is healthy, and reads are answered."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.senders.keep_going()
            assert self.hub.is_healthy(), "it goes on with what it has"
            assert self.hub.request("GET", "/api/v1/jobs")[0] == 200

    def timed_push(self) -> tuple[int, float]:
        """Push an update beside those of the senders; the status, and after how many seconds."""
        self._pushed += 1
        path = f"/api/v1/telemetry/backup/beside-{self.senders.job_ids[0]}"
        return self.timed("POST", path, {"status": "running", "bytes_transferred": self._pushed})

    def timed(self, method: str, path: str, body: object = None) -> tuple[int, float]:
        """The status of a request, and after how many seconds."""
        began = time.monotonic()
        return self.hub.request(method, path, body)[0], time.monotonic() - began

    def refusal_seconds(self) -> float:
        """How long a push takes to be told that it cannot be stored now."""
        began = time.monotonic()
        status, headers, _ = self.hub.request("POST", "/api/v1/telemetry/batch", BATCH)
        assert status == 503, status
        assert int(headers["retry-after"]) >= 1
        return time.monotonic() - began

    def sick_seconds(self) -> float:
        """How long /health takes to say that updates cannot be taken."""
        began = time.monotonic()
        assert self.hub.request("GET", "/api/v1/health")[0] == 503
        return time.monotonic() - began

    def events_of(self, job_id: str) -> list[dict[str, Any]]:
        """The transitions and warnings of a job, in order."""
        status, _, body = self.hub.request("GET", f"/api/v1/jobs/{job_id}/events")
        assert status == 200
        events: list[dict[str, Any]] = body["items"]
        return events

    def assert_no_sender_judged(self) -> None:
        """The stale detector has changed the status of no sender that pushes."""
        for job_id in self.senders.job_ids:
            verdicts = [event for event in self.events_of(job_id) if event["actor"] == "detector"]
            assert not verdicts, verdicts

    def assert_nothing_lost(self) -> None:
        """What was acknowledged is stored, once, and nothing else; the jobs have ended.

        Call it after the senders have stopped.
        """
        assert not self.senders.refused, self.senders.refused[:3]
        acknowledged = self.senders.acknowledged
        stored = self.hub.stored()  # fails if one is there twice
        ours = {row for row in stored if row[0] in self.senders.job_ids}
        self._note("acknowledged", len(acknowledged))
        self._note("lost", len(acknowledged - ours))
        assert acknowledged
        assert ours == acknowledged
        for job_id in self.senders.job_ids:
            status, _, job = self.hub.request("GET", f"/api/v1/jobs/{job_id}")
            last = max(number for known, number in acknowledged if known == job_id)
            assert (status, job["status"]) == (200, "completed"), job
            assert job["bytes_transferred"] == last
            assert [disk["bytes_transferred"] for disk in job["disks"]] == [last]
