"""Least rights: what the hub's role may do is what its statements need, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from app.checks.doctor import run_checks
from app.checks.rights import OWNERS_RIGHTS, describe_rights, judge_rights
from app.config import ROOT, Config
from app.database.addresses import owner_dsn
from app.database.engine import EmbeddedEngine
from app.database.pool import Connection, Database
from app.ingest.transaction import store_updates
from app.store.sql import load_queries
from tests.chunks import HOUR, add_snapshots, add_updates, every, starts
from tests.factories import NOW, make_body, make_update
from tools import engine_template
from tools.hub_process import HubProcess

# What only tasks and commands of the owner run; everything else faces the network.
OWNERS_AREAS = {"rollups", "retention", "repair", "summaries", "counts"} | {
    *("series", "findings", "live_runs", "conditions", "outbox", "reports"),
}
OWNERS_BLOCKS = {
    "read_silent_jobs",
    "stall_jobs",
    "fail_jobs",
    "read_silent_nodes",
    "mark_nodes_offline",
    "claim_task",
    "renew_lease",
    "finish_task",
}
# What statements do not name: the ledger, rollups put in for {rollup} or {whose}, what stale_parts
# reads, and the rollups that charts of the previous release read.
UNNAMED = {
    "schema_migrations",
    *(f"{whose}_speed_{step}_materialised" for whose in ("job", "disk") for step in ("1m", "1h")),
    *("node_telemetry_1m", "node_telemetry_1h", "stale_hours"),
    *("job_speed_1m", "job_speed_1h", "disk_speed_1m"),
}
USES = (
    (re.compile(r"\b(?:FROM|JOIN)\s+(\w+)"), {"SELECT"}),
    (re.compile(r"\bINSERT INTO\s+(\w+)"), {"SELECT", "INSERT"}),
    (re.compile(r"\bINSERT INTO\s+(\w+)(?:(?!INSERT INTO).)*?DO UPDATE", re.S), {"UPDATE"}),
    (re.compile(r"(?<!FOR )(?<!KEY )(?<!DO )\bUPDATE\s+(\w+)"), {"SELECT", "UPDATE"}),
    (re.compile(r"\bFROM\s+(\w+)[^()]*?FOR (?:NO KEY )?UPDATE"), {"UPDATE"}),
    (re.compile(r"\bDELETE FROM\s+(\w+)"), {"SELECT", "DELETE"}),
)
RELATIONS = """
SELECT n.nspname, c.relname, c.relkind::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('public', '_timescaledb_internal') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
REFUSALS = (
    errors.InsufficientPrivilege,
    errors.InvalidAuthorizationSpecification,
    errors.FeatureNotSupported,  # not even the owner may do this
    errors.ObjectNotInPrerequisiteState,
)
DESTRUCTIVE = {
    "r": (
        "DROP TABLE {}",
        "ALTER TABLE {} ADD COLUMN mine integer",
        "ALTER TABLE {} RENAME TO mine",
        "ALTER TABLE {} OWNER TO CURRENT_USER",
        "TRUNCATE {}",
        "CREATE INDEX mine ON {} ((1))",
        "CREATE TRIGGER mine BEFORE INSERT ON {} EXECUTE FUNCTION tsvector_update_trigger()",
    ),
    "v": ("DROP VIEW {}", "ALTER VIEW {} RENAME TO mine", "ALTER VIEW {} OWNER TO CURRENT_USER"),
    "S": ("DROP SEQUENCE {}", "SELECT setval('{}', 1)"),
}
FORBIDDEN = {
    "create a table": "CREATE TABLE mine (a integer)",
    "create a view": "CREATE VIEW mine AS SELECT 1",
    "create a function": "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "create a schema": "CREATE SCHEMA mine",
    "create an extension": "CREATE EXTENSION file_fdw",
    "create a role": "CREATE USER mine",
    "become the owner": "GRANT postgres TO CURRENT_USER",
    "drop the schema": "DROP SCHEMA public CASCADE",
    "delete updates": "DELETE FROM job_telemetry",
    "change updates": "UPDATE job_telemetry SET bytes_transferred = 0",
    "delete snapshots": "DELETE FROM node_telemetry",
    "delete jobs": "DELETE FROM jobs",
    "delete events": "DELETE FROM job_events",
    "forget tokens": "DELETE FROM tokens",
    "move an edge": "UPDATE series_edges SET dropped_before = now()",
    "set the clock of retention": "UPDATE retention_clock SET trusted_at = now()",
    "edit the ledger": "DELETE FROM schema_migrations",
    "take a task": "UPDATE tasks SET lease_holder = 'mine'",
    "delete from a rollup": "DELETE FROM job_speed_1h",
    "refresh": "CALL refresh_continuous_aggregate('job_speed_1m', NULL, NULL)",
    "compress": "SELECT compress_chunk(c) FROM show_chunks('job_telemetry') AS c",
    "drop chunks": "SELECT drop_chunks('job_telemetry', now())",
    "drop chunks of a rollup": "SELECT drop_chunks('job_speed_1m', now())",
    "add a policy": "SELECT add_retention_policy('job_telemetry', interval '1 day')",
    "make chunks smaller": "SELECT set_chunk_time_interval('job_telemetry', interval '1 hour')",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "write a file": "COPY (SELECT 1) TO '/dev/null'",
    "read a file": "SELECT pg_read_file('/etc/hostname')",
    "read passwords": "SELECT * FROM pg_authid",
    "set the server": "ALTER SYSTEM SET fsync = off",
    "checkpoint": "CHECKPOINT",
}


