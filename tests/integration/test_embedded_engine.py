"""The embedded engine and its bridge, over real sockets: sharing, rights, survival."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from app.database.engine import EmbeddedEngine
from app.database.pool import Database
from app.errors import DatabaseUnavailable, EngineError
from tests.client.tools import need
from tools.hub_process import is_running, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an empty database, to be copied: faster than making another one."""
    data_dir = tmp_path_factory.mktemp("new")
    with EmbeddedEngine(data_dir, durable=False):
        pass
    return data_dir


@pytest.fixture(scope="module")
def engine(
    new_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedEngine]:
    data_dir = tmp_path_factory.mktemp("engine") / "data"
    shutil.copytree(new_database, data_dir)
    with EmbeddedEngine(data_dir, durable=False) as engine:
        yield engine


@pytest.fixture
def data_dir(new_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(new_database, tmp_path / "data"))


def open_hub(engine: EmbeddedEngine, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(engine.dsn, autocommit=True, prepare_threshold=None, **options)


def open_owner(engine: EmbeddedEngine) -> psycopg.Connection[Any]:
    return psycopg.connect(engine.owner_dsn, autocommit=True, prepare_threshold=None)


@pytest.fixture
def hub(engine: EmbeddedEngine) -> Iterator[psycopg.Connection[Any]]:
    with open_hub(engine) as conn:
        yield conn


@pytest.fixture
def analyst(engine: EmbeddedEngine) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(engine.analyst_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture(autouse=True)
def readings(request: pytest.FixtureRequest) -> None:
    """A table with three rows that the analyst may read, for tests that use the shared engine."""
    if "engine" not in request.fixturenames:
        return
    with open_owner(request.getfixturevalue("engine")) as conn:
        conn.execute("DROP TABLE IF EXISTS readings")
        conn.execute("CREATE TABLE readings (id bigint, note text)")
        conn.execute("INSERT INTO readings SELECT n, 'first' FROM generate_series(1, 3) n")
        conn.execute("GRANT SELECT ON readings TO analyst")
        conn.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON readings TO telemetry_hub")


def count_readings(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("SELECT count(*) FROM readings").fetchone()
    assert row is not None
    return int(row[0])


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Run `work(0)` … `work(count - 1)` at the same time; the first failure is raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as exc:  # handed to the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


def address_of(engine: EmbeddedEngine, user: str) -> str:
    return {"hub": engine.dsn, "owner": engine.owner_dsn, "analyst": engine.analyst_dsn}[user]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def raw_connection(
    engine: EmbeddedEngine, user: str, *, start_up_end: bytes = b"\0"
) -> socket.socket:
    """A socket that has authenticated and read everything up to the first ReadyForQuery."""
    dsn = address_of(engine, user)
    password = dsn.split(":")[2].split("@")[0]
    conn = socket.create_connection(("127.0.0.1", engine.port), timeout=60)
    parameters = f"user\0{user}\0database\0postgres\0".encode()
    body = struct.pack("!i", 196608) + parameters + start_up_end
    conn.sendall(struct.pack("!i", len(body) + 4) + body + message(b"p", password.encode() + b"\0"))
    read_until_ready(conn)
    return conn


def read_until_ready(conn: socket.socket) -> bytes:
    answer = b""
    while not (len(answer) >= 6 and answer[-6:-1] == b"Z\0\0\0\5"):
        part = conn.recv(65536)
        if not part:
            raise ConnectionError("closed: " + answer.decode("latin1"))
        answer += part
    return answer


# ---- sharing one session ------------------------------------------------------------------------


def test_transactions_of_four_threads_do_not_mix(engine: EmbeddedEngine) -> None:
    def work(number: int) -> None:
        with psycopg.connect(engine.dsn, prepare_threshold=None) as conn:
            for i in range(25):
                with conn.transaction():
                    before = count_readings(conn)
                    conn.execute("INSERT INTO readings VALUES (%s, %s)", (number, f"note {i}"))
                    assert count_readings(conn) == before + 1
                    if i % 5 == 4:
                        raise psycopg.Rollback

    in_threads(work, 4)
    with open_hub(engine) as conn:
        assert count_readings(conn) == 3 + 4 * 20


def test_a_pipeline_with_syncs_and_an_error_keeps_its_order(
    hub: psycopg.Connection[Any],
) -> None:
    with hub.pipeline() as pipeline:
        cursors = [hub.execute("SELECT %s::int", (n,)) for n in range(100)]
        pipeline.sync()
        assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(100)]
        with pytest.raises(errors.DivisionByZero):
            hub.execute("SELECT 1/0")
            pipeline.sync()
        later = hub.execute("SELECT 'later'")
        assert later.fetchone() == ("later",)


def test_pipelines_at_the_same_time_do_not_mix(engine: EmbeddedEngine) -> None:
    def work(number: int) -> None:
        with open_hub(engine) as conn, conn.pipeline():
            for n in range(100):
                assert conn.execute("SELECT %s::int", (number * n,)).fetchone() == (number * n,)

    in_threads(work, 4)


def test_prepared_statements_of_the_same_name_are_apart(engine: EmbeddedEngine) -> None:
    with (
        psycopg.connect(engine.dsn, autocommit=True, prepare_threshold=0) as one,
        psycopg.connect(engine.dsn, autocommit=True, prepare_threshold=0) as two,
    ):
        for n in range(3):
            assert one.execute("SELECT 'one', %s::int", (n,)).fetchone() == ("one", n)
            assert two.execute("SELECT %s::int, 'two'", (n,)).fetchone() == (n, "two")
        one.execute("DEALLOCATE ALL")
        assert two.execute("SELECT %s::int, 'two'", (9,)).fetchone() == (9, "two")
        one.execute("DISCARD ALL")
        assert two.execute("SELECT %s::int, 'two'", (9,)).fetchone() == (9, "two")


def count_prepared(engine: EmbeddedEngine) -> int:
    with open_owner(engine) as owner:  # no other user may see them
        row = owner.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert row is not None
    return int(row[0])


def test_a_connection_takes_its_prepared_statements_along(engine: EmbeddedEngine) -> None:
    with psycopg.connect(engine.dsn, autocommit=True, prepare_threshold=0) as conn:
        conn.execute("SELECT %s::text", ("kept until the end",))
        assert count_prepared(engine) == 1
    time.sleep(0.05)  # the bridge hears of the close after the client
    assert count_prepared(engine) == 0


def test_an_unnamed_statement_outlives_another_connections(engine: EmbeddedEngine) -> None:
    # Go's lib/pq prepares in one exchange and binds in the next.
    parse = message(b"P", b"\0SELECT 'mine'\0\0\0")
    run = message(b"B", b"\0\0" + bytes(6)) + message(b"E", bytes(5))
    sync = message(b"S")
    with closing(raw_connection(engine, "hub")) as one, open_hub(engine) as other:
        one.sendall(parse + sync)
        read_until_ready(one)
        assert other.execute("SELECT %s::text", ("other's",)).fetchone() == ("other's",)
        one.sendall(run + sync)
        answer = read_until_ready(one)
        assert b"mine" in answer
        assert answer.startswith(b"2")


def test_a_socket_that_dies_in_a_transaction_rolls_back(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any]
) -> None:
    dying = raw_connection(engine, "hub")
    dying.sendall(message(b"Q", b"BEGIN; DELETE FROM readings\0"))
    assert read_until_ready(dying).endswith(b"T")
    # RST, as when the process is killed with unread data.
    dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    dying.close()
    assert count_readings(hub) == 3


def test_a_server_side_cursor_reads_in_pieces(engine: EmbeddedEngine) -> None:
    with (
        psycopg.connect(engine.dsn, prepare_threshold=None) as conn,
        conn.cursor(name="pieces") as cursor,
    ):
        cursor.itersize = 100
        cursor.execute("SELECT n FROM generate_series(1, 1000) n")
        assert sum(row[0] for row in cursor) == 500500


def test_reset_all_leaves_the_session_usable(hub: psycopg.Connection[Any]) -> None:
    hub.execute("RESET ALL")
    assert count_readings(hub) == 3
    assert hub.execute("SHOW TimeZone").fetchone() == ("UTC",)


def test_two_hundred_connections_leave_nothing_behind(engine: EmbeddedEngine) -> None:
    def open_descriptors() -> int:
        return len(os.listdir(f"/proc/{engine.pid}/fd"))

    before = open_descriptors()
    for _ in range(200):
        with psycopg.connect(engine.dsn, autocommit=True, prepare_threshold=0) as conn:
            conn.execute("SELECT %s::int", (1,))
    time.sleep(0.1)  # the last close is on its way
    assert open_descriptors() <= before + 1
    assert count_prepared(engine) == 0


def test_copy_from_stdin_is_refused_and_the_engine_lives(hub: psycopg.Connection[Any]) -> None:
    with (
        pytest.raises(errors.FeatureNotSupported, match="unnest"),
        hub.cursor().copy("/* a */ COPY readings FROM STDIN") as copy,
    ):
        copy.write_row((1, "x"))
    assert count_readings(hub) == 3


def test_copy_to_stdout_works(hub: psycopg.Connection[Any]) -> None:
    with hub.cursor().copy("COPY (SELECT id FROM readings ORDER BY id) TO STDOUT") as copy:
        assert b"".join(bytes(part) for part in copy) == b"1\n2\n3\n"


@pytest.mark.parametrize("start", range(8100, 8200, 10))
def test_a_message_may_end_where_the_engines_buffer_does(
    hub: psycopg.Connection[Any], start: int
) -> None:
    for length in range(start, start + 10):
        row = hub.execute("SELECT length(%s::text)", ("x" * length,)).fetchone()
        assert row == (length,)


def test_a_result_of_fifty_megabytes_arrives_whole(hub: psycopg.Connection[Any]) -> None:
    rows = hub.execute("SELECT repeat('x', 1000000) FROM generate_series(1, 50)").fetchall()
    assert [len(row[0]) for row in rows] == [1000000] * 50


def test_a_result_too_large_to_hold_is_refused(hub: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.ProgramLimitExceeded, match="256 MiB"):
        hub.execute("SELECT repeat('x', 1000000) FROM generate_series(1, 300)")
    assert count_readings(hub) == 3


def test_a_parameter_of_ten_megabytes_is_stored_whole(hub: psycopg.Connection[Any]) -> None:
    text = "0123456789" * 1_000_000
    hub.execute("INSERT INTO readings VALUES (4, %s)", (text,))
    assert hub.execute("SELECT note FROM readings WHERE id = 4").fetchone() == (text,)


# ---- signing in ---------------------------------------------------------------------------------


def test_tls_is_declined_and_the_client_goes_on(engine: EmbeddedEngine) -> None:
    with open_hub(engine, sslmode="prefer") as conn:
        assert count_readings(conn) == 3
    with closing(socket.create_connection(("127.0.0.1", engine.port), timeout=60)) as conn:
        conn.sendall(struct.pack("!ii", 8, 80877103))
        assert conn.recv(1) == b"N"


@pytest.mark.parametrize("user", ["hub", "analyst", "postgres", "nobody"])
def test_a_wrong_password_or_user_is_turned_away(engine: EmbeddedEngine, user: str) -> None:
    conn = socket.create_connection(("127.0.0.1", engine.port), timeout=60)
    with closing(conn):
        body = struct.pack("!i", 196608) + f"user\0{user}\0database\0postgres\0\0".encode()
        conn.sendall(struct.pack("!i", len(body) + 4) + body + message(b"p", b"wrong\0"))
        answer = b""
        while part := conn.recv(4096):
            answer += part
    assert b"C28P01\0" in answer
    assert user.encode() in answer


def test_a_wrong_password_is_said_to_the_operator(engine: EmbeddedEngine) -> None:
    dsn = re.sub(r"://hub:[^@]+@", "://hub:of-another-hub@", engine.dsn)
    with pytest.raises(DatabaseUnavailable) as caught:
        Database(dsn, is_embedded=True).connect()
    reason = caught.value.reason or ""
    assert f"at 127.0.0.1:{engine.port} cannot be used by hub: " in reason
    assert 'password authentication failed for user "hub"' in reason
    assert "of-another-hub" not in reason
    assert str(caught.value) == "The database cannot be reached; try again.", "in answers"


def test_another_database_is_said_not_to_exist(engine: EmbeddedEngine) -> None:
    with pytest.raises(psycopg.OperationalError, match='database "sales" does not exist'):
        psycopg.connect(engine.dsn.replace("/postgres", "/sales"))


def test_garbage_is_turned_away_and_the_engine_lives(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any]
) -> None:
    for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(100), b"\xff" * 100):
        with closing(socket.create_connection(("127.0.0.1", engine.port), timeout=60)) as conn:
            conn.sendall(garbage)
            while conn.recv(4096):
                pass
    with closing(raw_connection(engine, "hub")) as conn:
        conn.sendall(b"P\0\0\0\1")
        assert b"08P01" in conn.recv(4096)
    assert count_readings(hub) == 3


