"""A backlog on its way to the hub: pace, probes, poison, and a hub that fails in ten ways."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from telemetry_client import Entry, QueueError, TelemetryClient, TelemetryQueue
from telemetry_client.queue.drain import Drain
from telemetry_client.wire.results import Accepted, Rejection, Result, Unreachable
from tests.client.queue.clock import Clock
from tests.factories import at
from tools.faulty_hub import FAULTS, FaultyHub
from tools.hub_process import HubProcess, wait_until


@pytest.fixture
def clock() -> Clock:
    """Of the drain and its queue: their waits cost no time."""
    return Clock()


@pytest.fixture
def queue(spool_path: Path, clock: Clock) -> Iterator[TelemetryQueue]:
    with TelemetryQueue(spool_path, 5000, clock=clock) as queue:
        yield queue


@pytest.fixture
def drain(queue: TelemetryQueue, hub_client: TelemetryClient, clock: Clock) -> Drain:
    return Drain(queue, hub_client, clock=clock)


def update(job: str = "a", number: int = 0, **more: Any) -> dict[str, Any]:
    body = {"job_id": f"backup-{job}", "job_type": "backup", "status": "running"}
    return {**body, "bytes_transferred": number, "timestamp": at(-3000 + number), **more}


def snapshot(number: int = 0) -> dict[str, Any]:
    return {"node_id": "n1", "timestamp": at(-3000 + number), "cpu_percent": number}


def run_dry(drain: Drain, clock: Clock, most_steps: int = 1000) -> float:
    """Step until the queue is empty, by the clock's own time; how many seconds that took."""
    began = clock.now
    for _ in range(most_steps):
        wait = drain.step()
        if wait is None:
            return clock.now - began
        clock += wait
    raise AssertionError("the queue never got empty")


def received(hub: FaultyHub) -> dict[str, list[int]]:
    by_job = defaultdict(list)
    for item in hub.accepted:
        by_job[item["job_id"]].append(item["bytes_transferred"])
    return by_job


# Pace.


