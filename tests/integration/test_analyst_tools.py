"""The tools that analysts use, each with the embedded engine and the address for analysts."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from app.database.engine import EmbeddedEngine
from tests.client.tools import need
from tools import engine_template

QUERY = (
    "SELECT job_id, bytes_transferred, started_at, progress_percent, disks FROM "
    "(SELECT *, ARRAY[1, 2] AS disks FROM jobs) AS jobs ORDER BY job_id"
)
IDS = ["backup-a", "backup-b", "backup-ü"]


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The analyst's address. The engine has to live through the whole module."""
    data_dir = tmp_path_factory.mktemp("engine")
    engine_template.copy_to(data_dir)
    with EmbeddedEngine(data_dir, durable=False) as engine:
        pid = engine.pid
        with psycopg.connect(engine.owner_dsn, autocommit=True, prepare_threshold=None) as owner:
            owner.execute(
                "INSERT INTO jobs (job_id, job_type, bytes_transferred, progress_percent, status) "
                "SELECT id, 'backup', 1 << 20, 12.5, 'running' FROM unnest(%s::text[]) AS id",
                [IDS],
            )
        yield engine.analyst_dsn
        assert engine.is_alive()
        assert engine.pid == pid


async def read_with_asyncpg(dsn: str) -> list[str]:
    import asyncpg

    async with asyncpg.create_pool(dsn, min_size=2, max_size=3) as pool:
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT $1::int + 1", 41) == 42
            await conn.execute("SET timezone TO 'Asia/Tokyo'")
            assert await conn.fetchval("SHOW timezone") == "Asia/Tokyo"
            async with conn.transaction(readonly=True):
                cursor = [row["job_id"] async for row in conn.cursor(QUERY, prefetch=2)]
            copied = io.BytesIO()
            await conn.copy_from_query(QUERY, output=copied, format="csv")
            await conn.copy_from_table("jobs", columns=["job_id"], output=copied)
            assert copied.getvalue().count(b"backup-a") == 2
        async with pool.acquire() as conn:  # reset in between
            assert await conn.fetchval("SHOW timezone") == "UTC"
            rows = await conn.fetch(QUERY)
            assert rows[0]["disks"] == [1, 2]
    assert cursor == [row["job_id"] for row in rows]
    return cursor


def asyncpg(dsn: str) -> list[str]:
    return asyncio.run(read_with_asyncpg(dsn))


def psycopg2(dsn: str) -> list[str]:
    import psycopg2

    with closing(psycopg2.connect(dsn)) as conn:
        conn.set_session(readonly=True)
        with conn, conn.cursor(name="pieces") as cursor:  # DECLARE … WITHOUT HOLD
            cursor.itersize = 2
            cursor.execute(QUERY)
            ids = [row[0] for row in cursor]
        with conn, conn.cursor() as plain:
            copied = io.StringIO()
            plain.copy_expert(f"COPY ({QUERY}) TO STDOUT WITH CSV HEADER", copied)
            plain.copy_to(copied, "jobs", columns=["job_id"])
            assert copied.getvalue().count("backup-a") == 2
        conn.set_session(readonly=True, autocommit=True)
        with conn.cursor() as plain:
            plain.execute("SELECT current_setting('transaction_read_only')")
            assert plain.fetchone() == ("on",)
    return ids


def psycopg3(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as conn:
        with conn.cursor(name="pieces") as cursor:
            cursor.itersize = 2
            ids = [row[0] for row in cursor.execute(QUERY)]
        with conn.cursor().copy(f"COPY ({QUERY}) TO STDOUT (FORMAT binary)") as copy:
            assert b"".join(bytes(part) for part in copy).startswith(b"PGCOPY\n")
    return ids


def polars_by_adbc(dsn: str) -> list[str]:
    import polars

    return list(polars.read_database_uri(QUERY, dsn, engine="adbc")["job_id"])


def adbc(dsn: str) -> list[str]:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(dsn) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT $1::int + 1", (41,))
        assert cursor.fetchall() == [(42,)]
        tables = conn.adbc_get_objects(depth="tables").read_all()
        assert tables.num_rows > 0
        cursor.execute(QUERY)
        table = cursor.fetch_arrow_table()
        assert table["disks"][0].as_py() == [1, 2]
        return [str(job_id) for job_id in table["job_id"].to_pylist()]


def pandas_by_adbc(dsn: str) -> list[str]:
    import pandas
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(dsn) as conn:
        return list(pandas.read_sql(QUERY, conn)["job_id"])


def pandas_by_sqlalchemy(dsn: str, driver: str) -> list[str]:
    import pandas
    import sqlalchemy

    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"))
    with engine.connect() as conn:
        whole = pandas.read_sql(sqlalchemy.text(QUERY), conn)
        assert len(pandas.read_sql_table("jobs", conn, columns=["job_id"])) == len(IDS)
        conn.rollback()
        in_pieces = conn.execution_options(stream_results=True)
        pieces = pandas.read_sql(sqlalchemy.text(QUERY), in_pieces, chunksize=2)
        assert [len(piece) for piece in pieces] == [2, 1]
    engine.dispose()
    return list(whole["job_id"])


def psql(dsn: str) -> list[str]:
    need("psql")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "jobs.csv"
        commands = [
            r"\d jobs",
            r"\dt+",
            rf"\copy ({QUERY}) to '{file}' csv",
            rf"\copy jobs to {file}2",
        ]
        arguments = [part for command in commands for part in ("-c", command)]
        answer = subprocess.run(
            ["psql", "-X", "-v", "ON_ERROR_STOP=1", dsn, *arguments], capture_output=True, text=True
        )
        assert answer.returncode == 0, answer
        assert "backup-a" in Path(f"{file}2").read_text()
        return [line.split(",")[0] for line in file.read_text().splitlines()]


TOOLS: dict[str, Callable[[str], list[str]]] = {
    "asyncpg": asyncpg,
    "psycopg2": psycopg2,
    "psycopg": psycopg3,
    "polars": polars_by_adbc,
    "adbc": adbc,
    "pandas, adbc": pandas_by_adbc,
    "pandas, sqlalchemy, psycopg": lambda dsn: pandas_by_sqlalchemy(dsn, "psycopg"),
    "pandas, sqlalchemy, psycopg2": lambda dsn: pandas_by_sqlalchemy(dsn, "psycopg2"),
    "psql": psql,
}


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
def test_a_tool_reads_every_job(dsn: str, tool: Callable[[str], list[str]]) -> None:
    assert tool(dsn) == IDS


@pytest.mark.parametrize(
    "encoding", ["utf8", "'utf-8'", "UTF-8", '"UNICODE"', "sql_ascii", "SQL-ASCII"]
)
def test_the_encoding_may_be_spelled_as_postgresql_allows(dsn: str, encoding: str) -> None:
    with psycopg.connect(dsn, client_encoding=encoding, autocommit=True) as conn:
        conn.execute("SELECT 1")
