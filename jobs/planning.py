"""Turns changes of items of attention into messages in the outbox, by the routes."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.config import Config
from app.database.pool import Connection
from app.domain.notify.episodes import (
    OLD,
    RECOVERY_GROUP,
    Episode,
    Step,
    Telling,
    begin,
    follow,
    step,
)
from app.domain.notify.items import Item
from app.domain.notify.messages import Message, merge, write, write_short
from app.domain.notify.routes import Route
from app.domain.rules import Maintenance, RuleSet
from app.store import outbox
from app.store.destinations import Outgoing, insert_messages, read_routes
from app.store.outbox import Noted
from app.store.rules import read_maintenance, read_rules
from jobs.attempts import Attempts
from jobs.reports import write_report

logger = logging.getLogger("hub.tasks.notify")

MOST_CHANGES = 5_000  # of one run; the next one continues
# A storm that comes over minutes: after so many messages of a route within a minute, what follows
# is told together.
MOST_MESSAGES = 4
MOST_ITEMS = 1_000  # in one message: programs get each of them
MESSAGES_TIME = timedelta(minutes=1)
# More messages than that for a destination that does not take them become one.
MOST_WAITING = 3


@dataclass(frozen=True, slots=True)
class Planned:
    """Changes of items that were looked at, and messages that were made of them."""

    changes: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class _Held:
    """Whether an item is muted or under maintenance."""

    rules: RuleSet
    maintenance: Maintenance
    now: datetime

    def __call__(self, item: Item) -> bool:
        subject = item.rule_subject
        return self.rules.is_muted(subject, self.now) or self.maintenance.covers(subject)


def plan(conn: Connection, config: Config, now: datetime) -> Planned:
    """Read what has changed, and put messages into the outbox. The caller commits."""
    routes = [each.route for each in read_routes(conn)]
    rules = read_rules(conn)
    maintenance = read_maintenance(conn, now, grace_seconds=config.stale_after_seconds)
    is_held = _Held(rules, maintenance, now)
    steps: dict[int, list[Step]] = defaultdict(list)
    for route in routes:
        if route.begun_at is None:
            begun = _begin(conn, route, now, is_held)
            outbox.write_episodes(conn, begun.kept)  # before their changes are followed
            steps[route.id].append(begun)
    changes = outbox.take_changes(conn, MOST_CHANGES)
    if changes and routes:
        _follow(conn, routes, changes, is_held)
    recent = outbox.count_recent(conn, now - MESSAGES_TIME)
    due = _by_route(outbox.read_due_episodes(conn, now + RECOVERY_GROUP))
    for route in routes:
        if route.id in due and recent.get(route.id, 0) < MOST_MESSAGES:
            steps[route.id].append(step(route, _first(due[route.id], now), now, is_held))
    for taken in (each for found in steps.values() for each in found):
        outbox.delete_episodes(conn, taken.ended)
        outbox.write_episodes(conn, taken.kept)
    outgoing = [
        Outgoing(route.destination_id, route.id, _write(telling, now, config.public_url), now)
        for route in routes
        for taken in steps[route.id]
        for telling in taken.tellings
    ]
    outgoing += _reports(conn, routes, now, config)
    insert_messages(conn, outgoing)
    return Planned(len(changes), len(outgoing))


def _begin(conn: Connection, route: Route, now: datetime, is_held: _Held) -> Step:
    outbox.begin_route(conn, route.id, now)
    if route.is_report:
        return Step()
    found = [item for item in outbox.read_new_open_items(conn, route.id) if route.matches(item)]
    return begin(route, found, now, is_held)


def _follow(
    conn: Connection, routes: Sequence[Route], changes: Sequence[Noted], is_held: _Held
) -> None:
    """Let the episodes of every route follow the changes."""
    items = outbox.read_items(conn, (each.item_id for each in changes))
    keys = {item.key for item in items.values()}
    for route in routes:
        if route.is_report:
            continue
        before = outbox.read_episodes(conn, route.id, keys)
        after: dict[tuple[str, str], Episode] = dict(before)
        for noted in changes:
            item = items.get(noted.item_id)
            if item is None:
                continue
            episode = follow(
                *(route, after.pop(item.key, None), item, noted.change, noted.changed_at),
                is_held=is_held(item),
            )
            if episode is not None:
                after[item.key] = episode
        outbox.delete_episodes(conn, (each for key, each in before.items() if key not in after))
        outbox.write_episodes(
            conn, (each for key, each in after.items() if each != before.get(key))
        )


def _first(due: Sequence[Episode], now: datetime) -> Sequence[Episode]:
    """Those that one message may tell of, the worst and oldest first; the others follow."""
    taken = sorted(due, key=lambda each: each.due_at or now)[:MOST_ITEMS]
    return sorted(taken, key=lambda each: (each.item.rank, each.item.since, each.item.id))


def _write(telling: Telling, now: datetime, public_url: str | None) -> Message:
    """The message; one that fails must not stop all others."""
    try:
        return write(telling, now, public_url)
    except Exception:
        logger.exception("a message could not be written in full")
        return write_short(telling)


def _by_route(episodes: Iterable[Episode]) -> dict[int, list[Episode]]:
    found: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        found[episode.route_id].append(episode)
    return found


def _reports(
    conn: Connection, routes: Iterable[Route], now: datetime, config: Config
) -> list[Outgoing]:
    """The reports that are due. One that was due while the hub was away is sent once."""
    outgoing = []
    attempts = Attempts(conn, "written")
    for route in routes:
        if not route.is_report or (route.next_report_at is not None and route.next_report_at > now):
            continue
        outbox.plan_report(conn, route.id, route.report_after(now))
        if route.next_report_at is None:
            continue
        with attempts.attempt(f"the report {route.name}"), conn.transaction():
            message = write_report(conn, route, now, config.public_url)
            outgoing.append(Outgoing(route.destination_id, route.id, message, now))
    return outgoing


def merge_heaps(conn: Connection, now: datetime) -> int:
    """Make one message of those that a destination does not take; return how many were merged."""
    merged = 0
    for heap in outbox.read_heaps(conn, now, MOST_WAITING, OLD):
        taken = outbox.take_heap(conn, heap, now)
        first, last = taken[0].created_at, taken[-1].created_at
        message = merge([each.message for each in taken], first, last, now)
        insert_messages(
            conn, [Outgoing(heap.destination_id, None, message, now, heap.attempts, heap.due_at)]
        )
        merged += len(taken)
    return merged
