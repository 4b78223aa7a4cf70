"""What ends the embedded engine: named in the log, and analysts who do it again are kept out."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.checks.probe import DatabaseProbe
from app.database.engine import EmbeddedEngine
from app.database.pool import Database
from tools import engine_template
from tools.hub_process import wait_until


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    engine_template.copy_to(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def engine(data_dir: Path, caplog: pytest.LogCaptureFixture) -> Iterator[EmbeddedEngine]:
    caplog.set_level(logging.INFO, logger="engine")
    with EmbeddedEngine(data_dir, durable=False) as engine:
        yield engine


def connect(dsn: str, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None, **options)


def end(engine: EmbeddedEngine, dsn: str, statement: str, **options: Any) -> None:
    """Let a statement end the engine, and start it again as the supervisor does."""
    with connect(dsn, **options) as conn, pytest.raises(psycopg.OperationalError):
        conn.execute(statement)
    wait_until(lambda: not engine.is_alive())
    engine.restart()


def nested_json(depth: int) -> str:
    return f"SELECT repeat('[', {depth})::json"


def terms(count: int) -> str:
    return f"SELECT 1 {'+ 1' * count}"


def pattern(depth: int) -> str:
    return f"SELECT 'a' ~ (repeat('(', {depth}) || 'a' || repeat(')', {depth}))"


@pytest.mark.parametrize(
    ("make", "size"), [(nested_json, 800_000), (terms, 200_000), (pattern, 20_000)]
)
def test_the_log_names_who_overflowed_the_stack(
    engine: EmbeddedEngine,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[int], str],
    size: int,
) -> None:
    statement = make(size)
    end(engine, engine.analyst_dsn, statement, application_name="a notebook")
    (line,) = [text for text in caplog.messages if text.startswith("trapped")]
    assert line.endswith(f" user=analyst application=a notebook statement={statement[:100]}")
    assert engine.answers(5)


def test_the_log_names_who_took_too_long(
    engine: EmbeddedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        psycopg.connect(engine.analyst_dsn, autocommit=True, prepare_threshold=0) as conn,
        pytest.raises(psycopg.OperationalError),
    ):
        conn.execute("SET application_name TO 'overview'")
        conn.execute("SELECT count(*), %s::text FROM generate_series(1, 10000000000)", ["ä"])
    wait_until(lambda: not engine.is_alive())
    engine.restart()
    (line,) = [text for text in caplog.messages if text.startswith("killed")]
    assert " user=analyst application=overview statement=SELECT count(*), $1::text FROM" in line


def test_analysts_who_end_the_engine_twice_are_kept_out_for_a_while(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.database.lockout.LOCKOUT_SECONDS", 6.0)
    database = Database(engine.dsn, is_embedded=True)
    probe = DatabaseProbe()

    def refused_until() -> Any:
        look = probe._ask(database)
        assert look.error is None
        return look.analysts_refused_until

    end(engine, engine.analyst_dsn, nested_json(800_000))
    with connect(engine.analyst_dsn) as analyst:
        analyst.execute("SELECT 1")
    assert refused_until() is None
    end(engine, engine.analyst_dsn, nested_json(800_000))
    with pytest.raises(psycopg.OperationalError, match=r"may not connect for another [1-6] s"):
        connect(engine.analyst_dsn)
    assert refused_until() is not None
    assert any("analysts may not connect for" in text for text in caplog.messages)
    with connect(engine.owner_dsn) as owner:  # as everyone else
        owner.execute("SET search_path TO public")
        owner.execute("SELECT FROM jobs")
    assert refused_until() is not None
    time.sleep(6)
    assert refused_until() is None
    with connect(engine.analyst_dsn) as analyst:
        analyst.execute("SELECT 1")
    # The count starts again.
    end(engine, engine.analyst_dsn, nested_json(800_000))
    with connect(engine.analyst_dsn) as analyst:
        analyst.execute("SELECT 1")


def test_analysts_are_not_kept_out_for_what_others_do(engine: EmbeddedEngine) -> None:
    for _ in range(3):
        end(engine, engine.owner_dsn, nested_json(800_000))
    with connect(engine.analyst_dsn) as analyst:
        analyst.execute("SELECT 1")


def test_an_engine_that_has_grown_is_started_again(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="engine")
    with EmbeddedEngine(data_dir, durable=False, memory_mib=300) as engine:
        with connect(engine.dsn) as conn:
            conn.execute("BEGIN")
            conn.execute("SELECT length(repeat('x', 100000000))")
            time.sleep(3)  # not while a transaction is open
            conn.execute("COMMIT")
        wait_until(lambda: not engine.is_alive())
        (line,) = [text for text in caplog.messages if text.startswith("stopping")]
        assert re.search(r"has \d+ MiB of memory", line)
        engine.restart()
        time.sleep(5)
        assert engine.is_alive()
