"""Senders as there are: each job and node on a connection of its own, at its own pace, for hours.

They run in a process of their own and push by the clock, whatever the hub does: a latency counts
from the moment an update was due. Nothing is sent twice, so that what was lost shows.
"""

from __future__ import annotations

import heapq
import json
import math
import multiprocessing
import random
import re
import resource
import select
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from app.clock import isoformat
from app.commands.simulation import (
    PUSH_SECONDS,
    SNAPSHOT_SECONDS,
    Fate,
    SimulatedJob,
    plan_job,
    snapshots,
    updates,
)

NODES = 20
MINUTES = (3.0, 20.0)  # how long a job takes
LEFT_MINUTES = (0.3, 20.0)  # those that run when it begins have begun before
WATCHED_MINUTES = 600.0
PATIENCE_SECONDS = 30.0  # for the last answers
FILES = 20_000
_FATES: tuple[Fate, ...] = ("completed", "failed", "cancelled", "quiet")
_FATE_WEIGHTS = (80, 8, 7, 5)
_TYPES = ("backup", "backup", "backup", "replication", "restore")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Crowd:
    """Who pushes where: enough jobs for `rate` updates a second, and some nodes."""

    host: str
    port: int
    rate: float
    seed: int
    began: datetime  # when the first jobs began

    @property
    def jobs(self) -> int:
        """How many run at a time."""
        return max(1, round(self.rate * PUSH_SECONDS))

    @property
    def watched(self) -> SimulatedJob:
        """One that runs all the time, to be looked at."""
        rng = random.Random(f"{self.seed} watched")
        return plan_job(rng, self._machine(0), self.began, WATCHED_MINUTES)

    def first_job(self, slot: int, rng: random.Random) -> SimulatedJob:
        if slot == 0:
            return self.watched
        return self._plan(slot, rng, self.began, LEFT_MINUTES)

    def next_job(self, slot: int, rng: random.Random) -> SimulatedJob:
        return self._plan(slot, rng, datetime.now(UTC), MINUTES)

    def _plan(
        self, slot: int, rng: random.Random, at: datetime, minutes: tuple[float, float]
    ) -> SimulatedJob:
        (fate,) = rng.choices(_FATES, _FATE_WEIGHTS)
        return plan_job(
            rng, self._machine(slot), at, rng.uniform(*minutes), fate, rng.choice(_TYPES)
        )

    def _machine(self, slot: int) -> str:
        return f"soak{self.seed}-vm-{slot:04}"


@dataclass
class Second:
    """What came of a second: latencies of what was acknowledged, and all that went wrong."""

    latencies: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0  # of the senders, so far


@dataclass(frozen=True)
class Ledger:
    """Sent and acknowledged in the end, by job and by node; and what the last answers were."""

    jobs: dict[str, tuple[int, int]]
    nodes: dict[str, tuple[int, int]]
    last: Second


