"""Answers requests for charts without Flask: kept ones on the event loop, others in a thread."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial

from app.hub import Hub
from app.server.threads import Threads
from app.web.history import ChartTarget
from app.web.permissions import READ
from app.web.request import Answer, Request


class ChartServer:
    """Answers well-formed requests for charts."""

    def __init__(self, hub: Hub, threads: Threads) -> None:
        self._admission = hub.admission
        self._charts = hub.charts
        self._threads = threads
        self._asked: list[tuple[str, asyncio.Future[str | None]]] = []  # for the next reading
        self._reading: asyncio.Task[None] | None = None

    async def answer(self, request: Request, target: ChartTarget, _: bytes = b"") -> Answer:
        """The answer to a GET or HEAD, whose body is ignored. Raises what it is refused with."""
        self._admission.admit(request, READ)
        query = target.query
        kept = self._charts.find(query)
        if kept is not None and await self._read_version(query.name) == kept.version:
            return kept.drawn.answer(request)
        context = copy_context()  # with the request's id, for what is logged there
        drawn = await self._threads.run(partial(context.run, self._charts.read, query))
        return drawn.answer(request)

    def _read_version(self, name: str) -> asyncio.Future[str | None]:
        """The version of a run's charts, read after this call; None for an unknown run.

        What is asked for during one reading is read in the next one, with one statement.
        """
        version = asyncio.get_running_loop().create_future()
        self._asked.append((name, version))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_versions())
        return version

    async def _read_versions(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            names = list({name for name, _ in asked})
            versions: dict[str, str] = {}
            error = None
            try:
                read = partial(self._charts.read_versions, names)
                versions = await self._threads.run(read)
            except Exception as exc:
                error = exc
            for name, version in asked:
                if version.done():  # its request was cancelled
                    continue
                if error is None:
                    version.set_result(versions.get(name))
                else:
                    version.set_exception(error)
        self._reading = None
