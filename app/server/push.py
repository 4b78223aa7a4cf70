"""Answers pushes on the event loop: decodes, queues, and waits for the commit without a thread."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial

from app import metrics
from app.errors import TooManyPushes
from app.hub import Hub
from app.ingest.transaction import Outcome
from app.server.settling import Settling
from app.server.threads import Threads
from app.web.push import Decoded, Push, Target
from app.web.request import Answer, Request

SMALL_BATCH = 500  # updates whose receipt is made on the event loop: at most 1 ms


class PushServer:
    """Answers pushes. At most HUB_WAITING_PUSHES wait for their commit; others are refused."""

    def __init__(self, hub: Hub, threads: Threads) -> None:
        self._hub = hub
        self._threads = threads  # decode what takes long
        self._settling = Settling()  # its own, so that reads do not wait behind settled pushes
        self._most_waiting = hub.config.waiting_pushes
        self._waiting = 0
        metrics.WAITING_PUSHES.set_function(lambda: self._waiting)

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
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        ticket = writer.begin(decoded.items, partial(self._settling.settle, ready, None))
        timer: asyncio.TimerHandle

        def give_up() -> None:
            nonlocal timer
            if (seconds := writer.patience(ticket)) > 0:
                timer = loop.call_later(seconds, give_up)
            elif not ready.done():
                ready.set_result(None)

        timer = loop.call_later(writer.wait_seconds, give_up)
        try:
            await ready
        finally:
            timer.cancel()
        return writer.finish(ticket)
