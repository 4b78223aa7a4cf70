"""Answers pushes on the event loop: decodes, queues, and waits for the commit without a thread."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial

from app import metrics
from app.errors import TooManyPushes
from app.hub import Hub
from app.ingest.queue import Ticket
from app.ingest.transaction import Outcome
from app.ingest.writer import Writer
from app.server.settling import Settling
from app.server.threads import Threads
from app.web.push import Decoded, Push, Target
from app.web.request import Answer, Request

SHORTEST_CHECK, LONGEST_CHECK = 0.01, 0.5  # seconds between looks for pushes that give up
SMALL_BATCH = 500  # updates whose receipt is made on the event loop: at most 1 ms


class Patience:
    """Ends the waiting of pushes that the writer keeps for too long, with one timer for all.

    Remove a push from `waiting` once it no longer waits.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.waiting: dict[asyncio.Future[None], Ticket] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, ready: asyncio.Future[None], ticket: Ticket) -> None:
        """Set the result of `ready` once the ticket has waited for as long as it may."""
        self.waiting[ready] = ticket
        if self._timer is None:
            self._check_in(self._writer.wait_seconds)

    def _check_in(self, seconds: float) -> None:
        seconds = min(max(seconds, SHORTEST_CHECK), LONGEST_CHECK)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def _check(self) -> None:
        self._timer = None
        left = LONGEST_CHECK
        for ready, ticket in self.waiting.items():
            patience = self._writer.patience(ticket)
            if patience > 0:
                left = min(left, patience)
            elif not ready.done():
                ready.set_result(None)
        if self.waiting:
            self._check_in(left)


class PushServer:
    """Answers pushes. At most HUB_WAITING_PUSHES wait for their commit; others are refused."""

    def __init__(self, hub: Hub, threads: Threads) -> None:
        self._hub = hub
        self._threads = threads  # decode what takes long
        self._settling = Settling()  # its own, so that reads do not wait behind settled pushes
        self._patience = Patience(hub.writer)
        self._most_waiting = hub.config.waiting_pushes
        self._waiting = 0
        metrics.watch(metrics.WAITING_PUSHES, lambda: self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether any push has not been answered yet."""
        return self._waiting > 0

    async def store(self, request: Request, target: Target, body: bytes) -> Answer:
        """The answer to a push, once its items are committed. Raises what it is refused with."""
        hub = self._hub
        hub.writer.refuse_if_full()
        if self._waiting >= self._most_waiting:
            hub.writer.note_refusal()
            raise TooManyPushes
        self._waiting += 1
        try:
            admitted = hub.admission.admit(request, target.permission, target.job_type)
            decoded = await self._decode(Push(body, request.headers, admitted.claims), target)
            outcomes = await self._wait_for_commit(decoded)
            if decoded.size <= SMALL_BATCH:
                return decoded.answer(outcomes)
            return await self._threads.run(partial(decoded.answer, outcomes))
        finally:
            self._waiting -= 1

    async def _decode(self, push: Push, target: Target) -> Decoded:
        pushes = self._hub.pushes
        if decoded := pushes.decode_at_once(push, target):
            return decoded
        context = copy_context()  # with the request's id, for what is logged there
        return await self._threads.run_limited(partial(context.run, target.decode, pushes, push))

    async def _wait_for_commit(self, decoded: Decoded) -> list[Outcome]:
        if not decoded.items:
            return []
        writer = self._hub.writer
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = writer.begin(decoded.items, partial(self._settling.settle, ready, None))
        self._patience.watch(ready, ticket)
        try:
            await ready
        finally:
            self._patience.waiting.pop(ready, None)
        return writer.finish(ticket)
