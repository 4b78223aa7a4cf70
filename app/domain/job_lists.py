"""How lists of jobs are sorted and searched, and how long their texts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Sort = Literal["started_at", "duration", "bytes", "speed"]
SORTS: tuple[Sort, ...] = get_args(Sort)

MOST_EXAMINED = 10_000  # jobs that one page of a search looks at
LONGEST_LISTED_TEXT = 500  # characters of an error in a list; ten whole ones may be megabytes


@dataclass(frozen=True)
class Order:
    """How a list is sorted; the newest or largest first, if not ascending. `id` decides ties."""

    sort: Sort = "started_at"
    is_ascending: bool = False


NEWEST_FIRST = Order()


def shorten(text: str) -> str:
    """A text as lists show it: at most LONGEST_LISTED_TEXT characters, with an ellipsis if cut."""
    if len(text) <= LONGEST_LISTED_TEXT:
        return text
    return f"{text[: LONGEST_LISTED_TEXT - 1]}…"