@pytest.fixture
def hub(database: Database) -> Iterator[Connection]:
    """A connection with the hub's rights."""
    with database.connect(autocommit=True) as conn:
        yield conn


@pytest.fixture
def chunks(owner: Database) -> None:
    """Chunks of every series, old ones compressed, and materialised rollups."""
    with owner.connect(autocommit=True) as conn:
        times = list(every(HOUR, NOW - 30 * HOUR, NOW))
        add_updates(conn, times)
        add_snapshots(conn, times)
        conn.execute("CALL refresh_continuous_aggregate('job_speed_1m', NULL, NULL)")
        for series in ("job_telemetry", "disk_telemetry"):
            query = f"SELECT compress_chunk(c) FROM show_chunks('{series}', %s) AS c"
            conn.execute(query.encode(), [NOW - 12 * HOUR])


def needed(conn: Connection) -> set[tuple[str, str]]:
    """What the statements that face the network do, as (relation, verb)."""
    relations = {name for schema, name, _ in conn.execute(RELATIONS) if schema == "public"}
    found = {(name, "SELECT") for name in UNNAMED}
    for file in (ROOT / "app" / "store" / "sql").glob("*.sql"):
        if file.stem in OWNERS_AREAS:
            continue
        for name, text in load_queries(file.stem).items():
            if name in OWNERS_BLOCKS:
                continue
            bare = re.sub(r"--[^\n]*", "", text)
            for pattern, verbs in USES:
                found |= {(table, verb) for table in pattern.findall(bare) for verb in verbs}
    return {(table, verb) for table, verb in found if table in relations}


def test_the_role_has_the_rights_its_statements_need_and_no_other(owner: Database) -> None:
    with owner.reading() as conn:
        granted = set(
            conn.execute(
                """SELECT c.relname, acl.privilege_type
                   FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
                   WHERE c.relnamespace = 'public'::regnamespace
                     AND acl.grantee = 'telemetry_hub'::regrole"""
            ).fetchall()
        )
        assert granted == needed(conn)


def is_refused(conn: Connection, statement: sql.Composed | str) -> bool:
    try:
        conn.execute(statement)
    except REFUSALS:
        return True
    return False


def test_it_can_destroy_no_table_view_chunk_or_sequence(
    owner: Database, hub: Connection, chunks: None
) -> None:
    with owner.reading() as conn:
        relations = conn.execute(RELATIONS).fetchall()
        assert len([name for schema, name, _ in relations if schema != "public"]) > 15
        for schema, name, kind in relations:
            for text in DESTRUCTIVE[kind]:
                statement = sql.SQL(text).format(sql.Identifier(schema, name))
                assert is_refused(hub, statement), statement.as_string(hub)
        assert conn.execute(RELATIONS).fetchall() == relations


def test_it_manages_and_makes_nothing(hub: Connection, chunks: None) -> None:
    assert [name for name, text in FORBIDDEN.items() if not is_refused(hub, text)] == []


