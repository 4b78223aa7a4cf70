"""How long to wait before the next try. Pure, except for random numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

# The longest wait after the first, the second and every further failure.
RETRY_BACKOFF_SECONDS: tuple[float, ...] = (5.0, 15.0, 60.0)
# A hub, or a proxy with a wrong clock, must not be able to silence a sender for ever.
LONGEST_RETRY_AFTER_SECONDS = 3_600.0
# Senders that were told the same second must not all come back in it.
RETRY_AFTER_JITTER_SECONDS = 1.0

_RANDOM = random.Random()  # separate: seeding the host program's must not synchronise senders
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def full_jitter(longest_seconds: float, rng: random.Random = _RANDOM) -> float:
    """A random wait from 0 to `longest_seconds`.

    Source: AWS Architecture Blog, Exponential Backoff And Jitter, 2015.
    """
    return rng.uniform(0.0, longest_seconds)


def backoff_seconds(
    tries: int,
    steps: Sequence[float] = RETRY_BACKOFF_SECONDS,
    rng: random.Random = _RANDOM,
) -> float:
    """How long to wait after `tries` failures (1 or more); the last step is for all others."""
    return full_jitter(steps[min(max(tries, 1), len(steps)) - 1], rng)


def around(seconds: float, spread: float = 0.2, rng: random.Random = _RANDOM) -> float:
    """`seconds`, plus or minus a fifth, so that several senders do not run in step."""
    return seconds * rng.uniform(1 - spread, 1 + spread)


def after_retry_after(seconds: float, rng: random.Random = _RANDOM) -> float:
    """The wait that a hub asked for: never shorter, and longer by a random part."""
    spread = max(RETRY_AFTER_JITTER_SECONDS, seconds / 4)
    return seconds + spread * (1.0 - rng.random())  # random() may be 0 and is never 1


def parse_retry_after(
    value: str | None, *, date: str | None = None, now: datetime | None = None
) -> float | None:
    """Seconds of a Retry-After header in either form; None if it is absent or invalid.

    A date is compared with the response's own Date header, if any: our clock may be wrong.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    until = parse_date(text)
    if until is None:
        return None
    since = parse_date(date) or now or datetime.now(timezone.utc)
    seconds = (until - since).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def parse_date(text: str | None) -> datetime | None:
    """The instant of an HTTP date header; None if it is invalid."""
    try:
        instant = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)