def test_a_start_up_setting_without_a_value_does_not_stop_the_engine(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any]
) -> None:
    with closing(raw_connection(engine, "analyst", start_up_end=b"application_name")) as conn:
        conn.sendall(message(b"Q", b"SELECT 42\0"))
        assert b"42" in read_until_ready(conn)
    assert count_readings(hub) == 3


@pytest.mark.parametrize("user", ["hub", "owner", "analyst"])
@pytest.mark.parametrize("command", ["SELECT 1 AS one", r"\dt", r"\d readings", r"\dv", r"\du"])
def test_psql_works(engine: EmbeddedEngine, user: str, command: str) -> None:
    need("psql")
    dsn = address_of(engine, user)
    answer = subprocess.run(["psql", "-X", dsn, "-c", command], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) in [
        (0, ""),
        (0, "Did not find any relations.\n"),
    ], answer


# ---- the analyst --------------------------------------------------------------------------------


def test_the_analyst_reads_what_was_granted(analyst: psycopg.Connection[Any]) -> None:
    assert count_readings(analyst) == 3
    rows = analyst.execute("SELECT id FROM readings WHERE id > %s ORDER BY id", (1,)).fetchall()
    assert rows == [(2,), (3,)]
    with analyst.transaction():
        assert count_readings(analyst) == 3


