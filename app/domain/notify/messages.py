"""The words of messages: a short subject, and a text that says what, since when, and what to check.

Texts that senders wrote are in it as `plain` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.domain.attention.items import SEVERITIES
from app.domain.attention.words import duration, instant, size
from app.domain.notify.causes import Group, group
from app.domain.notify.episodes import Episode, Event, State, Telling
from app.domain.notify.items import Item
from app.domain.notify.plain import plain
from app.domain.runs import run_key, split_key

LONGEST_SUBJECT = 150
LONGEST_BODY = 8_000  # characters; services cut or divide longer ones
NAMED_IN_SUBJECT = 3  # groups
LISTED_IN_GROUP = 10
MOST_GROUPS = 30
MOST_NUMBERS = 8
MOST_SENT_ITEMS = 500  # in the body of a webhook
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
    """What is sent to one destination. `items`: for programs, at most MOST_SENT_ITEMS."""

    event: Event
    severity: str
    subject: str
    body: str
    html: str | None = None
    items: list[dict[str, Any]] = field(default_factory=list)


def test_message(destination: str) -> Message:
    """What `notify test` sends."""
    return Message(
        "test",
        "info",
        "Test message of Telemetry Hub",
        f"This destination ({plain(destination)}) receives the messages of Telemetry Hub.",
    )


test_message.__test__ = False  # type: ignore[attr-defined]  # it is not one of pytest's


def write(telling: Telling, now: datetime, public_url: str | None = None) -> Message:
    """The message of a telling. `public_url`: where people reach the hub; None: no links."""
    told = [*telling.opened, *telling.open]
    subjects, sections = [], []
    for tag, episodes, words in (
        (None, telling.opened, _opened),
        ("open", telling.open, _opened),
        ("recovered", telling.recovered, _recovered),
    ):
        if not episodes:
            continue
        groups = group(each.item for each in episodes)
        subjects.append(f"[{tag or groups[0].items[0].severity}] {_subject(groups, tag)}")
        sections.append(
            _section(groups, {each.item.id: each for each in episodes}, words, now, tag)
        )
    worst = min((each.item for each in told), key=lambda item: item.rank, default=None)
    links = _links([each.item for each in (*told, *telling.recovered)], public_url)
    return Message(
        telling.event,
        worst.severity if worst is not None else "info",
        _cut(" ".join(subjects), LONGEST_SUBJECT),
        _cut("\n\n".join([*sections, *links]), LONGEST_BODY),
        items=[
            _for_programs(each, event, public_url)
            for event, episodes in (
                ("opened", telling.opened),
                ("open", telling.open),
                ("recovered", telling.recovered),
            )
            for each in episodes
        ][:MOST_SENT_ITEMS],
    )


def title(item: Item) -> str:
    """Who has what: `db1 backup: failed`."""
    if item.kind == "hub":
        return "Telemetry Hub"
    job = None if item.job_id is None else split_key(item.job_id)[0]
    who = item.machine or job or item.subject
    kind = f" {plain(item.job_type, 40)}" if item.job_type else ""
    return f"{plain(who, 80)}{kind}: {KIND_WORDS.get(item.kind, item.kind)}"


def _subject(groups: Sequence[Group], tag: str | None) -> str:
    count = sum(len(each.items) for each in groups)
    named = [_name(each) for each in groups[:NAMED_IN_SUBJECT]]
    if len(groups) > NAMED_IN_SUBJECT:
        named.append(f"and {count - sum(len(g.items) for g in groups[:NAMED_IN_SUBJECT])} more")
    lead = ""
    if tag == "open" and count > 1:
        lead = f"{count} items are open: "
    elif len(groups) > 1:
        lead = f"{count} items: "
    return lead + ", ".join(named)


def _name(found: Group) -> str:
    if len(found.items) == 1:
        item = found.items[0]
        return f"{title(item)}: {plain(item.summary, 80)}" if item.kind == "hub" else title(item)
    cause = f" ({plain(found.cause, 80)})" if found.cause else ""
    return f"{len(found.items)} {KIND_WORDS.get(found.kind, found.kind)}{cause}"


def _section(
    groups: Sequence[Group],
    episodes: Mapping[int, Episode],
    words: Any,
    now: datetime,
    tag: str | None,
) -> str:
    """One block for each group."""
    blocks = []
    if tag == "open":
        count = sum(len(each.items) for each in groups)
        blocks.append("One item is open." if count == 1 else f"{count} items are open.")
    for found in groups[:MOST_GROUPS]:
        listed = found.items[:LISTED_IN_GROUP]
        if len(found.items) == 1:
            blocks.append("\n".join(words(episodes[listed[0].id], now)))
            continue
        lines = [f"{_name(found)}:"]
        lines += [f"- {title(item)} since {instant(item.since)}" for item in listed]
        if len(found.items) > len(listed):
            lines.append(f"- and {len(found.items) - len(listed)} more")
        if words is _opened:
            if found.cause:
                lines.append(f"All have the same {plain(found.cause, 100)}: check it first.")
            lines.append(f"Check: {listed[0].advice}")
        blocks.append("\n".join(lines))
    if len(groups) > MOST_GROUPS:
        more = sum(len(each.items) for each in groups[MOST_GROUPS:])
        blocks.append(f"And {more} more.")
    return "\n\n".join(blocks)


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
    if isinstance(value, dict) and {"median", "low", "high"} <= value.keys():
        return f"{label}: {form(value['median'])} ({form(value['low'])} to {form(value['high'])})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return f"{label}: {form(value)}"


def _links(items: Sequence[Item], public_url: str | None) -> list[str]:
    if public_url is None:
        return []
    pages = {link for item in items if (link := page_of(item, public_url))}
    return sorted(pages) if len(pages) == 1 else [f"{public_url.rstrip('/')}/"]


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


def _for_programs(episode: Episode, event: str, public_url: str | None) -> dict[str, Any]:
    item = episode.item
    job_id, run = (None, None) if item.job_id is None else split_key(item.job_id)
    return {
        "event": event,
        "id": item.id,
        "kind": item.kind,
        "severity": item.severity,
        "subject": item.subject,
        "job_id": job_id,
        "run": run,
        "node_id": item.node_id,
        "vm_name": item.vm_name,
        "job_type": item.job_type,
        "repository_id": item.repository_id,
        "since": item.since,
        "until": item.until,
        "summary": item.summary,
        "advice": item.advice,
        "evidence": item.evidence,
        "returns": episode.returns,
        "url": None if public_url is None else page_of(item, public_url),
    }


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
    episodes = [_from_programs(item) for item in newest.values()]
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
        items=list(newest.values())[-MOST_SENT_ITEMS:],
    )


# Fields of an item that are the same for programs.
_SAME = (
    *("id", "kind", "severity", "subject", "node_id", "vm_name", "job_type"),
    *("repository_id", "summary", "advice", "evidence"),
)


def _from_programs(item: Mapping[str, Any]) -> Episode:
    """The inverse of `_for_programs`, from JSON."""
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
