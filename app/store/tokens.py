"""The record of the tokens that were made, and which of them are revoked; the caller commits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from app.database.pool import Connection
from app.store.sql import load_queries

SQL = load_queries("tokens")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token that was made. `job_types` is empty for one without a limit."""

    id: str
    name: str
    scope: str
    job_types: list[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


def insert_token(conn: Connection, token: TokenRow) -> None:
    """Record a token; before it is handed out, as one that is not known cannot be revoked."""
    conn.execute(SQL["insert_token"], asdict(token))


def read_tokens(conn: Connection) -> list[TokenRow]:
    """Every token that was ever made, the oldest first."""
    with conn.cursor(row_factory=class_row(TokenRow)) as cursor:
        return cursor.execute(SQL["read_tokens"]).fetchall()


def revoke_token(conn: Connection, token_id: str) -> TokenRow | None:
    """Revoke one; None when there is none of that id. Idempotent: the first instant stays."""
    with conn.cursor(row_factory=class_row(TokenRow)) as cursor:
        return cursor.execute(SQL["revoke_token"], {"id": token_id}).fetchone()


def read_revoked_ids(conn: Connection) -> frozenset[str]:
    """The ids of what is revoked and has not expired."""
    return frozenset(row[0] for row in conn.execute(SQL["read_revoked_ids"]))
