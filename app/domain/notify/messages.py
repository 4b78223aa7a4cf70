"""The words of messages: a short subject, and a text that says what, since when, and what to check.

Texts that senders wrote are in it as `plain` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from app.domain.attention.words import duration, instant, size
from app.domain.notify.causes import Group, group
from app.domain.notify.episodes import Episode, Event, Telling
from app.domain.notify.items import Item
from app.domain.notify.plain import plain
from app.domain.notify.programs import for_programs, from_programs, page_of
from app.domain.runs import split_key

LONGEST_SUBJECT = 150
LONGEST_BODY = 8_000  # characters; services cut or divide longer ones
NAMED_IN_SUBJECT = 3  # groups
LISTED_IN_GROUP = 10
MOST_GROUPS = 30
MOST_NUMBERS = 8
LONGEST_TEXT = 300

KIND_WORDS: Mapping[str, str] = {
    "silent": "silent",
    "hung": "hung",
    "failed": "failed",
    "suspicious": "suspicious",
    "unusual": "unusual",
    "overdue": "overdue",
    "overlapping": "overlapping",
    "slow": "slow",
    "node_offline": "offline",
    "node_limit": "nearly full",
    "clock": "wrong clock",
    "losing": "losing updates",
    "hub": "trouble of the hub",
}


@dataclass(frozen=True)
class Message:
    """What is sent to one destination. `items`: for programs, see `for_programs`."""

    event: Event
    severity: str
    subject: str
    body: str
    html: str | None = None
    items: list[dict[str, Any]] = field(default_factory=list)


def make_test(destination: str) -> Message:
    """What `notify test` sends."""
    return Message(
        "test",
        "info",
        "Test message of Telemetry Hub",
        f"This destination ({plain(destination)}) receives the messages of Telemetry Hub.",
    )


def write(telling: Telling, now: datetime, public_url: str | None = None) -> Message:
    """The message of a telling. `public_url`: where people reach the hub; None: no links."""
    parts: list[tuple[Event, Sequence[Episode]]] = [
        ("opened", telling.opened),
        ("open", telling.open),
        ("recovered", telling.recovered),
    ]
    parts = [(event, episodes) for event, episodes in parts if episodes]
    told = [each.item for _, episodes in parts for each in episodes]
    subjects, sections = [], []
    for event, episodes in parts:
        groups = group(each.item for each in episodes)
        subjects.append(_subject(groups, event))
        sections.append(_section(groups, {each.item.id: each for each in episodes}, event, now))
    return Message(
        telling.event,
        _severity([each.item for each in (*telling.opened, *telling.open)]),
        _cut(" ".join(subjects), LONGEST_SUBJECT),
        _cut("\n\n".join([*sections, *_links(told, public_url)]), LONGEST_BODY),
        items=[
            for_programs(each, event, public_url) for event, episodes in parts for each in episodes
        ],
    )


def write_short(telling: Telling) -> Message:
    """The same without details: for items that cannot be described."""
    told = [*telling.opened, *telling.open, *telling.recovered]
    return Message(
        telling.event,
        _severity([each.item for each in told]),
        f"[{telling.event}] {len(told)} items",
        "\n".join(f"{each.item.kind}: {plain(each.item.summary)}" for each in told[:MOST_GROUPS]),
    )


def _severity(items: Sequence[Item]) -> str:
    """Of the worst item."""
    return min(items, key=lambda item: item.rank).severity if items else "info"


def title(item: Item) -> str:
    """Who has what: `db1 backup: failed`."""
    if item.kind == "hub":
        return "Telemetry Hub"
    job = None if item.job_id is None else split_key(item.job_id)[0]
    who = item.machine or job or item.subject
    kind = f" {plain(item.job_type, 40)}" if item.job_type else ""
    return f"{plain(who, 80)}{kind}: {KIND_WORDS.get(item.kind, item.kind)}"


def _subject(groups: Sequence[Group], event: Event) -> str:
    named = [_name(each) for each in groups[:NAMED_IN_SUBJECT]]
    if rest := _count(groups[NAMED_IN_SUBJECT:]):
        named.append(f"and {rest} more")
    count = _count(groups)
    lead = ""
    if event == "open" and count > 1:
        lead = f"{count} items are open: "
    elif len(groups) > 1:
        lead = f"{count} items: "
    tag = groups[0].items[0].severity if event == "opened" else event
    return f"[{tag}] {lead}{', '.join(named)}"


def _name(found: Group) -> str:
    if len(found.items) == 1:
        item = found.items[0]
        return f"{title(item)}: {plain(item.summary, 80)}" if item.kind == "hub" else title(item)
    cause = f" ({plain(found.cause, 80)})" if found.cause else ""
    return f"{len(found.items)} {KIND_WORDS.get(found.kind, found.kind)}{cause}"


def _count(groups: Sequence[Group]) -> int:
    return sum(len(each.items) for each in groups)


def _section(
    groups: Sequence[Group], episodes: Mapping[int, Episode], event: Event, now: datetime
) -> str:
    """One block for each group. `episodes`: by the number of their item."""
    blocks = []
    if event == "open":
        count = _count(groups)
        blocks.append("One item is open." if count == 1 else f"{count} items are open.")
    words = _recovered if event == "recovered" else _opened
    for found in groups[:MOST_GROUPS]:
        if len(found.items) == 1:
            lines = words(episodes[found.items[0].id], now)
        else:
            lines = _listed(found, is_over=event == "recovered")
        blocks.append("\n".join(lines))
    if rest := _count(groups[MOST_GROUPS:]):
        blocks.append(f"And {rest} more.")
    return "\n\n".join(blocks)


def _listed(found: Group, *, is_over: bool) -> Iterator[str]:
    yield f"{_name(found)}:"
    for item in found.items[:LISTED_IN_GROUP]:
        yield f"- {title(item)} since {instant(item.since)}"
    if len(found.items) > LISTED_IN_GROUP:
        yield f"- and {len(found.items) - LISTED_IN_GROUP} more"
    if is_over:
        return
    if found.cause:
        yield f"All have the same {plain(found.cause, 100)}: check it first."
    yield f"Check: {found.items[0].advice}"


def _opened(episode: Episode, now: datetime) -> Iterator[str]:
    item = episode.item
    yield _who(item)
    yield plain(item.summary)
    yield f"Since {instant(item.since)}, for {duration((now - item.since).total_seconds())}."
    if episode.returns:
        yield f"It was over and came back {_times(episode.returns)}."
    yield from _numbers(item.evidence)
    yield f"Check: {item.advice}"


def _recovered(episode: Episode, now: datetime) -> Iterator[str]:
    item = episode.item
    ended = item.until or now
    yield _who(item)
    lasted = duration((ended - item.since).total_seconds())
    yield f"Over since {instant(ended)}. It lasted {lasted}."
    if episode.returns:
        yield f"It was over and came back {_times(episode.returns)} meanwhile."
    yield f"It was: {plain(item.summary)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _who(item: Item) -> str:
    parts = [title(item)]
    if item.job_id is not None:
        job_id, run = split_key(item.job_id)
        parts.append(f"job {plain(job_id, 100)}" + (f" (run {run})" if run > 1 else ""))
    if item.repository_id is not None:
        parts.append(f"repository {plain(item.repository_id, 100)}")
    return ", ".join(parts)


# What numbers are called in the evidence of items ends with their unit.
_UNITS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("_seconds", duration),
    ("_bytes", size),
    ("_bps", lambda value: f"{size(value)}/s"),
    ("_percent", lambda value: f"{value:g} %"),
)


def _numbers(evidence: Mapping[str, Any]) -> Iterator[str]:
    """The numbers behind an item, one a line."""
    shown = 0
    for name, value in evidence.items():
        text = _number(name, value)
        if text and shown < MOST_NUMBERS:
            shown += 1
            yield text


def _number(name: str, value: Any) -> str | None:
    label: str = name
    form: Callable[[Any], str] = str
    for ending, unit in _UNITS:
        if name.endswith(ending):
            label, form = name.removesuffix(ending), unit
            break
    if name == "bytes_transferred":
        label, form = "moved", size
    label = plain(label.removesuffix("_at").replace("_", " "), 40).capitalize()
    if isinstance(value, str):
        shown = value[:16].replace("T", " ") + " UTC" if name.endswith("_at") else value
        return f"{label}: {plain(shown, LONGEST_TEXT)}"
    if isinstance(value, dict):
        if not all(isinstance(value.get(part), int | float) for part in ("median", "low", "high")):
            return None
        return f"{label}: {form(value['median'])} ({form(value['low'])} to {form(value['high'])})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return f"{label}: {form(value)}"


def _links(items: Sequence[Item], public_url: str | None) -> list[str]:
    if public_url is None:
        return []
    pages = {link for item in items if (link := page_of(item, public_url))}
    return sorted(pages) if len(pages) == 1 else [f"{public_url.rstrip('/')}/"]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def merge(messages: Sequence[Message], first: datetime, last: datetime, now: datetime) -> Message:
    """One message instead of several that could not be delivered: the last word about each item.

    `messages`: in order; `first` and `last`: when they were written.
    """
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for message in messages:
        for item in message.items:
            newest.pop((item["kind"], item["subject"]), None)
            newest[item["kind"], item["subject"]] = item
    episodes = [from_programs(item) for item in newest.values()]
    telling = Telling(
        "digest",
        open=[each for each in episodes if each.state == "told"],
        recovered=[each for each in episodes if each.state == "ending"],
    )
    message = write(telling, now)
    lead = (
        f"{len(messages)} messages from {instant(first)} to {instant(last)} could not be "
        "delivered. This is what they come to."
    )
    return replace(
        message,
        body=_cut(f"{lead}\n\n{message.body}", LONGEST_BODY),
        items=list(newest.values()),
    )