TRICKS = {
    "insert": "INSERT INTO readings VALUES (9, 'x')",
    "update": "UPDATE readings SET note = 'x'",
    "delete": "DELETE FROM readings",
    "truncate": "TRUNCATE readings",
    "drop": "DROP TABLE readings",
    "create table": "CREATE TABLE mine (a int)",
    "create temp table": "CREATE TEMP TABLE mine (a int)",
    "select into": "SELECT * INTO mine FROM readings",
    "select into temp": "SELECT * INTO TEMP mine FROM readings",
    "cte": "WITH x AS (DELETE FROM readings RETURNING *) SELECT * FROM x",
    "settings as a table": "UPDATE pg_settings SET setting = 'off' WHERE name = 'fsync'",
    "explain analyze": "EXPLAIN ANALYZE DELETE FROM readings",
    "reset authorization": "RESET SESSION AUTHORIZATION; DELETE FROM readings",
    "set authorization": "SET SESSION AUTHORIZATION postgres; DELETE FROM readings",
    "authorization default": "SET SESSION AUTHORIZATION DEFAULT; DELETE FROM readings",
    "quoted name": "SET \"session_authorization\" TO 'postgres'; DELETE FROM readings",
    "set role": "SET ROLE postgres; DELETE FROM readings",
    "local role": "BEGIN; SET LOCAL ROLE postgres; DELETE FROM readings; COMMIT",
    "reset role": "RESET ROLE; DELETE FROM readings",
    "set_config": "SELECT set_config('session_authorization', 'postgres', false)",
    "set_config role": "SELECT pg_catalog.set_config('role', 'postgres', false)",
    "read write": "SET transaction_read_only = off; DELETE FROM readings",
    "begin read write": "BEGIN READ WRITE; DELETE FROM readings; COMMIT",
    "characteristics": "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "default read write": "SET default_transaction_read_only TO off",
    "commit first": "SELECT 1; COMMIT; DELETE FROM readings",
    "after a comment": "/* /* nested */ */ -- x\n DELETE FROM readings",
    "after a dollar quote": "SELECT $a$ ; $b$ $a$; SET ROLE postgres; DELETE FROM readings",
    "behind an identifier": "SELECT 1 AS a$b$; SET ROLE postgres; SELECT 1 AS a$b$",
    "behind an escape": r"SELECT E'\'', ';'; SET ROLE postgres; DELETE FROM readings",
    "behind a backslash": r"SELECT '\'; SET ROLE postgres; DELETE FROM readings; --'",
    "escape in pieces": "SELECT E'a'\n'\\''; SET ROLE postgres; DELETE FROM readings --'",
    "strings not standard": "SET standard_conforming_strings TO off",
    "do": "DO $$BEGIN DELETE FROM readings; END$$",
    "prepare": "PREPARE p AS DELETE FROM readings; EXECUTE p",
    "copy from stdin": "COPY readings FROM STDIN",
    "copy a deletion": "COPY (DELETE FROM readings RETURNING id) TO STDOUT",
    "copy a cte": "COPY (WITH x AS (DELETE FROM readings RETURNING *) TABLE x) TO STDOUT",
    "copy a table to a file": "COPY readings TO '/tmp/hello'",
    "copy a table to a program": "COPY readings (id) TO PROGRAM 'touch /tmp/hello'",
    "copy to a file named stdout": "COPY (SELECT 1) TO 'stdout'",
    "copy from a file": "COPY readings FROM '/tmp/hello' WHERE 'a' <> ' TO STDOUT'",
    "copy to program": "COPY (SELECT 1) TO PROGRAM 'touch /tmp/hello'",
    "copy to file": "COPY (SELECT 1) TO '/tmp/hello'",
    "create function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "alter role": "ALTER ROLE analyst SUPERUSER",
    "alter system": "ALTER SYSTEM SET fsync = off",
    "grant": "GRANT ALL ON readings TO analyst",
    "lock": "BEGIN; LOCK TABLE readings; COMMIT",
    "select for update": "SELECT * FROM readings FOR UPDATE",
    "held cursor": "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "held cursor in a transaction": "BEGIN; DECLARE c SCROLL CURSOR WITH /**/ HOLD FOR SELECT 1",
    "listen": "LISTEN x",
    "notify": "SELECT pg_notify('x', 'y')",
    "sleep": "SELECT pg_sleep(100)",
    "advisory lock": "SELECT pg_advisory_lock(1)",
    "terminate": "SELECT pg_terminate_backend(pg_backend_pid())",
    "large object": "SELECT lo_create(0)",
    "xml of a statement": "SELECT query_to_xml('SET ROLE postgres', true, true, '')",
    "statistics of a statement": "SELECT * FROM ts_stat('SET ROLE postgres')",
    "drop chunks": "SELECT drop_chunks('readings', now())",
    "add a job": "SELECT add_job('pg_sleep', '1 s')",
    "restore mode": "SELECT timescaledb_pre_restore()",
    "read a file": "SELECT pg_read_file('/etc/passwd')",
    "read passwords": "SELECT * FROM pg_authid",
    "call": "CALL run_job(1)",
    "stop workers": "SELECT _timescaledb_functions.stop_background_workers()",
    "load": "LOAD 'plpgsql'",
    "checkpoint": "CHECKPOINT",
    "vacuum": "VACUUM readings",
    "security label": "COMMENT ON TABLE readings IS 'x'",
}


