"""The load: many keep-alive connections from a few processes, each pushing updates.

It shares the machine with the hub, so it is made cheap: raw sockets, heads rendered once, bodies in
which only numbers of fixed width change. Standard library only.
"""

from __future__ import annotations

import multiprocessing
import re
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

DISKS_EVERY = 10  # one update in so many names two disks
BATCH_JOBS = 100  # jobs that the updates of one batch are spread over
POLL_SECONDS = 0.5
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

_UPDATE = (
    '{"status":"running","current_phase":"transferring","bytes_transferred":%d,'
    '"total_bytes":1099511627776,"transfer_speed_bps":%d,"eta_seconds":%d,'
    '"progress_percent":%.2f,"timestamp":"%s.%06dZ"'
)
_DISK = (
    '{"disk_index":%d,"status":"transferring","bytes_transferred":%%d,'
    '"total_bytes":549755813888,"progress_percent":%%.2f}'
)
_PLAIN = _UPDATE + "}"
_WITH_DISKS = _UPDATE + ',"disks":[' + _DISK % 0 + "," + _DISK % 1 + "]}"


@dataclass(frozen=True)
class Load:
    """What to push. `rate`: requests/s in all, 0 for as fast as answers come.

    `batch` updates a request, by POST /telemetry/batch when that is more than one. `jobs`: how many
    jobs are updated in all; their ids begin with `prefix`. A connection that was refused rests for
    `rest_seconds`.
    """

    host: str
    port: int
    connections: int
    seconds: float
    warmup_seconds: float = 2.0
    processes: int = 2
    rate: float = 0.0
    rest_seconds: float = 0.0
    batch: int = 1
    jobs: int = 1000
    prefix: str = "bench"
    token: str = ""  # of a hub that asks for one


@dataclass(frozen=True)
class Outcome:
    """What came of it: by status, the latencies of the answers (seconds, ascending)."""

    load: Load
    latencies: dict[int, list[float]]
    without_retry_after: int  # 503s that lack the header

    @property
    def acknowledged_per_second(self) -> float:
        """Updates answered 200, per second."""
        return len(self.latencies.get(200, ())) * self.load.batch / self.load.seconds

    def quantile(self, share: float, status: int = 200) -> float:
        """A latency in seconds; NaN where there was no such answer."""
        found = self.latencies.get(status)
        return found[min(int(share * len(found)), len(found) - 1)] if found else float("nan")


def run_load(load: Load, meanwhile: Callable[[], None] = lambda: None) -> Outcome:
    """Push for `warmup_seconds`, which do not count, and `seconds`, which do.

    `meanwhile` is called about twice a second.
    """
    context = multiprocessing.get_context("fork")
    start_at = time.monotonic() + 0.3  # one clock for all processes
    readers = []
    children = []
    for index in range(load.processes):
        reader, writer = context.Pipe(duplex=False)
        child = context.Process(
            target=_child, args=(load, index, start_at, writer), daemon=True, name=f"load-{index}"
        )
        child.start()
        writer.close()
        readers.append(reader)
        children.append(child)
    end_at = start_at + load.warmup_seconds + load.seconds
    while time.monotonic() < end_at:
        meanwhile()
        time.sleep(POLL_SECONDS)
    latencies: dict[int, list[float]] = {}
    missing = 0
    for reader, child in zip(readers, children, strict=True):
        by_status, without = reader.recv()
        missing += without
        for status, found in by_status.items():
            latencies.setdefault(status, []).extend(found)
        child.join()
    for found in latencies.values():
        found.sort()
    return Outcome(load, latencies, missing)


def _child(load: Load, index: int, start_at: float, pipe: Connection) -> None:
    """One process: its share of the connections, the rate and the jobs."""
    count = load.connections // load.processes + (index < load.connections % load.processes)
    render = _batches if load.batch > 1 else _singles
    driver = _Driver(load, render(load, index), count)
    driver.run(start_at)
    pipe.send((driver.latencies, driver.without_retry_after))


