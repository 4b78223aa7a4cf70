"""`python -m app migrate`: brings the database's schema up to date."""

from __future__ import annotations

import argparse

from app.config import Config
from app.database.attach import attached_database
from app.database.migrate import migrate


def run(config: Config, _: argparse.Namespace) -> int:
    """Apply what is pending, and print a line for each file."""
    with (
        attached_database(config, as_owner=True, creates=True) as database,
        database.connect(autocommit=True) as conn,
    ):
        applied = migrate(conn)
    for name in applied:
        print(f"applied migrations/{name}")
    print("The schema is up to date.")
    return 0
