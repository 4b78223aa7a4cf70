"""When a message that could not be delivered is sent again."""

from __future__ import annotations

import random
from datetime import timedelta

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 900.0
GIVE_UP = timedelta(days=1)  # then it is a dead letter


def wait_after(attempts: int, chance: random.Random | None = None) -> timedelta:
    """Exponential, with equal jitter: half of the time and a random part of the other half.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts - 1, 20))
    return timedelta(seconds=longest / 2 + (chance or random).uniform(0, longest / 2))
