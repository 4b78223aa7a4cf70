"""Changes of items, episodes and messages on their way, for the task notify; the caller commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from psycopg.rows import class_row, dict_row

from app.database.pool import Connection
from app.domain.notify.episodes import Change, Episode
from app.domain.notify.items import Item
from app.domain.notify.messages import Message
from app.store.sql import load_queries

ITEM_COLUMNS = """attention.id, attention.kind, severity, rank, attention.subject, since,
noticed_at, summary, advice, until, job_id, node_id, vm_name, job_type, repository_id, evidence,
acknowledged_at IS NOT NULL AS is_acknowledged"""
_EPISODE = "route_id, state, due_at, told_rank, told_at, returns"

SQL = load_queries("outbox", item=ITEM_COLUMNS, episode=_EPISODE)

_EPISODE_NAMES = tuple(_EPISODE.split(", "))
MOST_DUE = 5_000  # episodes of one step


@dataclass(frozen=True, slots=True)
class Noted:
    """A change of an item, as a trigger noted it."""

    n: int
    item_id: int
    change: Change
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Heap:
    """Messages that wait for one destination for too long."""

    destination_id: int
    ids: Sequence[int]
    attempts: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this process delivers now."""

    id: int
    destination_id: int
    created_at: datetime
    message: Message
    attempts: int = 1
    give_up_at: datetime | None = None


def has_work(conn: Connection, now: datetime) -> bool:
    """Whether there is anything to plan or to send."""
    row = conn.execute(SQL["has_work"], {"now": now}).fetchone()
    return row is not None and row[0]


def take_changes(conn: Connection, limit: int) -> list[Noted]:
    """The oldest changes, in order, which are forgotten."""
    with conn.cursor(row_factory=class_row(Noted)) as cursor:
        rows = cursor.execute(SQL["take_changes"], {"limit": limit}).fetchall()
    return sorted(rows, key=lambda each: each.n)


def read_items(conn: Connection, ids: Iterable[int]) -> dict[int, Item]:
    """Items by id."""
    with conn.cursor(row_factory=class_row(Item)) as cursor:
        rows = cursor.execute(SQL["read_items"], {"ids": sorted(set(ids))}).fetchall()
    return {item.id: item for item in rows}


def read_new_open_items(conn: Connection, route_id: int) -> list[Item]:
    """The open items of which the route has no episode, the worst and oldest first."""
    with conn.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(SQL["read_open_items"], {"route_id": route_id}).fetchall()


def read_episodes(
    conn: Connection, route_id: int, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Episode]:
    """The episodes of a route by kind and subject."""
    wanted = sorted(set(keys))
    params = {
        "route_id": route_id,
        "kinds": [kind for kind, _ in wanted],
        "subjects": [subject for _, subject in wanted],
    }
    return {each.item.key: each for each in _episodes(conn, "read_episodes", params)}


def read_due_episodes(conn: Connection, until: datetime) -> list[Episode]:
    """At most MOST_DUE episodes that are due by then, in this order."""
    return _episodes(conn, "read_due_episodes", {"until": until, "limit": MOST_DUE})


def _episodes(conn: Connection, query: str, params: dict[str, Any]) -> list[Episode]:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL[query], params).fetchall()
    found = []
    for row in rows:
        episode = {name: row.pop(name) for name in _EPISODE_NAMES}
        found.append(Episode(item=Item(**row), **episode))
    return found


def write_episodes(conn: Connection, episodes: Iterable[Episode]) -> None:
    """Store episodes as they are now."""
    rows = [
        {
            **{name: getattr(each, name) for name in _EPISODE_NAMES},
            "kind": each.item.kind,
            "subject": each.item.subject,
            "item_id": each.item.id,
        }
        for each in episodes
    ]
    if rows:
        conn.execute(SQL["write_episodes"], {"episodes": _json(rows)})


def delete_episodes(conn: Connection, episodes: Iterable[Episode]) -> None:
    """Forget episodes."""
    rows = [
        {"route_id": each.route_id, "kind": each.item.kind, "subject": each.item.subject}
        for each in episodes
    ]
    if rows:
        conn.execute(SQL["delete_episodes"], {"episodes": _json(rows)})


