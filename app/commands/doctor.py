"""`python -m app doctor`: checks that the database's schema is what the hub needs."""

from __future__ import annotations

import argparse

from app.checks.doctor import run_checks
from app.config import Config
from app.database.attach import attached_database


def run(config: Config, _: argparse.Namespace) -> int:
    """Print a line for each check; the status is 1 if one failed."""
    with (
        attached_database(config, as_owner=True) as database,
        database.connect(autocommit=True) as conn,
    ):
        checks = run_checks(conn, config)
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    failed = sum(not check.ok for check in checks)
    print(f"{len(checks) - failed} checks passed, {failed} failed.")
    return 1 if failed else 0
