"""Run by test_fields.py in a process of its own, as fields are read while modules are imported.

Adds one field to the updates of jobs and disks and to the metrics of nodes, in the description and
in the database, and follows it from a push to the rows and back. Its transaction is rolled back.
"""

import json
import sys

from app.domain import fields

fields.JOB_FIELDS["made_up"] = fields.Field(fields.Kind.INTEGER, "Made up.", 0)
fields.DISK_FIELDS["made_up"] = fields.Field(fields.Kind.NUMBER, "Made up.", 0)
fields.METRICS["made_up"] = fields.Field(fields.Kind.INTEGER, "Made up.")

from app.database.pool import Connection, Database  # noqa: E402
from app.domain.snapshots import Snapshot  # noqa: E402
from app.domain.window import Window  # noqa: E402
from app.ingest.snapshots import store_snapshots  # noqa: E402
from app.ingest.transaction import Receipt, store_updates  # noqa: E402
from app.schemas.decode import decode_common_update, decode_snapshots, decode_update  # noqa: E402
from app.schemas.nodes import NodeHistoryQuery, NodeSchema, SnapshotSchema  # noqa: E402
from app.store import ingest, nodes  # noqa: E402
from tests.factories import NOW, at, micros  # noqa: E402

COLUMNS = {
    "jobs": "bigint NOT NULL DEFAULT 0",
    "job_disks": "double precision NOT NULL DEFAULT 0",
    "job_telemetry": "bigint",
    "disk_telemetry": "double precision",
    "nodes": "bigint",
    "node_telemetry": "bigint",
}


def follow_updates(conn: Connection) -> None:
    disk = {"disk_index": 0, "made_up": 1.5}
    update = {"status": "running", "timestamp": at(-60), "made_up": 7, "disks": [disk]}
    body = json.dumps(update).encode()
    fast = decode_common_update(body, "backup", "j")
    slow = decode_update(json.dumps({**update, "error": "é"}).encode(), "backup", "j")
    assert fast is not None
    assert fast.fields == {"made_up": 7}
    assert fast.disks == {0: {"made_up": 1.5}}
    assert slow.fields == {"made_up": 7, "error_message": "é"}
    assert slow.disks == fast.disks
    store_updates(conn, [fast], 28)
    state = ingest.lock_jobs(conn, ["j"]).states["j"]
    assert state.registers.values == {"made_up": 7}
    assert state.disks[0].values == {"made_up": 1.5}
    span = ingest.Span("j", 0, micros(0), "completed")
    (stored,) = ingest.deciding_updates(conn, [span])["j"]
    assert stored.content() == fast.content()
    row = conn.execute(
        "SELECT jobs.made_up, job_disks.made_up FROM jobs JOIN job_disks USING (job_id)"
    )
    assert row.fetchone() == (7, 1.5)
    (outcome,) = store_updates(conn, [fast], 28)
    assert isinstance(outcome, Receipt)
    assert outcome.is_duplicate


def follow_snapshots(conn: Connection) -> None:
    data = {"node_id": "n", "timestamp": at(-60), "made_up": 7}
    (snapshot,) = decode_snapshots(json.dumps(data).encode(), SnapshotSchema())
    assert isinstance(snapshot, Snapshot)
    for is_duplicate in (False, True):
        (outcome,) = store_snapshots(conn, [snapshot], 28)
        assert isinstance(outcome, Receipt)
        assert outcome.is_duplicate == is_duplicate
    node = nodes.read_node(conn, "n")
    assert node is not None
    assert node.metrics["made_up"] == 7
    assert "made_up" in NodeSchema().fields
    assert NodeHistoryQuery().load({"metrics": "made_up"})["metrics"] == ("made_up",)
    span = Window(NOW.replace(year=NOW.year - 1), NOW)
    assert [row[1] for row in nodes.list_snapshots(conn, "n", span, ["made_up"], 9)] == [7]


with Database(sys.argv[1], is_embedded=sys.argv[2] == "True").connect() as conn:
    for table, column in COLUMNS.items():
        conn.execute(f"ALTER TABLE {table} ADD COLUMN made_up {column}")
    follow_updates(conn)
    follow_snapshots(conn)
    conn.rollback()