def begin_route(conn: Connection, route_id: int, now: datetime) -> None:
    """Note that what was open has been told."""
    conn.execute(SQL["begin_route"], {"id": route_id, "now": now})


def plan_report(conn: Connection, route_id: int, at: datetime) -> None:
    """Note when a route's next report is due."""
    conn.execute(SQL["plan_report"], {"id": route_id, "at": at})


def count_recent(conn: Connection, since: datetime) -> dict[int, int]:
    """How many messages each route has made since then."""
    return dict(conn.execute(SQL["count_recent"], {"since": since}).fetchall())


def read_heaps(conn: Connection, now: datetime, most: int, old: timedelta) -> list[Heap]:
    """More than `most` messages for one destination that failed, or that are old."""
    params = {"now": now, "most": most, "old": now - old}
    return [Heap(*row) for row in conn.execute(SQL["read_heaps"], params)]


def take_heap(conn: Connection, heap: Heap, now: datetime) -> list[Claimed]:
    """The messages of a heap, which are settled as merged."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["read_messages"], {"ids": list(heap.ids)}).fetchall()
    conn.execute(SQL["merge"], {"ids": list(heap.ids), "now": now})
    return [
        Claimed(row.pop("id"), heap.destination_id, row.pop("created_at"), Message(**row))
        for row in rows
    ]


def claim(
    conn: Connection,
    holder: str,
    now: datetime,
    lease: timedelta,
    *,
    busy: Iterable[int] = (),
    only: int | None = None,
    limit: int = 1,
) -> list[Claimed]:
    """One due message of each destination that has none on its way, at most `limit`.

    `busy`: destinations that are left out; `only`: of this one.
    """
    params = {
        "now": now,
        "busy": sorted(busy),
        "only": only,
        "limit": limit,
        "claim": holder,
        "lease": lease,
    }
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["claim"], params).fetchall()
    names = ("id", "destination_id", "created_at", "attempts", "give_up_at")
    return [
        Claimed(**{name: row.pop(name) for name in names}, message=Message(**row)) for row in rows
    ]


def read_addresses(conn: Connection, ids: Iterable[int] | None = None) -> dict[int, str]:
    """Sealed addresses by destination; of all without `ids`."""
    params = {"ids": None if ids is None else sorted(ids)}
    return dict(conn.execute(SQL["read_addresses"], params).fetchall())


def write_address(conn: Connection, destination_id: int, sealed: str) -> None:
    """Replace a sealed address."""
    conn.execute(SQL["write_address"], {"id": destination_id, "sealed": sealed})


def settle(
    conn: Connection, claimed: Claimed, holder: str, state: str, now: datetime, error: str | None
) -> bool:
    """Note that a message was sent or given up (`dead`); False: another process has taken it."""
    params = {"id": claimed.id, "claim": holder, "state": state, "now": now, "error": error}
    return conn.execute(SQL["settle"], params).rowcount == 1


def postpone(conn: Connection, claimed: Claimed, holder: str, due_at: datetime, error: str) -> bool:
    """Note a failed attempt and when the next is due; False: another process has taken it."""
    params = {"id": claimed.id, "claim": holder, "due_at": due_at, "error": error}
    return conn.execute(SQL["postpone"], params).rowcount == 1


def note_outcome(conn: Connection, destination_id: int, now: datetime, error: str | None) -> None:
    """Note when a message to a destination was last delivered, or failed and why."""
    query = "note_success" if error is None else "note_failure"
    conn.execute(SQL[query], {"id": destination_id, "now": now, "error": error})


def read_environment(conn: Connection) -> dict[str, tuple[int, str]]:
    """The destinations of HUB_NOTIFY_URLS: id and sealed address by name."""
    return {row[1]: (row[0], row[2]) for row in conn.execute(SQL["read_environment"])}


def delete_environment(conn: Connection, *, but: Iterable[str]) -> None:
    """Delete the destinations of HUB_NOTIFY_URLS with other names."""
    conn.execute(SQL["delete_environment"], {"names": sorted(but)})


def delete_settled(conn: Connection, before: datetime) -> int:
    """Delete messages that were sent or given up before then; return how many."""
    return conn.execute(SQL["delete_settled"], {"before": before}).rowcount


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(rows, option=orjson.OPT_UTC_Z).decode()
