"""Answers pushes on the event loop: decodes, queues, and waits for the commit without a thread."""

from __future__ import annotations

import asyncio
from functools import partial

from app import metrics
from app.errors import TooManyPushes
from app.hub import Hub
from app.ingest.transaction import Outcome
from app.server.settling import Settling
from app.server.threads import Threads
from app.web import problems
from app.web.push import Decoded, Push, Target
from app.web.request import Answer, Request, complete


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

    async def answer(self, request: Request, target: Target, body: bytes) -> Answer:
        """The answer to a push, once its items are committed or refused."""
        try:
            answer = await self._store(request, target, body)
        except Exception as exc:
            answer = problems.answer_failure(exc)
        return complete(answer, request, target.route)

    async def _store(self, request: Request, target: Target, body: bytes) -> Answer:
        hub = self._hub
        hub.pushes.refuse_if_full()
        if self._waiting >= self._most_waiting:
            raise TooManyPushes
        self._waiting += 1
        try:
            admitted = hub.admission.admit(request, target.permission, target.job_type)
            decoded = await self._decode(Push(body, request.headers, admitted.claims), target)
            answer = decoded.answer(await self._wait_for_commit(decoded))
            answer.headers += admitted.headers
            return answer
        finally:
            self._waiting -= 1

    async def _decode(self, push: Push, target: Target) -> Decoded:
        pushes = self._hub.pushes
        if decoded := pushes.decode_at_once(push, target):
            return decoded
        return await self._threads.write(partial(target.decode, pushes, push))

    async def _wait_for_commit(self, decoded: Decoded) -> list[Outcome]:
        if not decoded.items:
            return []
        writer = self._hub.writer
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        ticket = writer.begin(decoded.items, partial(self._settling.settle, ready, None))
        timer = loop.call_later(writer.wait_seconds, _give_up, ready)
        try:
            await ready
        finally:
            timer.cancel()
        return writer.finish(ticket)


def _give_up(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