def test_a_backlog_of_a_thousand_is_gone_in_seconds(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    for number in range(1000):
        queue.enqueue(update(str(number % 4), number))
    seconds = run_dry(drain, clock)
    assert 3.6 < seconds < 30  # ten batches, two a second: rate-limited, and within 30 s
    assert len(faulty_hub.pushes) == 10
    assert len(faulty_hub.accepted) == 1000 == drain.stats.sent
    for numbers in received(faulty_hub).values():
        assert numbers == sorted(numbers)


def test_called_too_early_it_sends_nothing(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    for number in range(300):
        queue.enqueue(update(number=number))
    wait = drain.step()
    assert wait is not None
    assert 0.4 <= wait <= 0.6
    clock += wait / 2
    assert drain.step() == pytest.approx(wait / 2)
    assert len(faulty_hub.pushes) == 1


def test_an_empty_queue_has_nothing_to_wait_for(drain: Drain) -> None:
    assert drain.step() is None


def test_snapshots_and_updates_go_their_own_ways(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    for number in range(3):
        queue.enqueue(update(number=number))
        queue.enqueue(snapshot(number))
    run_dry(drain, clock)
    assert [(request.path, len(request.items)) for request in faulty_hub.pushes] == [
        ("/api/v1/telemetry/batch", 3),
        ("/api/v1/telemetry/snapshot", 3),
    ]


# Outages.


def test_an_outage_is_probed_every_five_seconds_and_spends_no_try(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    for number in range(1000):
        queue.enqueue(update(number=number))
    faulty_hub.go_down()
    waits = []
    for _ in range(30):
        wait = drain.step()
        assert wait is not None
        waits.append(wait)
        clock += wait
    assert all(4.0 <= wait <= 6.0 for wait in waits)
    assert len(set(waits)) == len(waits), "a fleet would come back in step"
    assert drain.is_away
    assert queue.get_stats()["failed_total"] == 0
    faulty_hub.come_up()
    assert run_dry(drain, clock) < 30
    assert not drain.is_away
    assert received(faulty_hub)["backup-a"] == list(range(1000))


def test_a_probe_is_small(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    for number in range(300):
        queue.enqueue(update(number=number))
    faulty_hub.next_faults.extend(["502", "502"])
    run_dry(drain, clock)
    sizes = [len(request.items) for request in faulty_hub.pushes]
    assert sizes == [100, 10, 10, 100, 100, 90]


@pytest.mark.parametrize("fault", ["503", "429"])
@pytest.mark.parametrize("retry_after", [1, 40])
def test_a_retry_after_is_honoured_and_a_little_more(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, fault: str, retry_after: int
) -> None:
    queue.enqueue(update())
    faulty_hub.retry_after = str(retry_after)
    faulty_hub.next_faults.append(fault)
    wait = drain.step()
    assert wait is not None
    assert retry_after < wait <= retry_after + max(1, retry_after / 4)


@pytest.mark.parametrize("fault", ["reset", "502", "503", "429", "401", "half", "garbage"])
def test_no_outage_ever_spends_a_try(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock, fault: str
) -> None:
    queue.enqueue(update())
    faulty_hub.next_faults.extend([fault] * 10)
    run_dry(drain, clock)
    assert len(faulty_hub.accepted) == 1
    assert drain.stats.failed == 10
    was_taken_unsaid = fault in ("reset", "half", "garbage")
    assert (faulty_hub.duplicates > 0) == was_taken_unsaid
    assert queue.get_stats()["failed_total"] == queue.get_stats()["dead"] == 0


# Poison.


def test_what_a_batch_rejects_dies_alone(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    faulty_hub.poison = lambda item: item["bytes_transferred"] == 50
    for number in range(100):
        queue.enqueue(update(number=number))
    run_dry(drain, clock)
    (dead,) = queue.dead_letters()
    assert (dead.payload["bytes_transferred"], dead.reason) == (50, "timestamp: Is poison.")
    assert len(faulty_hub.accepted) == 99
    assert len(faulty_hub.pushes) == 1


def test_a_batch_refused_whole_is_split_until_the_poison_is_alone(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    poison = {17, 18, 140}
    faulty_hub.whole_poison = lambda item: item["bytes_transferred"] in poison
    for number in range(200):
        queue.enqueue(update(number=number))
    assert run_dry(drain, clock) < 30
    assert {dead.payload["bytes_transferred"] for dead in queue.dead_letters()} == poison
    assert all(dead.reason == "400: body: Is poison." for dead in queue.dead_letters())
    assert received(faulty_hub)["backup-a"] == [n for n in range(200) if n not in poison]


def test_a_500_spends_the_tries_of_the_guilty_only(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    faulty_hub.crash = lambda item: item["bytes_transferred"] == 7
    for number in range(30):
        queue.enqueue(update(str(number % 3), number))
    run_dry(drain, clock)
    (dead,) = queue.dead_letters()
    assert (dead.payload["bytes_transferred"], dead.tries) == (7, 3)
    assert dead.reason.startswith("failed 3 times: Internal error")
    assert queue.get_stats()["failed_total"] == 3
    assert len(faulty_hub.accepted) == 29


def test_what_a_batch_could_not_store_is_asked_again_alone(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    faulty_hub.broken = lambda item: item["bytes_transferred"] == 1
    for number in range(3):
        queue.enqueue(update(str(number), number))
    drain.step()
    assert queue.dead_letters() == []
    assert queue.get_stats()["failed_total"] == 1
    faulty_hub.broken = lambda item: False
    clock += 10
    run_dry(drain, clock)
    assert len(faulty_hub.accepted) == 3


def test_entries_are_released_if_the_hub_goes_away_while_they_are_pushed_alone(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub
) -> None:
    faulty_hub.broken = lambda item: True
    for number in range(10):
        queue.enqueue(update(str(number), number))
    faulty_hub.next_faults.extend([None, *["503"] * 10])
    drain.step()
    assert len(faulty_hub.pushes) == 2, "the batch, and one of it alone"
    assert queue.get_stats()["leased"] == queue.get_stats()["failed_total"] == 0


def test_a_proxy_that_refuses_a_large_batch_gets_smaller_ones(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    """As nginx does at its client_max_body_size, with a page of its own."""
    faulty_hub.largest_body = 600
    for number in range(100):
        queue.enqueue(update(str(number), number, error=f"{number}"))
    assert run_dry(drain, clock) < 60
    assert len(faulty_hub.accepted) == 100
    assert queue.get_stats()["failed_total"] == queue.get_stats()["dead"] == 0


def test_what_a_proxy_blocks_waits_and_delays_nothing(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock
) -> None:
    faulty_hub.blocked = lambda item: item["bytes_transferred"] == 13
    for number in range(30):
        queue.enqueue(update(str(number), number))
    for _ in range(20):
        clock += drain.step() or 0.0
    assert queue.get_queue_size() == 1
    assert queue.get_stats()["failed_total"] == queue.get_stats()["dead"] == 0
    faulty_hub.blocked = lambda item: False
    run_dry(drain, clock)
    assert len(faulty_hub.accepted) == 30


@pytest.mark.parametrize(
    "fault", ["portal", "redirect", "page400", "page404", "page422", "page500"]
)
def test_a_page_in_the_hubs_place_costs_nothing(
    drain: Drain, queue: TelemetryQueue, faulty_hub: FaultyHub, clock: Clock, fault: str
) -> None:
    for number in range(20):
        queue.enqueue(update(str(number), number))
    faulty_hub.next_faults.extend([fault] * 20)
    for _ in range(20):
        clock += drain.step() or 0.0
    assert (faulty_hub.accepted, queue.dead_letters()) == ([], [])
    assert queue.get_stats()["failed_total"] == 0
    assert run_dry(drain, clock) < 120
    assert len(faulty_hub.accepted) == 20


_NOT_ALLOWED = "This token may push only jobs of type backup."


class BackupsOnly(TelemetryClient):
    """With a token for one type of job, as the hub answers it."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.taken: list[Any] = []

    def push(self, update: Mapping[str, Any]) -> Result:
        return self.push_batch([update])

    def push_batch(self, updates: Sequence[Mapping[str, Any]]) -> Result:
        mine = [update["job_type"] == "backup" for update in updates]
        if not any(mine):
            return Unreachable(_NOT_ALLOWED, status=403, is_from_hub=True)
        self.taken += [
            update.get("bytes_transferred") for update in updates if update["job_type"] == "backup"
        ]
        rejected = [
            Rejection(i, _NOT_ALLOWED, names_fields=False)
            for i, is_mine in enumerate(mine)
            if not is_mine
        ]
        return Accepted(rejected=tuple(rejected))


def test_what_the_token_does_not_allow_waits_and_delays_nothing(
    queue: TelemetryQueue, clock: Clock
) -> None:
    foreign = [*range(250), *range(260, 270)]
    for number in range(300):
        kind = "restore" if number in foreign else "backup"
        queue.enqueue(update(str(number), number, job_type=kind))
    client = BackupsOnly()
    drain = Drain(queue, client, clock=clock)
    waits = []
    for _ in range(12):
        wait = drain.step()
        assert wait is not None
        waits.append(wait)
        clock += wait
    assert sorted(client.taken) == [number for number in range(300) if number not in foreign]
    assert queue.get_queue_size() == len(foreign)
    assert queue.dead_letters() == []
    assert queue.get_stats()["failed_total"] == 0
    assert max(waits) > 3, "it never rests"
    client.close()


def test_a_payload_without_job_and_node_is_given_up(
    drain: Drain, queue: TelemetryQueue, clock: Clock
) -> None:
    queue.enqueue({"x": 1})
    queue.enqueue(update())
    run_dry(drain, clock)
    (dead,) = queue.dead_letters()
    assert "neither" in dead.reason
    assert drain.stats.sent == 1


def test_callers_are_told(
    queue: TelemetryQueue,
    hub_client: TelemetryClient,
    faulty_hub: FaultyHub,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    sent: list[int] = []
    dead: list[tuple[int, str]] = []
    away: list[str] = []

    def note_dead(entry: Entry, reason: str) -> None:
        dead.append((entry.id, reason))

    drain = Drain(
        queue,
        hub_client,
        on_sent=lambda entries: sent.extend(entry.id for entry in entries),
        on_dead=note_dead,
        on_away=lambda result: away.append(result.reason),
        clock=clock,
    )
    faulty_hub.poison = lambda item: item["bytes_transferred"] == 1
    faulty_hub.next_faults.extend(["401", "401", "502"])
    for number in range(3):
        queue.enqueue(update(number=number))
    run_dry(drain, clock)
    assert (sent, dead) == ([1, 3], [(2, "timestamp: Is poison.")])
    assert away == ["Injected."] * 3
    messages = [record.getMessage() for record in caplog.records if "telemetry" in record.name]
    assert messages == [
        "the hub does not accept telemetry now: Injected.",  # once while it lasts
        "the hub accepts telemetry again",
        "telemetry of backup-a will not be sent any more: timestamp: Is poison.",
    ]


# The loop.


def test_the_loop_drains_what_comes_and_stops_promptly(
    spool_path: Path, hub_client: TelemetryClient, faulty_hub: FaultyHub
) -> None:
    stop = threading.Event()
    with TelemetryQueue(spool_path) as queue:
        drain = Drain(queue, hub_client, batches_per_second=50)
        thread = threading.Thread(target=drain.run, args=(stop,))
        thread.start()
        for number in range(3):
            queue.enqueue(update(number=number))
        wait_until(lambda: len(faulty_hub.accepted) == 3)
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_the_loop_outlives_a_queue_that_fails(
    queue: TelemetryQueue,
    hub_client: TelemetryClient,
    faulty_hub: FaultyHub,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Flaky:
        """Cannot be read the first times."""

        failures = 3

        def dequeue(self, limit: int, *, after: int = 0) -> list[Entry]:
            self.failures -= 1
            if self.failures >= 0:
                raise QueueError("q.db: the disk is full")
            return queue.dequeue(limit, after=after)

        def __getattr__(self, name: str) -> Any:
            return getattr(queue, name)

    queue.enqueue(update())
    stop = threading.Event()
    drain = Drain(Flaky(), hub_client, probe_seconds=0.01)  # type: ignore[arg-type]
    thread = threading.Thread(target=drain.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(faulty_hub.accepted) == 1)
    stop.set()
    thread.join(60)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "the disk is full" in errors[0].getMessage()


# A hub that fails in ten ways.


def fill(queue: TelemetryQueue, prefix: str, jobs: int, each: int) -> set[tuple[str, int]]:
    """Numbered updates of some jobs, and some that no hub can take. The acceptable ones."""
    good = set()
    for number in range(each):
        for job in range(jobs):
            body = update(f"{prefix}{job}", number)
            queue.enqueue(body)
            good.add((body["job_id"], number))
        if number % 10 == 0:
            queue.enqueue(update(f"{prefix}poison", number, progress_percent=-1))
    return good


def is_poison(item: dict[str, Any]) -> bool:
    return item.get("progress_percent") == -1


def drain_through_faults(queue: TelemetryQueue, hub: FaultyHub, clock: Clock) -> list[str]:
    """Until all has arrived; the reasons of poison. What an injected 400 killed is replayed."""
    hub.hold_seconds = 0.5
    with TelemetryClient(hub.url, timeout=0.2 if hub.target is None else 5.0) as client:
        drain = Drain(queue, client, batch=4, clock=clock)
        while True:
            run_dry(drain, clock, 5000)
            dead = queue.dead_letters(1000)
            injected = [letter.id for letter in dead if not is_poison(letter.payload)]
            if not injected:
                return [letter.reason for letter in dead]
            assert all("Injected" in letter.reason for letter in dead if letter.id in injected)
            queue.replay(injected)


@pytest.mark.parametrize("seed", range(3))
def test_everything_acceptable_arrives_once_through_ten_faults(
    queue: TelemetryQueue, clock: Clock, seed: int
) -> None:
    with FaultyHub(probability=0.3, seed=seed) as hub:
        hub.poison = is_poison
        good = fill(queue, "f", jobs=3, each=60)
        reasons = drain_through_faults(queue, hub, clock)
        seen = {request.fault for request in hub.requests}
        arrived = [(item["job_id"], item["bytes_transferred"]) for item in hub.accepted]
    assert len(seen & set(FAULTS)) >= 7, seen
    assert len(arrived) == len(set(arrived))
    assert set(arrived) == good
    assert len(reasons) == 6


def test_order_within_a_job_holds_through_faults(queue: TelemetryQueue, clock: Clock) -> None:
    transient = [fault for fault in FAULTS if fault != "400"]
    with FaultyHub(probability=0.4, seed=9, faults=transient) as hub:
        hub.poison = is_poison
        fill(queue, "o", jobs=3, each=60)
        drain_through_faults(queue, hub, clock)
        by_job = received(hub)
    assert len(by_job) == 3
    for numbers in by_job.values():
        assert numbers == list(range(60))


@pytest.mark.slow
def test_the_real_hub_behind_faults_has_each_update_once(
    queue: TelemetryQueue, clock: Clock, real_hub: HubProcess
) -> None:
    target = f"http://127.0.0.1:{real_hub.port}"
    quick = [fault for fault in FAULTS if fault != "timeout"]  # 5 s each, see `hold_seconds`
    with FaultyHub(target, probability=0.3, seed=1, faults=quick) as hub:
        good = fill(queue, "real", jobs=3, each=40)
        reasons = drain_through_faults(queue, hub, clock)
    with psycopg.connect(real_hub.engine()["dsn"], prepare_threshold=None) as conn:
        rows = conn.execute(
            "SELECT job_id, bytes_transferred FROM job_telemetry WHERE job_id LIKE 'backup-real%'"
        ).fetchall()
    assert sorted(rows) == sorted(good)
    assert len(reasons) == 4
    assert all("progress_percent" in reason for reason in reasons)
