"""How lists of jobs are sorted and searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Sort = Literal["started_at", "duration", "bytes", "speed"]
SORTS: tuple[Sort, ...] = get_args(Sort)

MOST_EXAMINED = 5_000  # jobs that one page of a search looks at


@dataclass(frozen=True)
class Order:
    """How a list is sorted; the newest or largest first, if not ascending. `id` decides ties."""

    sort: Sort = "started_at"
    is_ascending: bool = False


NEWEST_FIRST = Order()
