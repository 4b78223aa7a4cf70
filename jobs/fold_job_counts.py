"""Adds what triggers log to the counts that the API reads: changes of the numbers of jobs, and ends
of runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.database.pool import Database
from app.store import counts as store


@dataclass(frozen=True, slots=True)
class Fold:
    """The result of a run: how many changes were added."""

    changes: int


def run_once(database: Database, config: Config, now: datetime | None = None) -> Fold:
    """Add each kind in one statement. Ignores `now`.

    Readers add what is still logged themselves, so a late run makes them slower and nothing wrong.
    """
    with database.transaction() as conn:
        store.fold_ends(conn)
        return Fold(store.fold_changes(conn))
