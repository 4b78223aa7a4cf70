"""For tasks that change many rows: short transactions, in which a bad row stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from app.database.pool import Connection, Database
from app.errors import Unavailable

logger = logging.getLogger("hub.tasks")

# A page blocks the embedded database and the updates of its jobs.
PAGE_ROWS = 1_000

Row = TypeVar("Row")
Key = TypeVar("Key")
Changed = TypeVar("Changed")


def read_pages(
    database: Database, read: Callable[[Connection, Row | None, int], list[Row]]
) -> Iterator[list[Row]]:
    """Pages of up to PAGE_ROWS rows, none empty, by key: some rows may stay unchanged.

    `read` returns the rows after a row, or the first ones.
    """
    after: Row | None = None
    while True:
        with database.reading() as conn:
            page = read(conn, after, PAGE_ROWS)
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]


def change_page(
    database: Database,
    keys: Sequence[Key],
    change: Callable[[Connection, Sequence[Key]], list[Changed]],
    what: str,
) -> tuple[list[Changed], int]:
    """Change rows in one transaction; on an error halve them until the bad row is alone.

    Returns what was changed, and how many rows could not be: they are logged as `what`. Raises
    DatabaseUnavailable.
    """
    try:
        with database.transaction() as conn:
            return change(conn, keys), 0
    except Unavailable:
        raise
    except Exception:
        if len(keys) == 1:
            logger.exception("the %s %s cannot be changed", what, keys[0])
            return [], 1
    middle = len(keys) // 2
    changed, errors = change_page(database, keys[:middle], change, what)
    more, more_errors = change_page(database, keys[middle:], change, what)
    return changed + more, errors + more_errors
