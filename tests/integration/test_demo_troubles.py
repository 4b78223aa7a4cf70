"""`python -m app demo` shows one of each kind of what a sender can cause."""

from __future__ import annotations

from datetime import timedelta

import orjson

from app.clock import isoformat, utc_now
from app.commands import troubles
from app.commands.simulation import Body
from app.config import Config
from app.database.pool import Database
from app.domain.updates import Update
from app.schemas.decode import decode_update
from app.schemas.nodes import SnapshotSchema
from jobs import find_attention
from tests.integration.test_attention import Fleet
from tests.storing import store


def update_of(job_type: str, job_id: str, body: Body) -> Update:
    """A body as the hub takes it."""
    update = decode_update(orjson.dumps(body), job_type, job_id)
    assert update.timestamp is not None
    update.time = update.timestamp
    return update


def test_the_demo_has_one_of_each(owner: Database, config: Config) -> None:
    find_attention._thresholds.clear()
    fleet = Fleet(owner, config)
    senders = troubles.TroubledSenders(fleet.now - timedelta(minutes=2))
    past = [
        update_of(job.job_type, job.job_id, {**body, "timestamp": isoformat(at)})
        for at, job, body in [*troubles.past(fleet.now), *senders.past()]
    ]
    with owner.connect() as conn:
        store(conn, *sorted(past, key=lambda update: update.time))
    fleet.now = utc_now()  # the clock of a sender is what it says as it arrives
    live = [
        update_of(path.split("/")[2], path.split("/")[3], body)
        for at in (fleet.now, fleet.now + timedelta(seconds=1))
        for path, body in senders.tick(at)
    ]
    with owner.connect() as conn:
        store(conn, *live)
    fleet.set_progress(next(update.job_id for update in live if "hung" in update.job_id), 1_000)
    fleet.find()
    found = {(item["kind"], item["job_id"].split("-")[1]) for item in fleet.items()}
    assert found == {
        ("failed", "crm01"),
        ("suspicious", "files02"),
        ("unusual", "dwh01"),
        ("overdue", "billing01"),
        ("hung", "archive01"),
        ("slow", "mail02"),
        ("overlapping", "lab01"),
        ("clock", "branch01"),
        ("losing", "branch02"),
    }


def test_the_troubled_nodes_are_what_the_hub_accepts() -> None:
    full = next(troubles.full_node(1))
    assert full["disk_percent"] == 97
    gone = troubles.gone_node(1, utc_now())
    for body in (full, gone):
        assert SnapshotSchema().validate(body) == {}
