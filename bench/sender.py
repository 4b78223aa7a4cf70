"""What telemetry costs a job, and what becomes of its updates when the hub or the sender dies.

    python bench/sender.py                    every figure with its target; about ten minutes
    python bench/sender.py --quick            the same in short forms
    python bench/sender.py --only calls,copy  some of it: calls, copy, outage, kill, share, faults

It starts a hub of its own with an embedded database, and looks into that database to count. The
exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import logging
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.config import ROOT
from bench.ingest import running_hub
from telemetry_client.queue import TelemetryQueue
from telemetry_client.queue.drain import Drain
from telemetry_client.tracker import ProgressAggregator, ProgressTracker
from telemetry_client.wire.client import TelemetryClient
from telemetry_client.wire.timestamps import Stamps
from tools.faulty_hub import FAULTS, FaultyHub

MEDIAN_LIMIT_US, P99_LIMIT_US = 5.0, 100.0
COPY_LIMIT = 0.01
DRAIN_LIMIT_SECONDS = 30.0
MIB = 1024 * 1024
COPY_BYTES = 1024 * MIB
FILE_BYTES = 256 * MIB  # copied over and over; it fits into memory, so that no disk adds noise
BLOCK_BYTES = MIB
KILL_SECONDS = (0.3, 1.5)  # a sender lives so long before it is killed
LEASE_SECONDS = 3.0
JOBS_IN_FAULTS = 5
# The tenth way to fail, a 400, is the poison's: a hub that refuses what is good gets no repeat.
PASSING_FAULTS = tuple(fault for fault in FAULTS if fault != "400")

Row = tuple[str, int | None, str, str | None]  # job, bytes, status, phase


@dataclass(frozen=True)
class Figure:
    """One line of the result."""

    name: str
    value: str
    target: str
    is_met: bool


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    call_seconds: float
    copy_rounds: int
    backlog: int
    kill_rounds: int
    share_seconds: float
    fault_entries: int


FULL = Size(10.0, 21, 1_000, 20, 60.0, 1_000)
QUICK = Size(1.0, 5, 1_000, 4, 8.0, 200)


# ---------------------------------------------------------------------------------------------
# The hub, and what its table holds.


class Table:
    """The updates that a hub has stored, by its own database."""

    def __init__(self, data_dir: Path) -> None:
        self._dsn = json.loads((data_dir / "engine.json").read_text())["dsn"]

    def rows(self, job_prefix: str) -> tuple[set[Row], int]:
        """Those of the jobs with a prefix, and how many are there twice, instant and all."""
        query = (
            "SELECT job_id, bytes_transferred, status, current_phase, time FROM job_telemetry"
            " WHERE starts_with(job_id, %s)"
        )
        with psycopg.connect(self._dsn, prepare_threshold=None) as conn:
            found = conn.execute(query, (job_prefix,)).fetchall()
        return {row[:4] for row in found}, len(found) - len(set(found))


@contextmanager
def hub_and_table() -> Iterator[tuple[str, Table]]:
    """The address of a hub that runs while this is open, and its table."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        args = argparse.Namespace(url=None, database_url=None)
        with running_hub(args, HUB_DATA_DIR=folder) as hub:
            yield hub.url, Table(Path(folder))


@contextmanager
def serving(kind: str, hub_url: str) -> Iterator[str]:
    """The address of a hub that is up, down, slow or talks garbage, or of a stub that costs this
    machine next to nothing; each in a process of its own.
    """
    if kind == "up":
        yield hub_url
        return
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_serve, args=(kind, there), daemon=True)
    child.start()
    try:
        yield here.recv()
    finally:
        child.kill()
        child.join()


def _serve(kind: str, pipe: Any) -> None:
    with FaultyHub(probability=1.0, faults=("garbage",)) as hub:
        if kind in ("slow", "stub"):
            hub.probability, hub.slow_seconds = 0.0, 30.0 * (kind == "slow")
        if kind == "down":
            hub.go_down()
        pipe.send(hub.url)
        time.sleep(86_400)


# ---------------------------------------------------------------------------------------------
# What a call costs.


def call_costs(url: str, seconds: float, spool: Path) -> dict[str, tuple[float, float]]:
    """Median and p99, in µs, of update_progress() and add_bytes() with the hub at `url`."""
    client = TelemetryClient(url)
    costs = {}
    tracker = ProgressTracker(
        f"backup-calls-{time.time_ns()}",
        client=client,
        spool=spool,
        total_bytes=10**9,
        end_deadline_seconds=0.1,
    )
    with tracker:
        numbers = itertools.count()
        costs["update_progress"] = _timed(
            lambda: tracker.update_progress(next(numbers), 10**9, phase="transferring"), seconds
        )
        aggregator = ProgressAggregator(tracker)
        for index in range(8):
            aggregator.add_disk(index, 10**9)
        costs["add_bytes"] = _timed(lambda: aggregator.add_bytes(4096, 3), seconds)
    client.close()
    return costs


