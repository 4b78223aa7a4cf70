"""Takes one tracker's captured updates to the hub, from a thread of its own.

Ordinary updates wait in a slot for one; a change of state is on disk before it is posted. What
does not get through goes to the spool, which a Drain empties once the hub answers again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from telemetry_client.client import TelemetryClient
from telemetry_client.drain import Drain
from telemetry_client.loud import Loud
from telemetry_client.queue import Entry
from telemetry_client.results import Accepted, Refused, Result, Unreachable
from telemetry_client.spool import Parcel, Spool
from telemetry_client.updates import Body

logger = logging.getLogger("telemetry_client.tracker")

PROBE_SECONDS = 5.0
END_PROBE_SECONDS = 2.0  # the end has a deadline to meet
MOST_EXPRESS = 100  # posted at once; more changes of state than that wait for the drain


@dataclass(slots=True)
class Counters:
    """Of one tracker. `failed` counts posts, the others updates."""

    captured: int = 0
    sent: int = 0
    failed: int = 0
    spooled: int = 0
    lost: int = 0
    dead: int = 0


class Delivery:
    """`offer`, `deliver` and `finish` are for one other thread, which captures."""

    def __init__(
        self,
        job_id: str,
        make_client: Callable[[], TelemetryClient],
        spool: Spool,
        *,
        owns_client: bool,
        on_back: Callable[[], None],
        on_dead: Callable[[], None],
    ) -> None:
        self.counters = Counters()
        self.done = threading.Event()  # nothing more to wait for, or no time left
        self.is_delivered = False  # the end is in the hub
        self._job_id = job_id
        self._make_client = make_client
        self._owns_client = owns_client
        self._spool = spool
        self._on_back = on_back
        self._on_dead = on_dead
        self._loud = Loud(logger)
        self._lock = threading.Lock()  # of the counters, the backlog and who has what
        self._leaving = threading.Lock()
        self._drains: list[Drain] = []
        self._drain_at: list[float | None] = []
        self._slot: deque[Body] = deque(maxlen=1)
        self._express: deque[Parcel] = deque()
        self._in_hand: list[Parcel] = []  # being posted
        self._is_away = False
        self._backlog = 0  # updates of ours in the spool, as far as we know
        self._end: Parcel | None = None  # until it is settled
        self._end_at = 0.0
        self._is_end_left = False  # given back to the spool, at the deadline
        self._deadline: float | None = None
        self._is_closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"telemetry-post-{job_id}", daemon=True
        )

    def start(self) -> None:
        """By the thread that captures, so that a slow disk delays only that."""
        self._spool.open()
        self._thread.start()

    # -- what the capturing thread asks for ---------------------------------------------------

    def offer(self, body: Body) -> None:
        """An ordinary update: posted now or, while the hub is away, from the spool."""
        self._count(captured=1)
        if self._is_away:
            self._keep_for_later(body)
            return
        displaced = self._take_slot()
        self._slot.append(body)
        if displaced is not None:  # the hub is slower than the cadence
            self._keep_for_later(displaced)
        self._wake.set()

    def deliver(self, body: Body) -> None:
        """A change of state: on disk once this returns, whatever becomes of the process."""
        self._count(captured=1)
        if self._is_away or len(self._express) >= MOST_EXPRESS:
            self._keep_for_later(body, important=True)
            return
        self._slot_before_express()
        self._express.append(self._spool.keep(body, important=True, leased=True))
        self._wake.set()

    def finish(self, body: Body, deadline_seconds: float) -> None:
        """The end of the job. It is posted before any backlog: what came of it matters most."""
        self._count(captured=1)
        self._slot_before_express()
        end = self._spool.keep(body, important=True, leased=True)
        if untold := self.take_losses():  # to make room for it; and nothing comes after it
            self._spool.forget(end)
            told = body.get("lost_updates", 0) + untold
            end = self._spool.keep({**body, "lost_updates": told}, important=True, leased=True)
        self._end = end
        self._deadline = time.monotonic() + deadline_seconds
        self._wake.set()

    def leave(self, body: Body) -> None:
        """A change of state that nobody is going to post: to the spool. For any thread."""
        self._count(captured=1, spooled=1)
        self._spool.keep(body, important=True)

    def give_up(self) -> None:
        """Stop here; what has not been posted goes to the spool. For any thread.

        The posting thread may be waiting for an answer yet: if it is a good one, the entry goes.
        """
        self._slot_before_express()
        self._leave_rest()
        self._is_closing = True
        self._wake.set()

    def take_losses(self, more: int = 0) -> int:
        """Updates dropped since this was last asked, with those that the caller has dropped."""
        losses = more + self._spool.take_losses()
        self._count(lost=losses)
        return losses

    def _slot_before_express(self) -> None:
        """What is older than a change of state goes before it."""
        if (earlier := self._take_slot()) is not None:
            self._express.append(Parcel(earlier))

    def _take_slot(self) -> Body | None:
        try:
            return self._slot.popleft()
        except IndexError:
            return None

    def _keep_for_later(self, body: Body, *, important: bool = False) -> None:
        self._spool.keep(body, important=important)
        self._count(spooled=1, backlog=1)
        self._schedule_drains(PROBE_SECONDS if self._is_away else 0.0)
        self._wake.set()

    def _put_back(self, parcel: Parcel) -> None:
        """It was not posted, or nobody knows."""
        if parcel.queue is None:
            kept = self._spool.keep(parcel.body)
            parcel.queue, parcel.id = kept.queue, kept.id
        else:
            self._spool.release(parcel)
        self._count(spooled=1, backlog=1)

    # -- the thread that posts ----------------------------------------------------------------

    def _run(self) -> None:
        client: _Guarded | None = None
        try:
            client = _Guarded(self._make_client, self._job_id)
            self._add_drains(client)
            while not self._is_closing:
                self._wake.wait(self._seconds_to_wait())
                self._wake.clear()
                self._turn(client)
        except Exception:
            logger.exception("The telemetry thread ended: job_id=%s", self._job_id)
        finally:
            self._close(client)

    def _turn(self, client: _Guarded) -> None:
        """Whatever is due, once."""
        while not self._is_closing and (parcels := self._next_parcels()):
            self._post(client, parcels)
            self._in_hand = []
        if self._end is None and not self._is_closing:
            self._step_drains()
        if self._deadline is not None and self._has_finished(self._deadline):
            self._is_closing = True

    def _next_parcels(self) -> list[Parcel]:
        """What goes before the backlog, in the order of its capture."""
        with self._lock:  # whoever gives up meanwhile has to find them somewhere
            parcels = self._in_hand = _all_of(self._express)
            if (body := self._take_slot()) is not None:
                parcels.append(Parcel(body))
        if self._is_away:  # it went away since they were captured
            for parcel in parcels:
                self._put_back(parcel)
            parcels = self._in_hand = []
        end = self._end
        if end is not None and time.monotonic() >= self._end_at:
            parcels.append(end)
        return parcels

    def _has_finished(self, deadline: float) -> bool:
        if time.monotonic() >= deadline:
            return True
        if self._end is not None or self._express:
            return False
        return self._backlog <= 0 or self._is_away

    def _seconds_to_wait(self) -> float | None:
        dues = [at for at in self._drain_at if at is not None and self._end is None]
        if self._end is not None:
            dues.append(self._end_at)
        if self._deadline is not None:
            dues.append(self._deadline)
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    # -- posting ------------------------------------------------------------------------------

    def _post(self, client: _Guarded, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            _log_attempt(parcel.body)
        result = client.post([parcel.body for parcel in parcels])
        if isinstance(result, Accepted):
            self._accepted(parcels, result)
        elif isinstance(result, Unreachable):
            self._unreachable(parcels, result)
        elif len(parcels) == 1:
            self._bury(parcels[0], result.reason)
            self._is_here()
        else:  # one of them is to blame
            for parcel in parcels:
                self._post(client, [parcel])

    def _accepted(self, parcels: Sequence[Parcel], result: Accepted) -> None:
        rejected = {rejection.index: rejection for rejection in result.rejected}
        for index, parcel in enumerate(parcels):
            rejection = rejected.get(index)
            if rejection is None:
                self._spool.forget(parcel)
                self._count(sent=1)
                self._settle_end(parcel, is_delivered=True)
                logger.debug("SHA telemetry update sent: job_id=%s", self._job_id)
            elif rejection.names_fields:
                self._bury(parcel, rejection.reason)
            else:
                self._keep_trying(parcel, PROBE_SECONDS)
        self._is_here()

    def _unreachable(self, parcels: Sequence[Parcel], result: Unreachable) -> None:
        self._failed(result)
        # A 500 is about an update: the hub is there, and the drain finds out which one it is.
        self._is_away = self._is_away or not result.spends_try
        wait = _with_jitter(result.retry_after_seconds or PROBE_SECONDS)
        for parcel in parcels:
            self._keep_trying(parcel, result.retry_after_seconds)
        self._schedule_drains(wait, replace=True)

    def _keep_trying(self, parcel: Parcel, retry_after_seconds: float | None) -> None:
        if parcel is self._end:
            wait = _with_jitter(retry_after_seconds or END_PROBE_SECONDS)
            self._end_at = time.monotonic() + wait
        else:
            self._put_back(parcel)

    def _bury(self, parcel: Parcel, reason: str) -> None:
        self._spool.bury(parcel, reason)
        self._is_dead(reason)
        self._settle_end(parcel, is_delivered=False)

    def _settle_end(self, parcel: Parcel, *, is_delivered: bool) -> None:
        if parcel is self._end:
            self.is_delivered = is_delivered
            self._end = None

    def _is_here(self) -> None:
        """The hub answers."""
        if self._is_away:
            self._is_away = False
            self._schedule_drains(0.0, replace=True)
            self._on_back()

    def _is_dead(self, reason: str) -> None:
        self._count(dead=1)
        self._loud.say(
            f"refused {reason}",
            "FAILED to send telemetry update, the hub refuses it: job_id=%s reason=%s",
            self._job_id,
            reason,
        )
        self._on_dead()

    def _failed(self, result: Unreachable) -> None:
        self._count(failed=1)
        self._loud.say(
            result.reason,
            "FAILED to send telemetry update, it is kept for later: job_id=%s reason=%s",
            self._job_id,
            result.reason,
        )

    # -- the backlog --------------------------------------------------------------------------

    def _add_drains(self, client: _Guarded) -> None:
        self._drains = [
            Drain(
                queue,
                cast(TelemetryClient, client),
                probe_seconds=PROBE_SECONDS,
                on_sent=self._drained,
                on_dead=self._dead_in_drain,
                on_away=self._away_in_drain,
            )
            for queue in self._spool.queues
        ]
        self._drain_at = [0.0 for _ in self._drains]  # there may be updates of earlier trackers
        self._wake.set()

    def _step_drains(self) -> None:
        for position, drain in enumerate(self._drains):
            due = self._drain_at[position]
            if due is None or time.monotonic() < due or self._is_closing:
                continue
            self._drain_at[position] = None  # before the step: another thread may schedule anew
            wait = self._step(drain)
            if wait is not None:
                self._schedule(position, wait)
        if all(due is None for due in self._drain_at):
            self._backlog = 0  # whoever sent it

    def _step(self, drain: Drain) -> float | None:
        try:
            return drain.step()
        except Exception as exc:
            self._failed(Unreachable(f"the spool cannot be read: {exc}"))
            return PROBE_SECONDS

    def _drained(self, entries: list[Entry]) -> None:
        ours = sum(entry.payload.get("job_id") == self._job_id for entry in entries)
        self._count(sent=ours, backlog=-ours)
        self._is_here()

    def _dead_in_drain(self, entry: Entry, reason: str) -> None:
        if entry.payload.get("job_id") == self._job_id:
            self._count(backlog=-1)
            self._is_dead(reason)

    def _away_in_drain(self, result: Unreachable) -> None:
        self._failed(result)
        if result.status == HTTPStatus.FORBIDDEN:
            # It is there, and what it forbids may be of others' jobs, which have another token.
            self._is_away, was_away = False, self._is_away
            if was_away:
                self._on_back()
        else:
            self._is_away = self._is_away or not result.spends_try

    def _schedule_drains(self, seconds: float, *, replace: bool = False) -> None:
        for position in range(len(self._drain_at)):
            if replace:
                self._drain_at[position] = None
            self._schedule(position, seconds)

    def _schedule(self, position: int, seconds: float) -> None:
        due, planned = time.monotonic() + seconds, self._drain_at[position]
        self._drain_at[position] = due if planned is None else min(due, planned)

    # -- the end ------------------------------------------------------------------------------

    def _close(self, client: _Guarded | None) -> None:
        """Leave nothing behind that is not on disk."""
        self._leave_rest(is_last=True)
        if client is not None and self._owns_client:
            client.close()
        self.done.set()

    def _leave_rest(self, *, is_last: bool = False) -> None:
        """Whatever is not in the hub is left to the next sender on the spool."""
        with self._leaving:  # the spool is not closed while another thread puts something back
            for parcel in self._take_rest():
                self._put_back(parcel)
            if lost := self._spool.empty_memory():
                self._count(lost=lost)
                self._loud.say(
                    "lost", "%d telemetry updates are lost: job_id=%s", lost, self._job_id
                )
            if is_last:
                self._spool.close()

    def _take_rest(self) -> list[Parcel]:
        with self._lock:
            rest = [parcel for parcel in self._in_hand if parcel is not self._end]
            rest += _all_of(self._express)
            self._in_hand = []
            if self._end is not None and not self._is_end_left:
                self._is_end_left = True
                rest.append(self._end)
            return rest

    def _count(self, *, backlog: int = 0, **changes: int) -> None:
        with self._lock:
            self._backlog += backlog
            for name, change in changes.items():
                setattr(self.counters, name, getattr(self.counters, name) + change)


class _Guarded:
    """A client that raises nothing, whatever it is."""

    def __init__(self, make: Callable[[], TelemetryClient], job_id: str) -> None:
        self._client: TelemetryClient | None = None
        self._trouble = ""
        try:
            self._client = make()
        except Exception as exc:  # an address that is none
            self._trouble = str(exc)
            logger.error("No telemetry can be sent: job_id=%s reason=%s", job_id, exc)

    def post(self, bodies: Sequence[Body]) -> Result:
        return self.push(bodies[0]) if len(bodies) == 1 else self.push_batch(bodies)

    def push(self, update: Mapping[str, Any]) -> Result:
        return self._try(lambda client: client.push(update))

    def push_batch(self, updates: Sequence[Mapping[str, Any]]) -> Result:
        return self._try(lambda client: client.push_batch(updates))

    def push_snapshots(self, snapshots: Sequence[Mapping[str, Any]]) -> Result:
        return self._try(lambda client: client.push_snapshots(snapshots))

    def push_snapshot(self, snapshot: Mapping[str, Any]) -> Result:
        return self._try(lambda client: client.push_snapshot(snapshot))

    def close(self) -> None:
        def close(client: TelemetryClient) -> Result:
            client.close()
            return Accepted()

        self._try(close)

    def _try(self, action: Callable[[TelemetryClient], Result]) -> Result:
        if self._client is None:
            return Unreachable(self._trouble)
        try:
            result = action(self._client)
        except Exception as exc:
            return Unreachable(f"{type(exc).__name__}: {exc}")
        if isinstance(result, Accepted | Refused | Unreachable):
            return result
        return Unreachable(f"the client answers {type(result).__name__}")


def _all_of(parcels: deque[Parcel]) -> list[Parcel]:
    found: list[Parcel] = []
    try:
        while True:
            found.append(parcels.popleft())
    except IndexError:  # more than one thread may take from it
        return found


def _with_jitter(seconds: float) -> float:
    """A little later, so that a fleet does not come back at once."""
    return seconds * random.uniform(1.0, 1.3)


def _log_attempt(body: Body) -> None:
    logger.debug(
        "Sending telemetry update to SHA: job_id=%s bytes=%s total=%s percent=%s speed_bps=%s",
        body.get("job_id"),
        body.get("bytes_transferred"),
        body.get("total_bytes"),
        body.get("progress_percent"),
        body.get("transfer_speed_bps"),
    )