class _Driver:
    """One thread that keeps a number of connections busy. Connections are plain blocking sockets:
    a request fits into the socket's buffer, and only an answer is waited for.
    """

    def __init__(self, load: Load, requests: Iterator[bytes], count: int) -> None:
        self._load = load
        self._requests = requests
        self._interval = load.processes / load.rate if load.rate else 0.0
        self._sockets = {}
        self._epoll = select.epoll()
        for _ in range(count):
            sock = socket.create_connection((load.host, load.port), timeout=30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)
        self._since = dict.fromkeys(self._sockets, 0.0)
        self._received = dict.fromkeys(self._sockets, b"")
        self.latencies: dict[int, array[float]] = {}
        self.without_retry_after = 0

    def run(self, start_at: float) -> None:
        time.sleep(max(0.0, start_at - time.monotonic()))
        counts_from = start_at + self._load.warmup_seconds
        stop_at = counts_from + self._load.seconds
        idle = list(self._sockets)
        resting: deque[tuple[float, int]] = deque()
        due = start_at
        while (now := time.monotonic()) < stop_at:
            while resting and resting[0][0] <= now:
                idle.append(resting.popleft()[1])
            while idle and due <= now:
                # At a fixed rate a request counts from when it was due, not from when a
                # connection became free for it.
                self._send(idle.pop(), due if self._interval else now)
                due += self._interval
            until = min(due, stop_at) if self._interval and idle else stop_at
            until = min(until, resting[0][0]) if resting else until
            for number, _ in self._epoll.poll(max(0.0, until - now)):
                if answer := self._receive(number):
                    if now >= counts_from:
                        self._count(answer, time.monotonic() - self._since[number])
                    if self._load.rest_seconds and answer.startswith(b"HTTP/1.1 503"):
                        resting.append((now + self._load.rest_seconds, number))
                    else:
                        idle.append(number)
        for sock in self._sockets.values():
            sock.close()

    def _send(self, number: int, since: float) -> None:
        self._since[number] = since
        self._sockets[number].sendall(next(self._requests))

    def _receive(self, number: int) -> bytes | None:
        """The answer, once all of it has come."""
        data = self._sockets[number].recv(65536)
        if not data:
            raise SystemExit("bench: the hub closed a connection.")
        data = self._received[number] + data
        head_end = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head_end) if head_end >= 0 else None
        if length is None or len(data) < head_end + 4 + int(length[1]):
            self._received[number] = data
            return None
        self._received[number] = b""
        return data

    def _count(self, answer: bytes, seconds: float) -> None:
        status = int(answer[9:12])
        self.latencies.setdefault(status, array("d")).append(seconds)
        if status == 503 and b"retry-after:" not in answer.lower():
            self.without_retry_after += 1


# ---------------------------------------------------------------------------------------------
# Bodies.


def _head(path: str, length: int, token: str) -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{authorization}Content-Length: {length}\r\n\r\n"
    ).encode()


def _numbers(step: int) -> tuple[Any, ...]:
    """An update's numbers, of the same width at every step."""
    return (
        100_000_000_000 + step,
        100_000_000 + step * 7_919 % 400_000_000,
        1_000 + step % 9_000,
        10 + step % 8_999 / 100,
    )


def _disk_numbers(step: int) -> tuple[Any, ...]:
    done, percent = 50_000_000_000 + step, 10 + step % 8_999 / 100
    return done, percent, done, percent


def _clock() -> Iterator[tuple[str, int]]:
    """The present as a sender writes it: the text up to the second, and microseconds."""
    second, text = 0, ""
    while True:
        now = time.time()
        if int(now) != second:
            second = int(now)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        yield text, int((now - second) * 1_000_000)


def _values(step: int, at: tuple[str, int]) -> tuple[Any, ...]:
    values = (*_numbers(step), *at)
    return values if step % DISKS_EVERY else (*values, *_disk_numbers(step))


def _job_ids(load: Load, index: int) -> list[str]:
    return [f"{load.prefix}-{n}" for n in range(index, load.jobs, load.processes)]


def _singles(load: Load, index: int) -> Iterator[bytes]:
    """One update a request, of one job after the other."""
    at = ("2026-01-01T00:00:00", 0)
    lengths = [len(template % _values(step, at)) for step, template in enumerate(_TEMPLATES)]
    heads = [
        [_head(f"/telemetry/backup/{job_id}", length, load.token) for length in lengths]
        for job_id in _job_ids(load, index)
    ]
    for step, now in enumerate(_clock()):
        has_no_disks = step % DISKS_EVERY > 0
        # Another job for each update with disks as well: no common divisor.
        head = heads[(step + step // len(heads)) % len(heads)][has_no_disks]
        yield head + (_TEMPLATES[has_no_disks] % _values(step, now)).encode()


_TEMPLATES = (_WITH_DISKS, _PLAIN)  # steps 0 and 1


def _batches(load: Load, index: int) -> Iterator[bytes]:
    """`load.batch` updates a request, some of each of BATCH_JOBS jobs, ascending by time."""
    job_ids = _job_ids(load, index)
    clock = _clock()
    step = 0
    while True:
        text, micros = next(clock)
        items = []
        for item in range(load.batch):
            step += 1
            job_id = job_ids[(step + step // BATCH_JOBS) % min(BATCH_JOBS, len(job_ids))]
            template = _TEMPLATES[step % DISKS_EVERY > 0]
            body = template % _values(step, (text, min(micros + item, 999_999)))
            items.append(f'{{"job_id":"{job_id}","job_type":"backup",{body[1:]}')
        body = f'{{"updates":[{",".join(items)}]}}'
        yield _head("/telemetry/batch", len(body), load.token) + body.encode()
