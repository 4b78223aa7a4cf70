"""One description of the fields: what is added to it reaches every place by itself."""

from __future__ import annotations

import subprocess
import sys

from app.config import ROOT
from app.database.pool import Connection, Database
from app.domain.fields import DISK_FIELDS, JOB_FIELDS, METRICS

SERIES = {"job_telemetry": JOB_FIELDS, "disk_telemetry": DISK_FIELDS, "node_telemetry": METRICS}
ROWS = {"jobs": JOB_FIELDS, "job_disks": DISK_FIELDS, "nodes": METRICS}


def test_a_made_up_field_reaches_every_place(owner: Database) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.integration.made_up_field",
            owner._dsn,
            str(owner.is_embedded),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_migrations_have_a_column_for_each_field(owner: Database) -> None:
    with owner.reading() as conn:
        for table, fields in (SERIES | ROWS).items():
            types = column_types(conn, table)
            for name, field in fields.items():
                assert types[name] == field.kind.sql_type, f"{table}.{name}"


def column_types(conn: Connection, table: str) -> dict[str, str]:
    rows = conn.execute(
        "SELECT column_name::text, data_type::text FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = %s",
        [table],
    )
    return dict(rows.fetchall())
