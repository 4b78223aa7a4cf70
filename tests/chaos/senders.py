"""Real senders: they push through `telemetry_client`, each update until it is taken."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from typing import Any

from app.clock import isoformat, utc_now
from telemetry_client import Accepted, Refused, TelemetryClient
from tools.hub_process import START_SECONDS, wait_until

TIMEOUT_SECONDS = 5.0  # of a request: half-open connections must not hold a sender for long
LONGEST_PAUSE = (
    0.5  # the tests' own: what the hub asks for in Retry-After would take the tests long
)
TOTAL = 1_000_000


class Senders:
    """Threads that push the numbered updates of one job each.

    An update that is not acknowledged is sent again, as it is, until it is. So at the end the hub
    holds what was acknowledged, each once, and nothing else; and each job has been completed.
    """

    def __init__(
        self,
        url: str,
        count: int = 4,
        *,
        ahead_seconds: float | Sequence[float] = 0.0,
        pause_seconds: float = 0.0,
        token: str | None = None,
    ) -> None:
        """`ahead_seconds`: how wrong the clocks of all senders are, or of each in turn.

        `pause_seconds`: how long each waits before its next update.
        """
        self.refused: list[Refused] = []
        self.unanswered = 0  # requests whose outcome is unknown
        self._numbers = {f"backup-{secrets.token_hex(4)}-{n}": 0 for n in range(count)}
        self._url = url
        self._pause = pause_seconds
        self._token = token
        each = [ahead_seconds] if isinstance(ahead_seconds, (int, float)) else ahead_seconds
        self._ahead = {
            job_id: timedelta(seconds=ahead)
            for job_id, ahead in zip(self._numbers, cycle(each), strict=False)
        }
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(job_id,), name=job_id)
            for job_id in self._numbers
        ]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(START_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "updates were never taken"

    @property
    def job_ids(self) -> list[str]:
        return list(self._numbers)

    @property
    def acknowledged(self) -> set[tuple[str, int]]:
        """Job and number of every update that the hub has acknowledged."""
        return {
            (job_id, number)
            for job_id, last in self._numbers.items()
            for number in range(1, last + 1)
        }

    def keep_going(self, more: int = 100, seconds: float = START_SECONDS) -> None:
        """Wait for so many more acknowledged updates, and one at least of every job."""
        before = dict(self._numbers)
        wait_until(
            lambda: (
                sum(self._numbers.values()) >= sum(before.values()) + more
                and all(self._numbers[job_id] > before[job_id] for job_id in before)
            ),
            seconds,
        )

    def _run(self, job_id: str) -> None:
        with TelemetryClient(self._url, self._token, timeout=TIMEOUT_SECONDS) as client:
            number = 0
            while not self._stopping.is_set():
                number += 1
                self._deliver(client, self._update(job_id, number, "running"))
                self._numbers[job_id] = number
                self._stopping.wait(self._pause)
            self._deliver(client, self._update(job_id, number + 1, "completed"))
            self._numbers[job_id] = number + 1

    def _update(self, job_id: str, number: int, status: str) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "job_type": "backup",
            "status": status,
            "current_phase": "transferring",
            "bytes_transferred": number,
            "total_bytes": TOTAL,
            "transfer_speed_bps": 1_000 + number,
            "timestamp": isoformat(utc_now() + self._ahead[job_id]),
            "disks": [
                {
                    "disk_index": 0,
                    "bytes_transferred": number,
                    "status": "completed" if status == "completed" else "transferring",
                }
            ],
        }

    def _deliver(self, client: TelemetryClient, update: dict[str, Any]) -> None:
        pause = 0.01
        while True:
            result = client.push(update)
            if isinstance(result, Accepted):
                return
            if isinstance(result, Refused):  # the test will say so
                self.refused.append(result)
                return
            self.unanswered += result.status is None
            pause = min(2 * pause, LONGEST_PAUSE)
            threading.Event().wait(pause * random.uniform(0.5, 1.0))