@pytest.mark.parametrize("statement", TRICKS.values(), ids=TRICKS.keys())
@pytest.mark.parametrize("is_extended", [False, True], ids=["simple", "extended"])
def test_the_analyst_cannot(engine: EmbeddedEngine, statement: str, is_extended: bool) -> None:
    with psycopg.connect(engine.analyst_dsn, autocommit=True) as analyst:
        with pytest.raises(psycopg.Error):
            if is_extended:  # PostgreSQL refuses several statements here, the bridge each of them
                analyst.execute(statement, binary=True)
            else:
                analyst.execute(statement)
        # Nor in what it sends next.
        analyst.execute("ROLLBACK")
        assert analyst.execute("SELECT session_user, current_user").fetchone() == (
            "analyst",
            "analyst",
        )
    with open_hub(engine) as hub:
        assert hub.execute("SELECT count(*), min(note) FROM readings").fetchone() == (3, "first")
        assert_session_is_the_hubs(hub)


def assert_session_is_the_hubs(hub: psycopg.Connection[Any]) -> None:
    settings = hub.execute(
        "SELECT session_user, current_user, current_setting('search_path'), "
        "current_setting('TimeZone'), current_setting('transaction_read_only'), "
        "current_setting('DateStyle'), current_setting('enable_seqscan')"
    ).fetchone()
    assert settings == ("telemetry_hub", "telemetry_hub", "public", "UTC", "off", "ISO, MDY", "on")


def test_the_analysts_copy_data_does_not_reach_the_engine(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any]
) -> None:
    with closing(raw_connection(engine, "analyst")) as conn:
        conn.sendall(
            message(b"Q", b"COPY readings FROM STDIN\0") + message(b"d", b"1\tx\n") + message(b"c")
        )
        assert b"C42501" in read_until_ready(conn)
    assert count_readings(hub) == 3


def test_the_analysts_settings_stay_its_own(
    analyst: psycopg.Connection[Any], hub: psycopg.Connection[Any]
) -> None:
    analyst.execute("SET TIME ZONE 'Asia/Tokyo'")
    analyst.execute("SET search_path TO pg_catalog, \"$user\"; SET DateStyle = 'SQL, DMY'")
    analyst.execute("SET extra_float_digits TO 1; SET application_name = 'it''s; mine'")
    assert_session_is_the_hubs(hub)
    mine = analyst.execute(
        "SELECT current_setting('TimeZone'), current_setting('search_path'), "
        "current_setting('application_name')"
    ).fetchone()
    assert mine == ("Asia/Tokyo", 'pg_catalog, "$user"', "it's; mine")
    analyst.execute("RESET search_path")
    assert count_readings(analyst) == 3
    analyst.execute("RESET ALL")
    assert analyst.execute("SHOW TimeZone").fetchone() == ("UTC",)
    assert_session_is_the_hubs(hub)