def test_it_stores_into_new_chunks_and_compressed_ones(
    owner: Database, hub: Connection, chunks: None
) -> None:
    before = len(starts(hub, "job_telemetry"))
    for hours in (20, 20, 100):  # compressed, again, and where there was no chunk
        with hub.transaction():
            update = make_update(-hours * 3600.0, job_id="k", disks={0: {"bytes_transferred": 5}})
            store_updates(hub, [update], 28)
    for series in ("job_telemetry", "disk_telemetry"):
        query = f"SELECT count(*) FROM {series} WHERE job_id = 'k'"
        assert hub.execute(query.encode()).fetchone() == (2,)
    assert len(starts(hub, "job_telemetry")) == before + 1
    with owner.reading() as conn:  # chunks are the owner's, whoever made them
        conn.execute("SELECT drop_chunks('job_telemetry', older_than => now())")


# ---- messages about rights -----------------------------------------------------------------------


def rights_of(config: Config, owner: Database) -> tuple[bool, str]:
    with owner.reading() as conn:
        [check] = [check for check in run_checks(conn, config) if check.name == "rights"]
    return check.ok, check.detail


def test_the_doctor_is_content_with_the_hubs_own_user(config: Config, owner: Database) -> None:
    is_ok, detail = rights_of(config, owner)
    assert is_ok, detail
    assert list(describe_rights(config)) == []


def test_a_hub_that_connects_as_the_owner_is_a_fault(config: Config, owner: Database) -> None:
    both = Config(database_url=owner_dsn(config), owner_url=owner_dsn(config))
    is_ok, detail = rights_of(both, owner)
    assert not is_ok
    assert "is a superuser" in detail
    assert list(describe_rights(both)) == [detail]


def test_one_address_for_everything_is_told(config: Config, owner: Database) -> None:
    one = Config(database_url=owner_dsn(config))
    assert rights_of(one, owner) == (True, OWNERS_RIGHTS)
    assert list(describe_rights(one)) == [OWNERS_RIGHTS]


FAULTS = {
    "CREATE TABLE his (a integer); ALTER TABLE his OWNER TO telemetry_hub": "owns the hub's tables",
    "GRANT CREATE ON SCHEMA public TO telemetry_hub": "may create tables",
    "GRANT DELETE ON job_telemetry TO telemetry_hub": "may change or delete what was stored",
}


@pytest.mark.parametrize(("change", "fault_part"), FAULTS.items(), ids=FAULTS.values())
def test_each_right_too_many_is_named(owner: Database, change: str, fault_part: str) -> None:
    with owner.reading() as conn, conn.transaction(force_rollback=True):
        conn.execute(change.encode())
        conn.execute("SET LOCAL ROLE telemetry_hub")
        [fault] = judge_rights(conn)
    assert fault_part in fault


def test_a_user_that_is_not_a_member_is_named(owner: Database) -> None:
    with owner.reading() as conn, conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL ROLE analyst")
        [fault] = judge_rights(conn)
    assert "GRANT telemetry_hub TO analyst" in fault


def test_an_owner_without_the_right_to_make_roles_is_only_warned(owner: Database) -> None:
    text = (ROOT / "migrations" / "repeatable" / "telemetry_hub_role.sql").read_bytes()
    with owner.reading() as conn, conn.transaction(force_rollback=True):
        notices: list[str] = []
        conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        conn.execute("ALTER ROLE telemetry_hub RENAME TO somebody_else")
        conn.execute("CREATE ROLE hub_owner NOLOGIN")
        conn.execute("GRANT USAGE ON LANGUAGE plpgsql TO hub_owner")  # the embedded engine's is not
        conn.execute("SET LOCAL ROLE hub_owner")
        conn.execute(text)
    assert any("telemetry_hub lacks its rights" in notice for notice in notices)


# ---- a whole hub --------------------------------------------------------------------------------


def test_the_web_workers_do_not_know_the_owners_address(tmp_path: Path) -> None:
    engine_template.copy_to(tmp_path / "server")
    with (
        EmbeddedEngine(tmp_path / "server", durable=False) as server,  # as good as another one
        HubProcess(
            tmp_path / "hub", DATABASE_URL=server.dsn, HUB_OWNER_URL=server.owner_dsn
        ) as hub,
    ):
        assert hub.push("j", **make_body()) == 200
        assert "HUB_OWNER_URL" not in environment(hub.web_worker())
        [tasks] = [pid for pid, command in hub.children().items() if "-m jobs" in command]
        assert environment(tasks)["HUB_OWNER_URL"] == server.owner_dsn
        with psycopg.connect(server.owner_dsn, prepare_threshold=None) as conn:
            assert conn.execute("SELECT count(*) FROM job_telemetry").fetchone() == (1,)


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