class RunningCrowd:
    """The process in which they push, from its start until `stop`."""

    def __init__(self, crowd: Crowd) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(crowd, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def seconds(self) -> Iterator[Second]:
        """What has come in since the last call."""
        while self._pipe.poll():
            yield self._pipe.recv()

    def stop(self) -> Ledger:
        """Push nothing more, and wait for the last answers."""
        self._pipe.send(None)
        while not isinstance(received := self._pipe.recv(), Ledger):
            pass
        self._process.join(10)
        return received


def _run(crowd: Crowd, pipe: Connection) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    _Senders(crowd, pipe).run()


class _Senders:
    """All of them in one thread: a heap of who is due, and an epoll of who was answered."""

    def __init__(self, crowd: Crowd, pipe: Connection) -> None:
        self._pipe = pipe
        self._poll = select.epoll()
        self._by_file: dict[int, _Sender] = {}
        self._second = Second()
        began = time.monotonic() + 0.5
        senders: list[_Sender] = [_Jobs(self, crowd, slot) for slot in range(crowd.jobs)]
        senders += [_Node(self, crowd, number) for number in range(NODES)]
        self._all = senders
        self._due = []
        for number, sender in enumerate(senders):
            share = number / crowd.jobs if number < crowd.jobs else (number - crowd.jobs) / NODES
            self._due.append((began + share * sender.interval_seconds, number))
        heapq.heapify(self._due)

    def run(self) -> None:
        second_ends = time.monotonic() + 1
        while not self._pipe.poll():
            now = time.monotonic()
            if now >= second_ends:
                self._report()
                second_ends = max(second_ends + 1, now)
            while self._due[0][0] <= now:
                due, number = self._due[0]
                sender = self._all[number]
                heapq.heapreplace(self._due, (due + sender.interval_seconds, number))
                sender.push(due)
            self._listen(min(self._due[0][0], second_ends))
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while any(sender.is_waiting for sender in self._all) and time.monotonic() < give_up_at:
            self._listen(give_up_at)
        self._pipe.send(self._ledger())

    def connect(self, sender: _Sender, address: tuple[str, int]) -> socket.socket:
        sock = socket.create_connection(address, timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._by_file[sock.fileno()] = sender
        self._poll.register(sock, select.EPOLLIN)
        return sock

    def forget(self, sock: socket.socket) -> None:
        self._poll.unregister(sock)
        del self._by_file[sock.fileno()]
        sock.close()

    def note(self, seconds: float, error: str | None) -> None:
        if error is None:
            self._second.latencies.append(seconds)
        else:
            self._second.errors[error] += 1

    def _listen(self, until: float) -> None:
        for number, _ in self._poll.poll(max(0.0, until - time.monotonic())):
            self._by_file[number].hear()

    def _report(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._second.cpu_seconds = used.ru_utime + used.ru_stime
        self._pipe.send(self._second)
        self._second = Second()

    def _ledger(self) -> Ledger:
        jobs: dict[str, tuple[int, int]] = {}
        nodes: dict[str, tuple[int, int]] = {}
        for sender in self._all:
            (nodes if isinstance(sender, _Node) else jobs).update(sender.ledger)
        return Ledger(jobs, nodes, self._second)


class _Sender:
    """One connection, a request at a time; what is due while it waits is sent after it."""

    interval_seconds: float = PUSH_SECONDS

    def __init__(self, all_: _Senders, crowd: Crowd) -> None:
        self._all = all_
        self._address = (crowd.host, crowd.port)
        self._socket: socket.socket | None = None
        self._received = b""
        self._waiting: deque[tuple[float, str, bytes]] = deque()  # the first is on its way
        self.ledger: dict[str, tuple[int, int]] = {}

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def push(self, due: float) -> None:
        """Send what is due now, or line it up."""
        name, path, body = self.next_push()
        sent, acknowledged = self.ledger.get(name, (0, 0))
        self.ledger[name] = sent + 1, acknowledged
        text = json.dumps(body, separators=(",", ":")).encode()
        head = (
            f"POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n\r\n"
        )
        self._waiting.append((due, name, head.encode() + text))
        if len(self._waiting) == 1:
            self._send()

    def next_push(self) -> tuple[str, str, dict[str, Any]]:
        """Its name in the ledger, the path, and the body of what it says next."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """Close the connection unless an answer is to come; the next push opens another."""
        if self._socket is not None and not self._waiting:
            self._all.forget(self._socket)
            self._socket = None

    def hear(self) -> None:
        """Something came: an answer, a part of one, or the connection's end."""
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._fail("the connection ended")
            return
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        length = _LENGTH.search(self._received, 0, head_end) if head_end >= 0 else None
        if length is not None and len(self._received) >= head_end + 4 + int(length[1]):
            status, self._received = self._received[9:12].decode(), b""
            self._settle(None if status == "200" else f"answered {status}")

    def _send(self) -> None:
        try:
            if self._socket is None:
                self._socket = self._all.connect(self, self._address)
            self._socket.sendall(self._waiting[0][2])
        except OSError as exc:
            self._fail(f"could not be sent: {type(exc).__name__}")

    def _settle(self, error: str | None) -> None:
        due, name, _ = self._waiting.popleft()
        self._all.note(time.monotonic() - due, error)
        if error is None:
            sent, acknowledged = self.ledger[name]
            self.ledger[name] = sent, acknowledged + 1
        if self._waiting:
            self._send()

    def _fail(self, error: str) -> None:
        if self._socket is not None:
            self._all.forget(self._socket)
            self._socket = None
        self._received = b""
        if self._waiting:
            self._settle(error)
        else:
            self._all.note(math.nan, f"{error} while it was idle")


class _Jobs(_Sender):
    """The jobs of one machine, one after the other."""

    def __init__(self, all_: _Senders, crowd: Crowd, slot: int) -> None:
        super().__init__(all_, crowd)
        self._crowd = crowd
        self._slot = slot
        self._rng = random.Random(f"{crowd.seed} {slot}")
        self._begin(crowd.first_job(slot, self._rng))

    def next_push(self) -> tuple[str, str, dict[str, Any]]:
        body = next(self._updates, None)
        if body is None:
            self.hang_up()  # another job is another process
            self._begin(self._crowd.next_job(self._slot, self._rng))
            body = next(self._updates)
        job = self._job
        stamped = {**body, "timestamp": isoformat(datetime.now(UTC))}
        return job.job_id, f"/telemetry/{job.job_type}/{job.job_id}", stamped

    def _begin(self, job: SimulatedJob) -> None:
        self._job = job
        self._updates = updates(job, self._crowd.seed)


class _Node(_Sender):
    """The agent of a node."""

    interval_seconds = SNAPSHOT_SECONDS

    def __init__(self, all_: _Senders, crowd: Crowd, number: int) -> None:
        super().__init__(all_, crowd)
        self._node_id = f"soak{crowd.seed}-node-{number:02}"
        self._snapshots = snapshots(self._node_id, crowd.seed)

    def next_push(self) -> tuple[str, str, dict[str, Any]]:
        body = {**next(self._snapshots), "timestamp": isoformat(datetime.now(UTC))}
        return self._node_id, "/telemetry/snapshot", body