def test_the_analysts_transaction_keeps_role_and_settings_until_its_end(
    analyst: psycopg.Connection[Any], hub: psycopg.Connection[Any]
) -> None:
    with analyst.transaction():
        analyst.execute("SET LOCAL TimeZone TO 'Asia/Tokyo'")
        assert analyst.execute("SELECT current_user").fetchone() == ("analyst",)
        assert analyst.execute("SHOW transaction_read_only").fetchone() == ("on",)
    assert analyst.execute("SHOW TimeZone").fetchone() == ("UTC",)
    assert_session_is_the_hubs(hub)


def test_start_up_settings_are_applied_or_refused(engine: EmbeddedEngine) -> None:
    def connect(options: str) -> psycopg.Connection[Any]:
        return psycopg.connect(engine.analyst_dsn, autocommit=True, options=options)

    with connect("-c TimeZone=Asia/Tokyo --search_path=pg_catalog") as conn:
        assert conn.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)
        assert conn.execute("SHOW search_path").fetchone() == ("pg_catalog",)
    with connect("-c search_path=public;reset\\ session\\ authorization") as conn:
        assert conn.execute("SELECT session_user").fetchone() == ("analyst",)
    with pytest.raises(psycopg.OperationalError, match="may not set"):
        connect("-c role=postgres")
    with connect("-c TimeZone=Nowhere") as conn, pytest.raises(psycopg.Error, match="Nowhere"):
        conn.execute("SELECT 1")


def test_the_analyst_does_not_reach_the_hubs_prepared_statements(
    engine: EmbeddedEngine, analyst: psycopg.Connection[Any]
) -> None:
    with psycopg.connect(engine.dsn, autocommit=True, prepare_threshold=0) as hub:
        hub.execute("SELECT %s::int", (1,))
        with open_owner(engine) as owner:
            name = owner.execute("SELECT name FROM pg_prepared_statements").fetchone()
        assert name is not None
        with pytest.raises(errors.InsufficientPrivilege):
            analyst.execute(f"EXECUTE {name[0]}(1)")
        with pytest.raises(errors.InvalidSqlStatementName):
            analyst.execute(f"DEALLOCATE {name[0]}")
        with closing(raw_connection(engine, "analyst")) as conn:
            bind = b"\0" + name[0].encode() + b"\0" + bytes(6)
            conn.sendall(message(b"B", bind) + message(b"S"))
            assert b"C26000" in read_until_ready(conn)
        assert hub.execute("SELECT %s::int", (2,)).fetchone() == (2,)


def test_the_analysts_idle_transaction_ends_and_the_hub_goes_on(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any]
) -> None:
    with psycopg.connect(engine.analyst_dsn) as analyst:
        count_readings(analyst)  # opens a transaction, as psycopg does by default
        started = time.monotonic()
        assert count_readings(hub) == 3
        assert time.monotonic() - started > 1.5
        with pytest.raises(errors.IdleInTransactionSessionTimeout, match="idle-in-transaction"):
            count_readings(analyst)
    assert_session_is_the_hubs(hub)


def test_the_hubs_transaction_is_not_hurried(engine: EmbeddedEngine) -> None:
    with psycopg.connect(engine.dsn, prepare_threshold=None) as conn:
        conn.execute("DELETE FROM readings")
        time.sleep(2.5)  # longer than an analyst may
        assert count_readings(conn) == 0


# ---- the hub and the owner ----------------------------------------------------------------------


ROLE_TRICKS = {
    "set role": "SET ROLE postgres",
    "local role": "BEGIN; SET LOCAL ROLE postgres; DROP TABLE readings; COMMIT",
    "no role": "SET ROLE NONE; DROP TABLE readings",
    "authorization": "SET SESSION AUTHORIZATION postgres; DROP TABLE readings",
    "reset authorization": "RESET SESSION AUTHORIZATION; DROP TABLE readings",
    "quoted": "SET \"session_authorization\" TO 'postgres'; DROP TABLE readings",
    "spelled": 'SET U&"\\0072ole" TO postgres; DROP TABLE readings',
    "spelled otherwise": "SET U&\"!0072ole\" UESCAPE '!' TO postgres; DROP TABLE readings",
    "commented": "SET/**/ROLE--\n postgres; DROP TABLE readings",
    "behind a string": r"SET standard_conforming_strings=off; SELECT '\''; SET ROLE postgres; --'",
    "set_config": "SELECT set_config('role', 'postgres', false)",
    "set_config authorization": "SELECT set_config('session_authorization', 'postgres', false)",
    "settings as a table": "UPDATE pg_settings SET setting = 'postgres' WHERE name LIKE 'rol_'",
    "do": "DO $$BEGIN EXECUTE 'SET ' || 'RO' || 'LE postgres'; END$$",
    "function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET ROLE postgres AS 'SELECT 1'",
    "a temporary function": "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a text as a statement": "SELECT query_to_xml('SET ROL' || 'E postgres', true, true, '')",
    "member": "GRANT postgres TO telemetry_hub",
    "superuser": "ALTER ROLE telemetry_hub SUPERUSER",
}


