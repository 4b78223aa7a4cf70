"""Updates stored as the hub's writer stores them."""

from __future__ import annotations

from app.database.pool import Connection
from app.domain.updates import Update
from app.ingest.transaction import Receipt, store_updates

LATE_DAYS = 28


def store(conn: Connection, *updates: Update) -> list[Receipt]:
    """Store them in one transaction; fails if one is refused."""
    receipts = []
    with conn.transaction():
        for outcome in store_updates(conn, updates, LATE_DAYS):
            assert isinstance(outcome, Receipt), outcome
            receipts.append(outcome)
    return receipts