def _timed(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median and p99 in µs, the clock's own cost included."""
    clock = time.perf_counter_ns
    until = clock() + int(seconds * 1e9)
    costs = []
    now = clock()
    while now < until:
        for _ in range(100):
            began = clock()
            call()
            now = clock()
            costs.append(now - began)
        time.sleep(0.0001)  # a job does other things as well
    costs.sort()
    return costs[len(costs) // 2] / 1e3, costs[int(len(costs) * 0.99)] / 1e3


def bench_calls(hub_url: str, size: Size, folder: Path) -> Iterator[Figure]:
    for kind in ("up", "down", "slow", "garbage"):
        with serving(kind, hub_url) as url:
            costs = call_costs(url, size.call_seconds, folder / f"{kind}.db")
        for name, (median, p99) in costs.items():
            yield Figure(
                f"{name}(), hub {kind}",
                f"median {median:.2f} µs, p99 {p99:.2f} µs",
                f"≤ {MEDIAN_LIMIT_US:g} µs, ≤ {P99_LIMIT_US:g} µs",
                median <= MEDIAN_LIMIT_US and p99 <= P99_LIMIT_US,
            )


# ---------------------------------------------------------------------------------------------
# What a copy loop costs.


def copy_seconds(source: Path, target: Path, tell: Callable[[int], None] | None) -> float:
    """Copy COPY_BYTES in blocks, as a backup does: with a checksum. `tell` is told the bytes done
    after each block.
    """
    checksum = hashlib.sha256()
    block = memoryview(bytearray(BLOCK_BYTES))
    done = 0
    began = time.perf_counter()
    with source.open("rb", buffering=0) as reader, target.open("r+b", buffering=0) as writer:
        while done < COPY_BYTES:
            if done % FILE_BYTES == 0:
                reader.seek(0)
                writer.seek(0)
            count = reader.readinto(block)
            checksum.update(block[:count])
            writer.write(block[:count])
            done += count
            if tell is not None:
                tell(done)
    return time.perf_counter() - began


def bench_copy(hub_url: str, size: Size, folder: Path) -> Iterator[Figure]:
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else folder
    with tempfile.TemporaryDirectory(prefix="copy-", dir=place) as files:
        source, target = Path(files) / "source", Path(files) / "target"
        for path in (source, target):
            path.write_bytes(random.randbytes(MIB) * (FILE_BYTES // MIB))
        # Not the real hub: with its database it takes processors that a job's machine has free.
        with serving("stub", hub_url) as url:
            yield _compare_copies(url, size.copy_rounds, folder, source, target)


def _compare_copies(url: str, rounds: int, folder: Path, source: Path, target: Path) -> Figure:
    """Pairs of one with and one without telemetry, in alternating order."""
    ratios, plain = [], []
    copy_seconds(source, target, None)  # warms up
    for number in range(rounds):
        seconds = {}
        for is_told in (True, False) if number % 2 else (False, True):
            seconds[is_told] = _copy_once(url, folder, source, target, is_told=is_told)
        plain.append(seconds[False])
        ratios.append(seconds[True] / seconds[False])
    longer = statistics.median(ratios) - 1
    return Figure(
        "copying 1 GB takes longer by",
        f"{longer:+.2%} (median of {rounds} pairs; {statistics.median(plain):.2f} s without)",
        f"≤ {COPY_LIMIT:.0%}",
        longer <= COPY_LIMIT,
    )


def _copy_once(url: str, folder: Path, source: Path, target: Path, *, is_told: bool) -> float:
    if not is_told:
        return copy_seconds(source, target, None)
    with (
        TelemetryClient(url) as client,
        ProgressTracker(
            f"backup-copy-{time.time_ns()}",
            client=client,
            spool=folder / "copy.db",
            total_bytes=COPY_BYTES,
        ) as tracker,
    ):
        return copy_seconds(source, target, tracker.update_progress)


# ---------------------------------------------------------------------------------------------
# A hub that is down for a whole job.


@dataclass(frozen=True)
class Outage:
    """What came of a job that a hub was down for, once it is back."""

    missing: int  # changes of state, the end among them
    twice: int  # rows
    arrived: int
    lost_told: int
    drain_seconds: float  # from the hub's first answer to the last entry


def job_in_outage(hub_url: str, table: Table, backlog: int, spool: Path) -> Outage:
    """A whole job while the hub is down, so long that the spool is full; then the hub comes back
    and another job's tracker on that spool delivers everything.
    """
    job_id = f"backup-outage-{time.time_ns()}"
    phases = [f"phase {number}" for number in range(20)]
    with FaultyHub(hub_url) as proxy, TelemetryClient(proxy.url, timeout=5) as client:
        proxy.go_down()
        queue = TelemetryQueue(spool, max_size=backlog)
        tracker = ProgressTracker(
            job_id, client=client, spool=queue, end_deadline_seconds=0.2, interval_seconds=0.01
        )
        with tracker:
            for number, phase in enumerate(phases):
                tracker.update_progress(number, phase=phase)
                tracker.flush()
            _fill(queue, job_id, backlog)
        queue.close()
        proxy.come_up()
        seconds = _drain_by_another_job(client, proxy, spool)
    rows, twice = table.rows(job_id)
    there = {(status, phase) for _, _, status, phase in rows}
    expected = {("running", phase) for phase in phases} | {("completed", phases[-1])}
    return Outage(
        len(expected - there),
        twice,
        len(rows),
        sum(update.get("lost_updates", 0) for update in proxy.accepted),
        seconds,
    )


def _fill(queue: TelemetryQueue, job_id: str, backlog: int) -> None:
    """Ordinary updates of the job until the spool is full, and a few more."""
    stamps = Stamps()
    for number in itertools.count(1_000):
        queue.enqueue(_update(job_id, number, stamps.take()))
        if number >= 1_000 + backlog:
            return


def _update(job_id: str, number: int, timestamp: str) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "job_type": "backup",
        "status": "running",
        "bytes_transferred": number,
        "timestamp": timestamp,
    }


def _drain_by_another_job(client: TelemetryClient, proxy: FaultyHub, spool: Path) -> float:
    began = None
    with (
        TelemetryQueue(spool) as queue,
        ProgressTracker(f"backup-next-{time.time_ns()}", client=client, spool=queue),
    ):
        deadline = time.monotonic() + 4 * DRAIN_LIMIT_SECONDS
        while time.monotonic() < deadline:
            if began is None and proxy.accepted:
                began = time.monotonic()
            if queue.get_queue_size() == 0:
                break
            time.sleep(0.02)
        return time.monotonic() - (began or 0)


def bench_outage(hub_url: str, table: Table, size: Size, folder: Path) -> Iterator[Figure]:
    outage = job_in_outage(hub_url, table, size.backlog, folder / "outage.db")
    yield Figure(
        "hub down for a job: changes of state missing", str(outage.missing), "0", not outage.missing
    )
    yield Figure("hub down for a job: rows stored twice", str(outage.twice), "0", not outage.twice)
    yield Figure(
        f"a backlog of {size.backlog} drains within",
        f"{outage.drain_seconds:.1f} s ({outage.arrived} updates arrived, "
        f"{outage.lost_told} told as lost)",
        f"≤ {DRAIN_LIMIT_SECONDS:g} s",
        outage.drain_seconds <= DRAIN_LIMIT_SECONDS,
    )


# ---------------------------------------------------------------------------------------------
# Senders that are killed.


@dataclass(frozen=True)
class Killed:
    """What came of the updates of senders that were killed with -9."""

    handed_over: int
    missing: int
    twice: int


def kill_senders(hub_url: str, table: Table, rounds: int, spool: Path, seed: int = 0) -> Killed:
    """Kill a sender after a random time, `rounds` times over one spool; then count."""
    dice = random.Random(seed)
    prefix = f"backup-kill-{time.time_ns()}"
    last_handed_over: dict[str, int] = {}
    for number in range(rounds):
        job_id = f"{prefix}-{number:02}"
        last_handed_over[job_id] = _live_and_die(
            hub_url, job_id, spool, dice.uniform(*KILL_SECONDS)
        )
    drain_all(hub_url, spool, 120)
    rows, twice = table.rows(prefix)
    missing = sum(
        (job_id, number, "running", f"phase {number}") not in rows
        for job_id, last in last_handed_over.items()
        for number in range(1, last + 1)
    )
    return Killed(sum(last_handed_over.values()), missing, twice)


def _live_and_die(url: str, job_id: str, spool: Path, seconds: float) -> int:
    """The last number that the sender reported as handed over."""
    sender = subprocess.Popen(
        [sys.executable, __file__, "--sender", url, job_id, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert sender.stdout is not None
    sender.stdout.readline()  # it has begun
    killer = threading.Timer(seconds, lambda: os.kill(sender.pid, signal.SIGKILL))
    killer.start()
    numbers = [line for line in sender.stdout if line.endswith(b"\n")]
    killer.join()
    sender.wait()
    sender.stdout.close()
    return int(numbers[-1]) if numbers else 0


def be_a_sender(url: str, job_id: str, spool: str) -> None:
    """Tell one change of state after the other, and say of each that it is handed over."""
    # Room for all of them; and a short lease, since the next sender has to wait for its end.
    queue = TelemetryQueue(spool, max_size=100_000, lease_seconds=LEASE_SECONDS)
    tracker = ProgressTracker(
        job_id, client=TelemetryClient(url), spool=queue, interval_seconds=3600
    )
    print("begun", flush=True)
    for number in itertools.count(1):
        tracker.update_progress(number, phase=f"phase {number}")
        if tracker.flush():
            print(number, flush=True)


def drain_all(url: str, path: Path, seconds: float) -> int:
    """Send everything that a queue holds; how many the hub had already."""
    with TelemetryQueue(path) as queue, TelemetryClient(url) as client:
        drain = Drain(queue, client, batches_per_second=20, probe_seconds=0.5)
        deadline = time.monotonic() + seconds
        while (wait := drain.step()) is not None and time.monotonic() < deadline:
            time.sleep(wait)
        return drain.stats.duplicates


def bench_kill(hub_url: str, table: Table, size: Size, folder: Path) -> Iterator[Figure]:
    killed = kill_senders(hub_url, table, size.kill_rounds, folder / "kill.db")
    yield Figure(
        f"kill -9, {size.kill_rounds} rounds: handed over and missing",
        f"{killed.missing} of {killed.handed_over}",
        "0",
        killed.missing == 0 and killed.handed_over > 0,
    )
    yield Figure("kill -9: rows stored twice", str(killed.twice), "0", not killed.twice)


# ---------------------------------------------------------------------------------------------
# Two processes on one queue.


@dataclass(frozen=True)
class Shared:
    entries: int
    missing: int
    repeats: int  # requests that told the hub what it had


def share_queue(hub_url: str, table: Table, seconds: float, path: Path) -> Shared:
    """Two processes fill and empty one queue at once."""
    prefix = f"backup-share-{time.time_ns()}"
    senders = [
        subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--sharer",
                hub_url,
                f"{prefix}-{name}",
                str(path),
                str(seconds),
            ],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for name in "ab"
    ]
    results = [json.loads(sender.communicate(timeout=seconds + 60)[0]) for sender in senders]
    repeats = sum(one["duplicates"] for one in results) + drain_all(hub_url, path, 60)
    rows, twice = table.rows(prefix)
    expected = {
        (f"{prefix}-{name}", number)
        for name, one in zip("ab", results, strict=True)
        for number in range(one["entries"])
    }
    there = {(job_id, number) for job_id, number, _, _ in rows}
    return Shared(len(expected), len(expected - there), repeats + twice)


def be_a_sharer(url: str, job_id: str, path: str, seconds: float) -> None:
    """Fill a queue from one thread and empty it from another; say how that went."""
    stop = threading.Event()
    with TelemetryQueue(path, max_size=100_000) as queue, TelemetryClient(url) as client:
        drain = Drain(queue, client, batch=20, batches_per_second=20)
        thread = threading.Thread(target=drain.run, args=(stop,))
        thread.start()
        stamps, number = Stamps(), 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            queue.enqueue(_update(job_id, number, stamps.take()))
            number += 1
            time.sleep(0.005)
        stop.set()
        thread.join()
    print(json.dumps({"entries": number, "duplicates": drain.stats.duplicates}))


def bench_share(hub_url: str, table: Table, size: Size, folder: Path) -> Iterator[Figure]:
    shared = share_queue(hub_url, table, size.share_seconds, folder / "share.db")
    yield Figure(
        f"two processes on one queue, {size.share_seconds:g} s: missing",
        f"{shared.missing} of {shared.entries}",
        "0",
        not shared.missing,
    )
    yield Figure(
        "two processes on one queue: sent twice", str(shared.repeats), "0", not shared.repeats
    )


# ---------------------------------------------------------------------------------------------
# A hub that fails in ten ways.


@dataclass(frozen=True)
class Ordeal:
    entries: int
    missing: int
    twice: int
    dead: int
    poison: int
    out_of_order: int
    requests: int


def through_faults(hub_url: str, table: Table, entries: int, path: Path, seed: int = 1) -> Ordeal:
    """Drain a queue through a proxy that fails each request with probability 0.3."""
    prefix = f"backup-faults-{time.time_ns()}"
    poison = {number for number in range(entries) if number % 50 == 7}
    with FaultyHub(hub_url, probability=0.3, faults=PASSING_FAULTS, seed=seed) as proxy:
        proxy.hold_seconds, proxy.retry_after = 0.7, "0"
        client = TelemetryClient(proxy.url, timeout=0.5)
        with TelemetryQueue(path, max_size=entries) as queue, client:
            _enqueue_with_poison(queue, prefix, entries, poison)
            drain = Drain(queue, client, batch=5, batches_per_second=50, probe_seconds=0.1)
            deadline = time.monotonic() + 600
            while (wait := drain.step()) is not None and time.monotonic() < deadline:
                time.sleep(wait)
            letters = queue.dead_letters(entries)
            dead = {letter.payload["bytes_transferred"]: letter.reason for letter in letters}
        order = [(update["job_id"], update["bytes_transferred"]) for update in proxy.accepted]
        requests = len(proxy.requests)
    rows, twice = table.rows(prefix)
    there = {(job_id, number) for job_id, number, _, _ in rows}
    good = {(_job_of(prefix, n), n) for n in range(entries) if n not in poison}
    return Ordeal(
        entries,
        len(good - there) + len(set(dead) - poison),
        twice,
        sum("status" in reason for number, reason in dead.items() if number in poison),
        len(poison),
        _inversions(order),
        requests,
    )


def _job_of(prefix: str, number: int) -> str:
    return f"{prefix}-{number % JOBS_IN_FAULTS}"


def _enqueue_with_poison(
    queue: TelemetryQueue, prefix: str, entries: int, poison: set[int]
) -> None:
    stamps = Stamps()
    for number in range(entries):
        update = _update(_job_of(prefix, number), number, stamps.take())
        queue.enqueue({**update, "status": "exploded"} if number in poison else update)


def _inversions(order: list[tuple[str, int]]) -> int:
    """How many updates came after a later one of their job. `order` names each at its first."""
    last: dict[str, int] = {}
    found = 0
    for job_id, number in order:
        found += number < last.get(job_id, -1)
        last[job_id] = max(number, last.get(job_id, -1))
    return found


def bench_faults(hub_url: str, table: Table, size: Size, folder: Path) -> Iterator[Figure]:
    ordeal = through_faults(hub_url, table, size.fault_entries, folder / "faults.db")
    name = "ten faults at p = 0.3"
    yield Figure(
        f"{name}: acceptable and missing",
        f"{ordeal.missing} of {ordeal.entries - ordeal.poison} ({ordeal.requests} requests)",
        "0",
        not ordeal.missing,
    )
    yield Figure(f"{name}: rows stored twice", str(ordeal.twice), "0", not ordeal.twice)
    yield Figure(
        f"{name}: poison in the dead letters, with its reason",
        f"{ordeal.dead} of {ordeal.poison}",
        "all",
        ordeal.dead == ordeal.poison,
    )
    yield Figure(
        f"{name}: out of order within a job", str(ordeal.out_of_order), "0", not ordeal.out_of_order
    )


# ---------------------------------------------------------------------------------------------


def figures(parts: set[str], size: Size, folder: Path) -> Iterator[Figure]:
    with hub_and_table() as (url, table):
        if "calls" in parts:
            yield from bench_calls(url, size, folder)
        if "copy" in parts:
            yield from bench_copy(url, size, folder)
        if "outage" in parts:
            yield from bench_outage(url, table, size, folder)
        if "kill" in parts:
            yield from bench_kill(url, table, size, folder)
        if "share" in parts:
            yield from bench_share(url, table, size, folder)
        if "faults" in parts:
            yield from bench_faults(url, table, size, folder)


PARTS = ("calls", "copy", "outage", "kill", "share", "faults")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short forms")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--sender", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--sharer", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    if args.sender:
        be_a_sender(*args.sender)
    if args.sharer:
        url, job_id, path, seconds = args.sharer
        be_a_sharer(url, job_id, path, float(seconds))
        return 0
    logging.getLogger("telemetry_client").setLevel(logging.CRITICAL)
    size = QUICK if args.quick else FULL
    is_met = True
    with tempfile.TemporaryDirectory(prefix="sender-bench-") as folder:
        for figure in figures(set(args.only.split(",")), size, Path(folder)):
            verdict = "ok" if figure.is_met else "MISSED"
            line = f"{verdict:<7}{figure.name}: {figure.value}  (target {figure.target})"
            print(line, flush=True)
            is_met = is_met and figure.is_met
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
