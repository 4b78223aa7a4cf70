"""Episodes: what a route has told of a condition, and what it is to tell next.

A condition (kind and subject) that is over and returns within FLAP is one episode: it is told once,
and is recovered once it has been over for FLAP.

    waiting  it is to be told at `due_at`; `told_rank` is set if it had been told and got worse
    told     it has been told, and is told again at `due_at`, if at all
    ending   it is over, and is forgotten at `due_at`, with a word if the route tells recoveries
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from app.domain.notify.items import Item
from app.domain.notify.routes import Route
from app.domain.window import EPOCH

# What is noticed within so long is one message: a task finds many items in a few transactions.
GROUP = timedelta(seconds=2)
FLAP = timedelta(minutes=5)
# What gets worse sooner is the same story: a run that is silent is failed some minutes later.
WORSE_AFTER = timedelta(minutes=15)
OLD = timedelta(minutes=15)  # after that it is not news, but open
# How often to see whether a mute, a maintenance window or an acknowledgement has ended.
HELD = timedelta(minutes=1)
# A recovery waits anyway: those that are nearly due go with it.
RECOVERY_GROUP = timedelta(minutes=1)
FIVE_MINUTES = timedelta(minutes=5)

Change = Literal["opened", "worse", "ended"]
State = Literal["waiting", "told", "ending"]
Event = Literal["opened", "recovered", "open", "digest", "report", "test"]


@dataclass(frozen=True, slots=True)
class Episode:
    """A row of `episodes`, with its newest item. `returns`: how often it came back."""

    route_id: int
    item: Item
    state: State
    due_at: datetime | None = None
    told_rank: int | None = None
    told_at: datetime | None = None
    returns: int = 0


@dataclass(frozen=True, slots=True)
class Telling:
    """What one message is to say: of each event its episodes."""

    event: Event
    opened: Sequence[Episode] = ()
    open: Sequence[Episode] = ()
    recovered: Sequence[Episode] = ()


@dataclass
class Step:
    """What a route does at a moment: messages, episodes as they are then, and those that end."""

    tellings: list[Telling] = field(default_factory=list)
    kept: list[Episode] = field(default_factory=list)
    ended: list[Episode] = field(default_factory=list)


def begin(
    route: Route, items: Iterable[Item], now: datetime, is_held: Callable[[Item], bool]
) -> Step:
    """The first step of a route: what is open already is told in one message."""
    done = Step()
    told = []
    for item in items:
        episode = Episode(route.id, item, "waiting", now + HELD)
        if not item.is_acknowledged and not is_held(item):
            episode = _told(route, episode, now)
            told.append(episode)
        done.kept.append(episode)
    done.tellings = [Telling("open", open=told)] if told else []
    return done


def follow(
    route: Route,
    episode: Episode | None,
    item: Item,
    change: Change,
    at: datetime,
    *,
    is_held: bool,
) -> Episode | None:
    """The episode of a condition after a change of its item; None: there is none (any more).

    `is_held`: it is muted or under maintenance now. What ends then is not a recovery.
    """
    if change == "ended":
        if episode is None or episode.told_rank is None or is_held:
            return None
        return replace(episode, item=item, state="ending", due_at=_on_grid(route, at + FLAP))
    if episode is None:
        if not route.matches(item):
            return None
        return Episode(route.id, item, "waiting", _due(route, item, at))
    if episode.state == "ending":
        returns = episode.returns + 1
        episode = replace(episode, state="told", due_at=_repeat(route, at), returns=returns)
    episode = replace(episode, item=item)
    is_worse = episode.told_rank is not None and item.rank < episode.told_rank
    if episode.state == "waiting" or not is_worse:
        return episode
    assert episode.told_at is not None
    if at - episode.told_at < WORSE_AFTER:
        return replace(episode, told_rank=item.rank)
    return replace(episode, state="waiting", due_at=_due(route, item, at))


def step(
    route: Route, episodes: Sequence[Episode], now: datetime, is_held: Callable[[Item], bool]
) -> Step:
    """What a route tells now of the episodes that are due, or nearly due."""
    done = Step()
    if not any(each.due_at is not None and each.due_at <= now for each in episodes):
        return done
    quiet_until = route.quiet_until(now)
    opened: list[Episode] = []
    still_open: list[Episode] = []
    recovered: list[Episode] = []
    for episode in episodes:
        if episode.due_at is None or episode.due_at > now + _ahead(episode):
            continue
        item = episode.item
        if quiet_until is not None:
            done.kept.append(replace(episode, due_at=quiet_until))
        elif episode.state == "ending":
            done.ended.append(episode)
            if route.tells_recovery:
                recovered.append(episode)
        elif item.is_acknowledged and episode.told_rank is not None:
            done.kept.append(_told(route, episode, now))
        elif item.is_acknowledged or is_held(item):
            done.kept.append(replace(episode, due_at=now + HELD))
        else:
            done.kept.append(_told(route, episode, now))
            is_news = episode.state == "waiting" and not _is_old(route, episode, now)
            (opened if is_news else still_open).append(episode)
    done.tellings = _tellings(route, opened, still_open, recovered)
    return done


def _ahead(episode: Episode) -> timedelta:
    return RECOVERY_GROUP if episode.state == "ending" else GROUP


def _tellings(
    route: Route,
    opened: Sequence[Episode],
    still_open: Sequence[Episode],
    recovered: Sequence[Episode],
) -> list[Telling]:
    if route.digest == "five_minutes" and sum(map(bool, (opened, still_open, recovered))) > 1:
        return [Telling("digest", opened, still_open, recovered)]
    tellings = (
        Telling("opened", opened=opened),
        Telling("open", open=still_open),
        Telling("recovered", recovered=recovered),
    )
    return [each for each in tellings if each.opened or each.open or each.recovered]


def _told(route: Route, episode: Episode, now: datetime) -> Episode:
    return replace(
        episode,
        state="told",
        due_at=_repeat(route, now),
        told_rank=episode.item.rank,
        told_at=now,
    )


def _repeat(route: Route, now: datetime) -> datetime | None:
    return None if route.repeat_hours is None else now + timedelta(hours=route.repeat_hours)


def _due(route: Route, item: Item, at: datetime) -> datetime:
    old_enough_at = item.since + timedelta(seconds=route.minimum_age_seconds)
    return _on_grid(route, max(at + GROUP, old_enough_at))


def _on_grid(route: Route, due: datetime) -> datetime:
    """When a message that is due is sent: at once, or at the next full five minutes."""
    if route.digest != "five_minutes":
        return due
    return (EPOCH - (EPOCH - due) // FIVE_MINUTES * FIVE_MINUTES).astimezone(UTC)


def _is_old(route: Route, episode: Episode, now: datetime) -> bool:
    if episode.told_rank is not None:  # it got worse
        return False
    known_at = max(
        episode.item.noticed_at,
        episode.item.since + timedelta(seconds=route.minimum_age_seconds),
    )
    return now - known_at > OLD
