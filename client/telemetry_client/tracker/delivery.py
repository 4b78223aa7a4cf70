"""Sends one tracker's captured updates to the hub, from a thread of its own.

An ordinary update waits in a slot for one; a change of state is on disk before it is posted. What
does not get through goes to the spool, which is drained once the hub answers again.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from telemetry_client.queue.spool import Parcel, Spool
from telemetry_client.tracker import backlog
from telemetry_client.tracker.outcomes import Outcomes
from telemetry_client.wire.body import Body
from telemetry_client.wire.client import TelemetryClient
from telemetry_client.wire.results import Accepted, Unreachable
from telemetry_client.wire.safe_client import SafeClient

logger = logging.getLogger("telemetry_client.tracker")

END_RETRY_SECONDS = 0.1  # after the first failure of the end: a connection may have been stale
END_PROBE_SECONDS = 2.0  # the end has a deadline to meet
AWAY_SECONDS = 0.2  # what a job waits for a hub that cannot be reached, once its end is on disk
SILENT_SECONDS = 2.0  # a hub that has not answered for so long counts as away; as to connect
_POLL_SECONDS = 0.02
MAX_EXPRESS = 100  # changes of state that are posted at once; more of them wait for the drain


class Delivery:
    """`offer`, `deliver` and `finish` are for one other thread, the one that captures."""

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
        self.outcomes = Outcomes(job_id, on_dead)
        self.done = threading.Event()  # nothing more to wait for, or no time left
        self.is_delivered = False  # the end is in the hub
        self._job_id = job_id
        self._make_client = make_client
        self._owns_client = owns_client
        self._spool = spool
        self._closing = threading.Event()
        self._backlog = backlog.Backlog(
            job_id, self.outcomes, on_back=on_back, closing=self._closing
        )
        self._lock = threading.Lock()  # of `_posting`, and of what is moved to it
        self._spooling = threading.Lock()
        self._slot: deque[Body] = deque(maxlen=1)
        self._express: deque[Parcel] = deque()
        self._posting: list[Parcel] = []
        self._end: Parcel | None = None  # until it is settled
        self._end_at = 0.0
        self._end_tries = 0
        self._end_on_disk_at: float | None = None
        self._client: SafeClient | None = None  # once the posting thread has made it
        self._pid = os.getpid()
        self._is_end_spooled = False  # given back to the spool, at the deadline
        self._deadline: float | None = None
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"telemetry-post-{job_id}", daemon=True
        )

    def start(self) -> None:
        """Called by the capturing thread, so that a slow disk delays only that one."""
        self._spool.open()
        self._thread.start()

    # -- for the capturing thread -------------------------------------------------------------

    def offer(self, body: Body) -> None:
        """Send an ordinary update: now or, while the hub cannot be reached, from the spool."""
        self.outcomes.count(captured=1)
        if self._backlog.is_away:
            self._keep_for_later(body)
            return
        displaced = self._take_slot()
        self._slot.append(body)
        if displaced is not None:  # the hub is slower than the cadence
            self._keep_for_later(displaced)
        self._wake.set()

    def deliver(self, body: Body) -> None:
        """Send a change of state: it is on disk once this returns."""
        self.outcomes.count(captured=1)
        if self._backlog.is_away or len(self._express) >= MAX_EXPRESS:
            self._keep_for_later(body, important=True)
            return
        self._move_slot_to_express()
        self._express.append(self._spool.keep(body, important=True, leased=True))
        self._wake.set()

    def finish(self, body: Body, deadline_seconds: float) -> None:
        """Send the end of the job. It is posted before any backlog: it matters most."""
        self.outcomes.count(captured=1)
        self._move_slot_to_express()
        end = self._spool.keep(body, important=True, leased=True)
        if losses := self.take_losses():  # evicted to make room for it; no update comes after it
            self._spool.mark_sent(end)
            lost = body.get("lost_updates", 0) + losses
            end = self._spool.keep({**body, "lost_updates": lost}, important=True, leased=True)
        now = time.monotonic()
        self._end = end
        self._end_on_disk_at = now if self._spool.is_on_disk(end) else None
        self._deadline = now + deadline_seconds
        self._wake.set()

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until the hub has the end and the backlog, and return whether to stop trying.

        Waits `seconds` at most, and for a hub that cannot be reached AWAY_SECONDS after the end is
        on disk. Then this keeps trying until the deadline or the exit of the process.
        """
        until = time.monotonic() + seconds
        while not self.done.wait(_POLL_SECONDS):
            now = time.monotonic()
            if now >= until:
                return True
            if self._is_away_at(now):
                _lingering.add(self)
                return False
        return False

    def _is_away_at(self, now: float) -> bool:
        """Whether the end is on disk, and the hub has had its time."""
        since = self._client.asking_since if self._client is not None else None
        kept_at = self._end_on_disk_at
        if kept_at is None or now < kept_at + AWAY_SECONDS:
            return False
        is_silent = since is not None and now >= since + SILENT_SECONDS
        return is_silent or (self._backlog.is_away and not self._backlog.is_hub_busy)

    def spool(self, body: Body) -> None:
        """Put a change of state into the spool, without posting it. For any thread."""
        self.outcomes.count(captured=1, spooled=1)
        self._spool.keep(body, important=True)

    def give_up(self) -> None:
        """Stop here; what has not been posted goes to the spool. For any thread.

        The posting thread may still be waiting for a response: if it is a good one, the entry is
        removed.
        """
        self._move_slot_to_express()
        self._spool_rest()
        self._closing.set()
        self._wake.set()

    def take_losses(self, more: int = 0) -> int:
        """How many updates were dropped since the last call, including `more` of the caller."""
        losses = more + self._spool.take_losses()
        self.outcomes.count(lost=losses)
        return losses

    def _move_slot_to_express(self) -> None:
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
        self.outcomes.count(spooled=1)
        self._backlog.add()
        self._backlog.schedule_next()
        self._wake.set()

    def _put_back(self, parcel: Parcel) -> None:
        """It was not posted, or may not have arrived."""
        if parcel.queue is None:
            kept = self._spool.keep(parcel.body)
            parcel.queue, parcel.id = kept.queue, kept.id
        else:
            self._spool.release(parcel)
        self.outcomes.count(spooled=1)
        self._backlog.add()

    # -- the posting thread -------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._client = client = SafeClient(self._make_client, self._job_id)
            self._backlog.open(self._spool.queues, client)
            self._wake.set()
            while not self._closing.is_set():
                self._wake.wait(self._seconds_to_wait())
                self._wake.clear()
                self._turn(client)
        except Exception:
            logger.exception("The telemetry thread ended: job_id=%s", self._job_id)
        finally:
            self._close()

    def _turn(self, client: SafeClient) -> None:
        """Do whatever is due, once."""
        while not self._closing.is_set() and (parcels := self._next_parcels()):
            self._post(client, parcels)
            self._posting = []
        if self._end is None and not self._closing.is_set():
            self._backlog.step()
        if self._deadline is not None and self._has_finished(self._deadline):
            self._closing.set()

    def _next_parcels(self) -> list[Parcel]:
        """What goes before the backlog, in the order of its capture."""
        with self._lock:  # a thread that gives up meanwhile has to find them
            parcels = self._posting = _drain_deque(self._express)
            if (body := self._take_slot()) is not None:
                parcels.append(Parcel(body))
        if self._backlog.is_away:  # since they were captured
            for parcel in parcels:
                self._put_back(parcel)
            parcels = self._posting = []
        end = self._end
        if end is not None and time.monotonic() >= self._end_at:
            parcels.append(end)
        return parcels

    def _has_finished(self, deadline: float) -> bool:
        if time.monotonic() >= deadline:
            return True
        if self._end is not None or self._express:
            return False
        return self._backlog.is_empty or self._backlog.is_away

    def _seconds_to_wait(self) -> float | None:
        dues = self._backlog.dues if self._end is None else [self._end_at]
        if self._deadline is not None:
            dues.append(self._deadline)
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    # -- posting ------------------------------------------------------------------------------

    def _post(self, client: SafeClient, parcels: Sequence[Parcel]) -> None:
        bodies = [parcel.body for parcel in parcels]
        for body in bodies:
            _log_attempt(body)
        result = client.push(bodies[0]) if len(bodies) == 1 else client.push_batch(bodies)
        if isinstance(result, Accepted):
            self._accepted(parcels, result)
        elif isinstance(result, Unreachable):
            self._unreachable(parcels, result)
        elif len(parcels) == 1:
            self._mark_dead(parcels[0], result.reason)
            self._backlog.hub_answered()
        else:  # one of them is to blame
            for parcel in parcels:
                self._post(client, [parcel])

    def _accepted(self, parcels: Sequence[Parcel], result: Accepted) -> None:
        for item in result.not_applied[:1]:
            self.outcomes.not_applied(item.reason)
        rejected = {rejection.index: rejection for rejection in result.rejected}
        for index, parcel in enumerate(parcels):
            rejection = rejected.get(index)
            if rejection is None:
                self._spool.mark_sent(parcel)
                self.outcomes.count(sent=1)
                self._settle_end(parcel, is_delivered=True)
                logger.debug("SHA telemetry update sent: job_id=%s", self._job_id)
            elif rejection.names_fields:
                self._mark_dead(parcel, rejection.reason)
            else:
                self._retry_later(parcel, backlog.PROBE_SECONDS)
        self._backlog.hub_answered()

    def _unreachable(self, parcels: Sequence[Parcel], result: Unreachable) -> None:
        self._backlog.hub_failed(result)
        for parcel in parcels:
            self._retry_later(parcel, result.retry_after_seconds)
        self._backlog.schedule_retry(result.retry_after_seconds)

    def _retry_later(self, parcel: Parcel, retry_after_seconds: float | None) -> None:
        if parcel is self._end:
            probe = END_PROBE_SECONDS if self._end_tries else END_RETRY_SECONDS
            self._end_tries += 1
            self._end_at = time.monotonic() + backlog.with_jitter(retry_after_seconds or probe)
        else:
            self._put_back(parcel)

    def _mark_dead(self, parcel: Parcel, reason: str) -> None:
        self._spool.mark_dead(parcel, reason)
        self.outcomes.dead(reason)
        self._settle_end(parcel, is_delivered=False)

    def _settle_end(self, parcel: Parcel, *, is_delivered: bool) -> None:
        if parcel is self._end:
            self.is_delivered = is_delivered
            self._end = None

    # -- the end ------------------------------------------------------------------------------

    def _close(self) -> None:
        """Leave everything on disk, then close."""
        self._spool_rest(is_last=True)
        if self._client is not None and self._owns_client:
            self._client.close()
        self.done.set()

    def _spool_rest(self, *, is_last: bool = False) -> None:
        """Leave what is not in the hub to the next sender that uses the spool."""
        with self._spooling:  # the spool stays open while another thread puts something back
            for parcel in self._take_rest():
                self._put_back(parcel)
            if lost := self._spool.flush_memory():
                self.outcomes.lost(lost)
            if is_last:
                self._spool.close()

    def _take_rest(self) -> list[Parcel]:
        with self._lock:
            rest = [parcel for parcel in self._posting if parcel is not self._end]
            rest += _drain_deque(self._express)
            self._posting = []
            if self._end is not None and not self._is_end_spooled:
                self._is_end_spooled = True
                rest.append(self._end)
            return rest


# Deliveries that keep trying although their job has gone on.
_lingering: weakref.WeakSet[Delivery] = weakref.WeakSet()


@atexit.register
def _leave_to_spool() -> None:
    for delivery in list(_lingering):
        if delivery._pid == os.getpid():
            delivery.give_up()


def _drain_deque(parcels: deque[Parcel]) -> list[Parcel]:
    found: list[Parcel] = []
    try:
        while True:
            found.append(parcels.popleft())
    except IndexError:  # another thread may take from it too
        return found


def _log_attempt(body: Body) -> None:
    logger.debug(
        "Sending telemetry update to SHA: job_id=%s bytes=%s total=%s percent=%s speed_bps=%s",
        body.get("job_id"),
        body.get("bytes_transferred"),
        body.get("total_bytes"),
        body.get("progress_percent"),
        body.get("transfer_speed_bps"),
    )
