"""How long to wait before the next try. Pure but for the dice."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The longest wait after a first, second, and any further failure.
RETRY_BACKOFF_SECONDS: tuple[float, ...] = (5.0, 15.0, 60.0)
# A hub, or a proxy with a wrong clock, must not be able to silence a sender for ever.
LONGEST_RETRY_AFTER_SECONDS = 3_600.0
# A fleet told the same second must not come back in it.
RETRY_AFTER_JITTER_SECONDS = 1.0

_DICE = random.Random()  # of our own: seeding the host program's must not synchronise senders
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def full_jitter(longest_seconds: float, dice: random.Random = _DICE) -> float:
    """Anything from nothing to `longest_seconds`, at the last step as at the first.

    Source: AWS Architecture Blog, Exponential Backoff And Jitter, 2015.
    """
    return dice.uniform(0.0, longest_seconds)


def backoff_seconds(
    tries: int,
    steps: Sequence[float] = RETRY_BACKOFF_SECONDS,
    dice: random.Random = _DICE,
) -> float:
    """How long to wait after `tries` failures (1 or more); the last step holds from then on."""
    return full_jitter(steps[min(max(tries, 1), len(steps)) - 1], dice)


def around(seconds: float, spread: float = 0.2, dice: random.Random = _DICE) -> float:
    """`seconds`, give or take a fifth: a pace that several senders do not keep in step."""
    return seconds * dice.uniform(1 - spread, 1 + spread)


def after_retry_after(seconds: float, dice: random.Random = _DICE) -> float:
    """The wait that a hub asked for: never shorter, and a little longer for each differently."""
    spread = max(RETRY_AFTER_JITTER_SECONDS, seconds / 4)
    return seconds + spread * (1.0 - dice.random())  # random() may be 0 and is never 1


def parse_retry_after(
    value: str | None, *, date: str | None = None, now: datetime | None = None
) -> float | None:
    """Seconds of a Retry-After header in either form; None when it is absent or is neither.

    A date is measured from the answer's own Date header where there is one: our clock may be wrong.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    until = parse_date(text)
    if until is None:
        return None
    since = parse_date(date) or now or datetime.now(UTC)
    seconds = (until - since).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def parse_date(text: str | None) -> datetime | None:
    """The instant of an HTTP header; None where it is none."""
    try:
        instant = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