@pytest.mark.parametrize("statement", ROLE_TRICKS.values(), ids=ROLE_TRICKS.keys())
@pytest.mark.parametrize("is_extended", [False, True], ids=["simple", "extended"])
def test_the_hub_keeps_its_role(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any], statement: str, is_extended: bool
) -> None:
    with pytest.raises(psycopg.Error):
        hub.execute(statement, binary=is_extended)
    hub.execute("ROLLBACK")
    assert_session_is_the_hubs(hub)
    with pytest.raises(errors.InsufficientPrivilege):
        hub.execute("DROP TABLE readings")
    with open_hub(engine) as other:
        assert_session_is_the_hubs(other)


@pytest.mark.parametrize("statement", ["DISCARD ALL", "RESET ALL", "SET TimeZone TO 'UTC'"])
def test_the_hub_keeps_its_role_and_its_settings(
    hub: psycopg.Connection[Any], statement: str
) -> None:
    hub.execute(statement)
    assert_session_is_the_hubs(hub)


def test_the_owner_lends_its_rights_to_no_other_user(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any], analyst: psycopg.Connection[Any]
) -> None:
    with open_owner(engine) as owner:
        owner.execute("CREATE TABLE more (id bigint)")
        assert_session_is_the_hubs(hub)
        with owner.transaction():
            owner.execute("ALTER TABLE more ADD COLUMN note text")
            owner.execute("SET LOCAL ROLE analyst")
            assert owner.execute("SELECT current_user").fetchone() == ("analyst",)
        assert_session_is_the_hubs(hub)
        with pytest.raises(errors.UndefinedTable), owner.transaction():
            owner.execute("SELECT * FROM nothing")
        assert_session_is_the_hubs(hub)
        owner.execute("SET ROLE analyst")  # for its own exchange
        assert_session_is_the_hubs(hub)
        assert analyst.execute("SELECT session_user, current_user").fetchone() == (
            "analyst",
            "analyst",
        )
        assert owner.execute("SELECT session_user, current_user").fetchone() == (
            "postgres",
            "postgres",
        )
        owner.execute("DROP TABLE more")


def test_only_the_owners_statements_are_planned_without_reading_whole_tables(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any], analyst: psycopg.Connection[Any]
) -> None:
    """A refresh of the rollups would read its chunk from end to end, longer with each hour."""
    with open_owner(engine) as owner:
        for conn, planned in ((owner, "off"), (hub, "on"), (owner, "off"), (analyst, "on")):
            assert conn.execute("SHOW enable_seqscan").fetchone() == (planned,)
        owner.execute("BEGIN")
        assert owner.execute("SHOW enable_seqscan").fetchone() == ("off",)
        owner.execute("ROLLBACK")
        assert hub.execute("SHOW enable_seqscan").fetchone() == ("on",)


def test_an_owner_that_dies_in_a_transaction_leaves_the_hub_its_role(
    engine: EmbeddedEngine, hub: psycopg.Connection[Any]
) -> None:
    with closing(raw_connection(engine, "owner")) as conn:
        conn.sendall(message(b"Q", b"BEGIN; DROP TABLE readings\0"))
        read_until_ready(conn)
    assert count_readings(hub) == 3
    assert_session_is_the_hubs(hub)


# ---- the process --------------------------------------------------------------------------------


def test_it_answers_and_says_when_it_is_busy(engine: EmbeddedEngine) -> None:
    assert engine.is_alive()
    assert engine.answers(2)
    with psycopg.connect(engine.dsn, prepare_threshold=None) as conn:
        conn.execute("SELECT 1")  # an open transaction of the hub: all others wait
        assert not engine.answers(0.2)
    assert engine.answers(2)


def use_timescaledb(hub: psycopg.Connection[Any], table: str) -> None:
    hub.execute(f"CREATE TABLE {table} (time timestamptz NOT NULL, value float)")
    hub.execute(f"SELECT create_hypertable('{table}', by_range('time', interval '1 day'))")
    hub.execute(
        f"INSERT INTO {table} SELECT now() - n * interval '1 h', n FROM generate_series(1, 99) n"
    )
    hub.execute(f"ALTER TABLE {table} SET (timescaledb.compress)")
    hub.execute(f"SELECT compress_chunk(chunk) FROM show_chunks('{table}') chunk")
    hub.execute(
        f"CREATE MATERIALIZED VIEW {table}_1d WITH (timescaledb.continuous) AS SELECT "
        f"time_bucket('1 day', time) bucket, sum(value) FROM {table} GROUP BY 1 WITH NO DATA"
    )
    hub.execute(f"CALL refresh_continuous_aggregate('{table}_1d', NULL, NULL)")
    row = hub.execute(f"SELECT sum(sum) FROM {table}_1d").fetchone()
    assert row == (99 * 100 / 2,)
    assert hub.execute(f"SELECT last(value, time) FROM {table}").fetchone() == (1.0,)


def test_timescaledb_is_whole_after_every_start(data_dir: Path) -> None:
    with EmbeddedEngine(data_dir, durable=False) as engine:
        with open_owner(engine) as owner:
            use_timescaledb(owner, "one")
        engine.restart()
        with open_owner(engine) as hub:
            # The first statements after a start: nothing of TimescaleDB's was called before.
            hub.execute("INSERT INTO one VALUES (now() + interval '9 days', 0)")
            assert hub.execute("SELECT count(*) FROM ONLY one").fetchone() == (0,)
            hub.execute("RESET ALL")
            use_timescaledb(hub, "two")


def data_dir_of(engine: EmbeddedEngine) -> Path:
    command_line = Path(f"/proc/{engine.pid}/cmdline").read_text()
    return Path(command_line.split("--data-dir=")[1].split("\0")[0]).parent


