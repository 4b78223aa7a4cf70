"""Items as programs get them: in a webhook, and kept in the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.domain.attention.items import SEVERITIES
from app.domain.notify.episodes import Episode, State
from app.domain.notify.items import Item
from app.domain.runs import run_key, split_key

# Fields that are the same as those of an item.
_SAME = (
    *("id", "kind", "severity", "subject", "node_id", "vm_name", "job_type"),
    *("repository_id", "summary", "advice", "evidence"),
)


def for_programs(episode: Episode, event: str, public_url: str | None) -> dict[str, Any]:
    """What an event says of an episode's item. Texts are as senders wrote them."""
    item = episode.item
    job_id, run = (None, None) if item.job_id is None else split_key(item.job_id)
    return {
        "event": event,
        **{name: getattr(item, name) for name in _SAME},
        "job_id": job_id,
        "run": run,
        "since": item.since,
        "until": item.until,
        "returns": episode.returns,
        "url": None if public_url is None else page_of(item, public_url),
    }


def from_programs(item: Mapping[str, Any]) -> Episode:
    """The inverse of `for_programs`, from JSON."""
    key = None if item["job_id"] is None else run_key(item["job_id"], item["run"])
    since = datetime.fromisoformat(item["since"])
    until = None if item["until"] is None else datetime.fromisoformat(item["until"])
    found = Item(
        **{name: item[name] for name in _SAME},
        rank=SEVERITIES.index(item["severity"]) + 1,
        since=since,
        noticed_at=since,
        until=until,
        job_id=key,
    )
    state: State = "ending" if item["event"] == "recovered" else "told"
    return Episode(0, found, state, returns=item["returns"])


def page_of(item: Item, public_url: str) -> str:
    """The address of the page about what an item is about."""
    base = public_url.rstrip("/")
    if item.job_id is not None:
        job_id, run = split_key(item.job_id)
        return f"{base}/jobs/{quote(job_id, safe='')}?run={run}"
    if item.node_id is not None:
        return f"{base}/nodes/{quote(item.node_id, safe='')}"
    if item.vm_name is not None:
        return f"{base}/machines/{quote(item.vm_name, safe='')}"
    return f"{base}/"
