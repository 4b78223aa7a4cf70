"""Delivers messages of the outbox: each destination in a thread of its own.

One that is slow or does not answer delays no other, and no task.

A message is claimed for LEASE before it is sent, and settled afterwards: if the process dies in
between, another sends it again.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import traceback
from datetime import datetime, timedelta

from app.config import Config
from app.database.pool import Database
from app.domain.notify.retries import wait_after
from app.errors import HubError, Unavailable
from app.notify.delivery import Delivery
from app.notify.sealing import Sealer
from app.notify.services import deliver
from app.store import outbox
from app.store.outbox import Claimed
from app.store.staleness import read_clock

logger = logging.getLogger("hub.tasks.notify")

LEASE = timedelta(minutes=1)
MOST_AT_ONCE = 32  # destinations


class Courier:
    """The deliveries of this process. Thread-safe."""

    def __init__(self) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._changed = threading.Condition()
        # Destinations. One that hangs stays until it ends, so that hanging threads do not add up.
        self._busy: set[int] = set()

    def deliver_due(self, database: Database, config: Config, now: datetime | None = None) -> int:
        """Begin to deliver what is due; return how many messages. Does not wait for them."""
        with self._changed:
            busy = set(self._busy)
        free = MOST_AT_ONCE - len(busy)
        if free <= 0:
            return 0
        with database.transaction() as conn:
            at = read_clock(conn, now)
            claimed = outbox.claim(conn, self.holder, at, LEASE, busy=busy, limit=free)
        for each in claimed:
            with self._changed:
                self._busy.add(each.destination_id)
            # Daemons: the end of the process does not wait for a service.
            threading.Thread(
                name=f"destination-{each.destination_id}",
                target=self._work,
                args=(database, config, each, now),
                daemon=True,
            ).start()
        return len(claimed)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is on its way; False if something still is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, seconds)

    def _work(
        self, database: Database, config: Config, claimed: Claimed, now: datetime | None
    ) -> None:
        """Deliver a message, and what else is due at its destination."""
        next_one: Claimed | None = claimed
        try:
            while next_one is not None:
                self._deliver(database, config, next_one, now)
                with database.transaction() as conn:
                    at = read_clock(conn, now)
                    found = outbox.claim(conn, self.holder, at, LEASE, only=claimed.destination_id)
                next_one = found[0] if found else None
        except Unavailable as exc:
            logger.warning("a message could not be settled: %s", exc)
        except Exception as exc:
            logger.error("the delivery failed unexpectedly: %s", _place_of(exc))
        finally:
            with self._changed:
                self._busy.discard(claimed.destination_id)
                self._changed.notify_all()

    def _deliver(
        self, database: Database, config: Config, claimed: Claimed, now: datetime | None
    ) -> None:
        error = self._attempt(database, config, claimed)
        with database.transaction() as conn:
            at = read_clock(conn, now)
            outbox.note_outcome(conn, claimed.destination_id, at, error)
            if error is None:
                is_mine = outbox.settle(conn, claimed, self.holder, "sent", at, None)
            elif claimed.give_up_at is not None and at >= claimed.give_up_at:
                is_mine = outbox.settle(conn, claimed, self.holder, "dead", at, error)
                logger.error("the message %d is given up: %s", claimed.id, error)
            else:
                due_at = at + wait_after(claimed.attempts)
                is_mine = outbox.postpone(conn, claimed, self.holder, due_at, error)
        if not is_mine:
            logger.warning("the message %d may have been sent twice", claimed.id)
        if error is not None:
            logger.warning(
                "a message could not be delivered: %s",
                error,
                extra={"destination_id": claimed.destination_id, "attempts": claimed.attempts},
            )

    def _attempt(self, database: Database, config: Config, claimed: Claimed) -> str | None:
        """Send a message; return why it failed, or None."""
        try:
            with database.reading() as conn:
                sealed = outbox.read_addresses(conn, [claimed.destination_id])
            if claimed.destination_id not in sealed:
                return "The destination has no address."
            address = Sealer.of(config).open(sealed[claimed.destination_id])
            deliver(address, Delivery(claimed.id, claimed.created_at, claimed.message))
        except Unavailable:
            raise
        except HubError as exc:
            return str(exc)
        except Exception as exc:
            logger.error("the service failed unexpectedly: %s", _place_of(exc))
            return f"It failed with {type(exc).__name__}; the hub's log has more."
        return None


def _place_of(exc: Exception) -> str:
    """What failed and where, without the text of the error, which may hold parts of an address."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__} in {frame.filename}:{frame.lineno}"
