"""Tells what needs attention: plans messages by the routes, and has them delivered."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.notify.routes import Route
from app.errors import HubError
from app.notify.addresses import AddressInvalid, check_address
from app.notify.sealing import SealBroken, Sealer
from app.store import destinations, outbox
from app.store.staleness import read_clock
from jobs.courier import Courier
from jobs.planning import Planned, merge_heaps, plan

KEPT = timedelta(days=30)  # messages that were sent or given up
HOUSEKEEPING_SECONDS = 3_600.0
# How long a run waits for its deliveries, which go on without it.
WAIT_SECONDS = 1.0
ENVIRONMENT = "environment"
_BETWEEN_ADDRESSES = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*:/)")


@dataclass(frozen=True, slots=True)
class Notified:
    """The result of a run: changes of items, messages made, and messages on their way."""

    changes: int
    messages: int
    sending: int


class Housekeeping:
    """What is done at the first run of a process and once an hour: the environment's destinations,
    the keys of addresses, and old messages.
    """

    def __init__(self) -> None:
        self._due = 0.0  # by time.monotonic()
        self.problem: str | None = None  # with HUB_NOTIFY_URLS

    def keep(self, database: Database, config: Config) -> None:
        """Do it if it is due."""
        if time.monotonic() < self._due:
            return
        with database.transaction() as conn:
            outbox.delete_settled(conn, read_clock(conn) - KEPT)
            self.problem = _set_environment(conn, config)
            _renew_seals(conn, config)
        self._due = time.monotonic() + HOUSEKEEPING_SECONDS


courier = Courier()
housekeeping = Housekeeping()


def run_once(database: Database, config: Config, now: datetime | None = None) -> Notified:
    """Plan messages of what has changed, and begin to deliver what is due.

    Raises HubError, at the end, if an address of HUB_NOTIFY_URLS cannot be used.
    """
    housekeeping.keep(database, config)
    with database.reading() as conn:
        at = read_clock(conn, now)
        is_idle = not outbox.has_work(conn, at)
    planned, sending = Planned(), 0
    if not is_idle:
        with database.transaction() as conn:
            planned = plan(conn, config, at)
            merge_heaps(conn, at)
        sending = courier.deliver_due(database, config, now)
        courier.wait(WAIT_SECONDS)
    if housekeeping.problem is not None:
        raise HubError(housekeeping.problem)
    return Notified(planned.changes, planned.messages, sending)


def addresses_of(urls: str | None) -> list[str]:
    """The addresses of HUB_NOTIFY_URLS, separated by spaces or commas."""
    return [part for part in _BETWEEN_ADDRESSES.split((urls or "").strip(" ,\n\t")) if part]


def _set_environment(conn: Connection, config: Config) -> str | None:
    """Make the destinations of the environment those of HUB_NOTIFY_URLS.

    A new one gets a route with the defaults. Returns what is wrong with an address.
    """
    before = outbox.read_environment(conn)
    wanted = addresses_of(config.notify_urls)
    if not wanted and not before:
        return None
    sealer = Sealer.of(config)
    problem, names = None, []
    for number, address in enumerate(wanted, 1):
        name = f"{ENVIRONMENT}-{number}"
        try:
            service = check_address(address)
        except AddressInvalid as exc:
            problem = problem or f"Address {number} of HUB_NOTIFY_URLS: {exc}"
            continue
        names.append(name)
        if name in before and _opens_to(sealer, before[name][1], address):
            continue
        destination_id, is_new = destinations.put_destination(
            conn, name, service, ENVIRONMENT, sealer.seal(address)
        )
        if is_new:
            destinations.put_route(conn, Route(0, name, destination_id))
    outbox.delete_environment(conn, but=names)
    return problem


def _opens_to(sealer: Sealer, sealed: str, address: str) -> bool:
    try:
        return sealer.open(sealed) == address
    except SealBroken:
        return False


def _renew_seals(conn: Connection, config: Config) -> None:
    """Seal again what was sealed with the key before the last rotation."""
    found = outbox.read_addresses(conn)
    if not found:
        return
    sealer = Sealer.of(config)
    for destination_id, sealed in found.items():
        try:
            renewed = sealer.renew(sealed)
        except SealBroken:
            continue  # the next message to it fails and tells
        if renewed is not None:
            outbox.write_address(conn, destination_id, renewed)