def test_secrets_are_for_the_owner_only(engine: EmbeddedEngine) -> None:
    data_dir = data_dir_of(engine)
    for name in ("engine.json", "owner.json", "analyst.password", "engine.lock"):
        assert (data_dir / name).stat().st_mode & 0o777 == 0o600
    assert json.loads((data_dir / "engine.json").read_text()) == {
        "port": engine.port,
        "pid": engine.pid,
        "dsn": engine.dsn,
        "analyst_dsn": engine.analyst_dsn,
    }
    assert json.loads((data_dir / "owner.json").read_text()) == {"dsn": engine.owner_dsn}
    command_line = Path(f"/proc/{engine.pid}/cmdline").read_text()
    assert engine.owner_dsn.split(":")[2].split("@")[0] not in command_line
    assert engine.dsn.split(":")[2].split("@")[0] not in command_line


def test_the_databases_files_are_for_the_owner_only(tmp_path: Path, data_dir: Path) -> None:
    with EmbeddedEngine(tmp_path / "made", durable=False) as engine, open_owner(engine) as owner:
        owner.execute("CREATE TABLE made (id bigint)")
    for path in [tmp_path / "made", *(tmp_path / "made").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "made" / "timescaledb").is_dir()
    (data_dir / "timescaledb").chmod(0o755)  # as an earlier hub made it
    with EmbeddedEngine(data_dir, durable=False):
        assert (data_dir / "timescaledb").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_leaves_the_address_that_was_written_down(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still right; what names the new process follows as soon as there is room."""

    def no_room(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def written() -> dict[str, Any]:
        content: dict[str, Any] = json.loads((data_dir / "engine.json").read_text())
        return content

    with EmbeddedEngine(data_dir, durable=False) as engine:
        before = written()
        with monkeypatch.context() as patch:
            patch.setattr("app.database.addresses.write_private", no_room)
            engine.restart()
            assert engine.answers(5)
            assert written() == before
            with pytest.raises(OSError):
                engine.announce()
        engine.announce()
        assert written() == {**before, "pid": engine.pid}


def test_a_disk_that_was_full_from_the_start_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("app.database.addresses.os.fsync", no_room)
    engine = EmbeddedEngine(data_dir, durable=False)
    with pytest.raises(EngineError, match="No space left on device"):
        engine.start()
    assert not engine.is_alive()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"Port {port} .* is in use.*HUB_EMBEDDED_PORT"):
            EmbeddedEngine(tmp_path, port, durable=False).start()
        # The directory is free again.
        assert not (tmp_path / "engine.json").exists()


def test_missing_node_modules_point_to_make_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.engine_process.EMBEDDED_DIR", tmp_path)
    with pytest.raises(EngineError, match="make install"):
        EmbeddedEngine(tmp_path, durable=False).start()


def test_a_second_engine_on_the_directory_is_refused(engine: EmbeddedEngine) -> None:
    second = EmbeddedEngine(data_dir_of(engine), lock_wait_seconds=0.2)
    with pytest.raises(EngineError, match="in use by another hub"):
        second.start()


def wait_until_dead(engine: EmbeddedEngine) -> None:
    """Its sockets close a moment before the process can be waited for."""
    wait_until(lambda: not engine.is_alive())


def test_acknowledged_rows_survive_a_kill_under_load(data_dir: Path) -> None:
    with EmbeddedEngine(data_dir) as engine:
        with open_owner(engine) as conn:
            conn.execute("CREATE TABLE kept (writer int, n int)")
            conn.execute("GRANT INSERT ON kept TO telemetry_hub")
        acknowledged = [0] * 4

        def write(writer: int) -> None:
            try:
                with open_hub(engine) as conn:
                    while True:
                        n = acknowledged[writer] + 1
                        conn.execute("INSERT INTO kept VALUES (%s, %s)", (writer, n))
                        acknowledged[writer] = n
            except psycopg.OperationalError:
                pass  # killed

        assert engine.pid is not None
        killer = threading.Timer(1.0, os.kill, (engine.pid, signal.SIGKILL))
        killer.start()
        in_threads(write, 4)
        assert min(acknowledged) > 0
        wait_until_dead(engine)

        address = engine.dsn
        engine.restart()
        assert engine.dsn == address
        with open_owner(engine) as conn:
            for writer, n in enumerate(acknowledged):
                row = conn.execute(
                    "SELECT count(*), max(n) FROM kept WHERE writer = %s", (writer,)
                ).fetchone()
                assert row is not None
                assert row[0] == row[1]
                assert row[0] in (n, n + 1)


def test_a_trap_ends_the_process_and_a_restart_serves_again(data_dir: Path) -> None:
    with EmbeddedEngine(data_dir, durable=False) as engine:
        assert engine.answers(5)
        # The engine checks no stack depth: this overruns it.
        with open_hub(engine) as conn, pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT repeat('[', 1000000)::json")
        wait_until_dead(engine)
        assert not engine.answers(0.5)
        engine.restart()
        assert engine.answers(5)


def test_a_slow_disk_is_named(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = shutil.which("node")
    (tmp_path / "slow.mjs").write_text(
        textwrap.dedent("""
            import fs from "node:fs";
            // The machine's own disk, which may be slow as well, is left out.
            fs.fdatasyncSync = fs.fsyncSync = () => {
              if (fs.existsSync(new URL("now", import.meta.url)))
                Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
            };
        """)
    )
    wrapper = tmp_path / "bin" / "node"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {node} --import {tmp_path}/slow.mjs "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")

    def slow_disk_lines() -> list[str]:
        return [text for text in caplog.messages if text.startswith("slow_disk")]

    with EmbeddedEngine(data_dir) as engine, open_owner(engine) as conn:
        conn.execute("CREATE TABLE kept (id bigint)")
        (tmp_path / "now").touch()
        conn.execute("INSERT INTO kept VALUES (1)")
        (tmp_path / "now").unlink()
        wait_until(lambda: bool(slow_disk_lines()))
    (line,) = slow_disk_lines()
    found = re.fullmatch(r"slow_disk .* times=(\d+) slowestMilliseconds=(\d+)", line)
    assert found
    assert int(found[1]) >= 1
    assert int(found[2]) >= 300


def test_a_restart_makes_no_new_database_where_the_old_one_is_gone(data_dir: Path) -> None:
    with EmbeddedEngine(data_dir, durable=False) as engine:
        with open_owner(engine) as conn:
            conn.execute("CREATE TABLE kept (n integer)")
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        wait_until_dead(engine)
        unmounted = data_dir.with_name("unmounted")
        data_dir.rename(unmounted)
        for _ in range(2):
            assert engine.has_room()
            with pytest.raises(EngineError, match="is gone: is it mounted"):
                engine.restart()
        unmounted.rename(data_dir)
        engine.restart()
        with open_owner(engine) as conn:
            assert conn.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_start_makes_no_new_database_where_there_was_one(data_dir: Path) -> None:
    for wreck, words in ((shutil.rmtree, "is gone: is it mounted"), (make_empty, "not a database")):
        wreck(data_dir / "timescaledb")
        with pytest.raises(EngineError, match=words):
            EmbeddedEngine(data_dir, durable=False).start()
    shutil.rmtree(data_dir / "timescaledb")
    (data_dir / "analyst.password").unlink()
    with EmbeddedEngine(data_dir, durable=False) as engine:  # as for a new hub
        assert engine.answers(5)


def make_empty(directory: Path) -> None:
    """As the mount point of what is not mounted."""
    directory.mkdir()


def test_a_start_that_is_interrupted_may_be_repeated(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        engine = EmbeddedEngine(tmp_path / "data", taken.getsockname()[1], durable=False)
        with pytest.raises(EngineError, match="in use"):
            engine.start()
    with engine:
        assert engine.answers(5)
        password = (tmp_path / "data" / "analyst.password").read_text().strip()
        assert password in engine.analyst_dsn


def fill_with_noise(file: Path) -> None:
    size = file.stat().st_size
    file.write_bytes(os.urandom(size))


def remove_files(directory: Path) -> None:
    for file in filter(Path.is_file, directory.iterdir()):
        file.unlink()


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "control file": (
        "global/pg_control",
        fill_with_noise,
        "FATAL: database files are incompatible",
    ),
    "no control file": ("global/pg_control", Path.unlink, "PANIC: could not open file"),
    "log": ("pg_wal", shutil.rmtree, 'FATAL: required WAL directory "pg_wal" does not exist'),
    "log segments": ("pg_wal", remove_files, "PANIC: could not locate a valid checkpoint record"),
    "catalog": ("base/5/1259", fill_with_noise, "FATAL: invalid page in block 0"),
    "function catalog": ("base/5/1255", fill_with_noise, "invalid page in block"),
    "statuses": ("pg_xact/0000", Path.unlink, "FATAL: could not access status of transaction"),
    "tables": ("base/5", shutil.rmtree, 'FATAL: database "postgres" does not exist'),
    "settings": ("postgresql.conf", Path.unlink, "could not access the server configuration file"),
}


@pytest.mark.parametrize(("name", "wreck", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_database_is_named_by_postgresql(
    data_dir: Path, name: str, wreck: Callable[[Path], object], words: str
) -> None:
    before = {file: file.stat().st_size for file in data_dir.rglob("*") if file.is_file()}
    wreck(data_dir / "timescaledb" / name)
    with pytest.raises(EngineError) as caught:
        EmbeddedEngine(data_dir, durable=False).start()
    assert words in str(caught.value)
    assert str(caught.value).endswith(
        ". Keep a copy of the directory, and restore a backup (docs/operations.md)."
    )
    assert "wasm" not in str(caught.value)
    assert before.keys() >= {file for file in data_dir.rglob("*") if file.is_file()}


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "in a long statement"])
def test_the_engine_ends_when_its_parent_is_killed(data_dir: Path, is_busy: bool) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from app.database.engine import EmbeddedEngine

        engine = EmbeddedEngine(Path(sys.argv[1]), durable=False)
        engine.start()
        print(engine.pid, engine.dsn, flush=True)
        time.sleep(60)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid, dsn = parent.stdout.readline().split()
        with closing(psycopg.connect(dsn, autocommit=True, prepare_threshold=None)) as hub:
            if is_busy:
                hub.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 10000000000)")
                time.sleep(0.2)
            parent.kill()
            parent.wait()
            # Right away, while the orphan is still there: the lock waits for it.
            with EmbeddedEngine(data_dir, durable=False, lock_wait_seconds=20) as next_engine:
                assert not is_running(int(pid))
                assert next_engine.answers(5)


def test_stop_does_not_wait_for_a_long_statement(data_dir: Path) -> None:
    with EmbeddedEngine(data_dir, durable=False) as engine:
        assert engine.pid is not None
        busy = raw_connection(engine, "hub")
        busy.sendall(message(b"Q", b"SELECT count(*) FROM generate_series(1, 10000000000)\0"))
        time.sleep(0.2)
        started = time.monotonic()
        engine.stop(timeout=0.5)
        assert time.monotonic() - started < 20
        busy.close()
