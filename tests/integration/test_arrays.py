"""Array literals arrive in the database as what they were."""

from __future__ import annotations

from typing import Any

import pytest

from app.database.pool import Database
from app.store.arrays import execute

TEXTS = ["", "a", "NULL", "null", '"', "\\", '\\"', "a,b", "{x}", " ", "\n\t", "ä😀", "\x01", None]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", TEXTS),
        ("text", ["plain", None]),
        ("bigint", [0, -1, 2**63 - 1, None]),
        ("double precision", [0.1, 1e300, 5e-324, 1.0, 99.99999999999999, None]),
        ("boolean", [True, False, None]),
        ("bigint", []),
    ],
)
def test_values_survive(database: Database, kind: str, values: list[Any]) -> None:
    with database.reading() as conn:
        row = execute(conn, f"SELECT %(values)s::{kind}[]", {"values": values}).fetchone()
    assert row is not None
    assert row[0] == values


def test_column_of_nothing_is_filled_up_with_null(database: Database) -> None:
    query = "SELECT * FROM unnest(%(a)s::bigint[], %(b)s::text[])"
    with database.reading() as conn:
        rows = execute(conn, query, {"a": [1, 2], "b": [None, None]}).fetchall()
    assert rows == [(1, None), (2, None)]
