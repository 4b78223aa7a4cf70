"""The record of issued and revoked tokens; the caller commits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from app.database.pool import Connection
from app.store.sql import load_queries

SQL = load_queries("tokens")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One issued token. `job_types` is empty for one without a limit."""

    id: str
    name: str
    scope: str
    job_types: list[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


def insert_token(conn: Connection, token: TokenRow) -> None:
    """Record a token. Call it before the token is shown: only recorded tokens can be revoked."""
    conn.execute(SQL["insert_token"], asdict(token))


def read_tokens(conn: Connection) -> list[TokenRow]:
    """Every token ever issued, the oldest first."""
    with conn.cursor(row_factory=class_row(TokenRow)) as cursor:
        return cursor.execute(SQL["read_tokens"]).fetchall()


def revoke_token(conn: Connection, token_id: str) -> TokenRow | None:
    """Revoke a token; None if the id is unknown. Idempotent: the first instant stays."""
    with conn.cursor(row_factory=class_row(TokenRow)) as cursor:
        return cursor.execute(SQL["revoke_token"], {"id": token_id}).fetchone()


def read_revoked_ids(conn: Connection) -> frozenset[str]:
    """The ids of revoked tokens that have not expired."""
    return frozenset(row[0] for row in conn.execute(SQL["read_revoked_ids"]))
