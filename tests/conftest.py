"""A real TimescaleDB for every test: the embedded engine, or a scratch database on the server that
TEST_DATABASE_URL names. Migrated once a session, emptied before each test that asks for it. With
TEST_STANDBY_URL, the address of a standby of that server, requests read from the standby.

As in production, the application has the hub's rights and no more; what tasks do, and what only
tests do to a database, the owner does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import errors
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from app import create_app
from app.api.context import hub_of
from app.api.factory import close_app
from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.engine_process import _find_node
from app.database.migrate import migrate
from app.database.pool import Connection, Database
from app.domain.rollups import ROLLUPS
from tools import engine_template

TABLES = (
    "job_telemetry",
    "disk_telemetry",
    "node_telemetry",
    "nodes",
    "jobs",  # with its disks, its events and what its sender lost
    "changed_runs",  # after jobs, whose triggers write them
    "series",
    "attention",
    "attention_changes",  # after attention, whose triggers write them
    "destinations",  # with their addresses, routes, episodes and messages
    "job_count_changes",  # after jobs, whose triggers write them
    "job_counts",
    "machine_job_counts",
    "job_ends",  # likewise
    "tasks",
    "ingest_beats",
    "hub_absences",
    "tokens",
    "rules",
    "maintenance",
    "rollup_refreshes",
    "wide_writes",
    "stale_hours",
    "retention_clock",
)
HYPERTABLES = TABLES[:3]
# One statement: each round trip to the embedded engine costs a millisecond.
_EMPTY_TABLES = f"DO $$BEGIN {' '.join(f'DELETE FROM {table};' for table in TABLES)} END$$"
LOGIN_PASSWORD = "of-a-scratch-database"
# A test has refreshed, compressed or dropped something. Else deleting a few rows is enough.
_IS_WORKED_ON = """
SELECT EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_watermark
               WHERE _timescaledb_functions.to_timestamp(watermark) > 'epoch')
    OR EXISTS (SELECT FROM timescaledb_information.chunks WHERE is_compressed)
    OR EXISTS (SELECT FROM series_edges WHERE isfinite(dropped_before))
    OR EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_materialization_ranges)
"""


BROWSER = "tests/browser/"
FIRST = (BROWSER, "tests/chaos/")
LONG = {"CHAOS", "FUZZ_RUNS"}  # what is set for a run in which all engines live long
ORDINARY_PATH = os.environ["PATH"]

# How long an example takes is up to the machine and what else it does.
hypothesis.settings.register_profile(
    "patient",
    max_examples=60,  # `make fuzz` tries more
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")
# `make quick`: a third of the examples that `make test` tries.
hypothesis.settings.register_profile("quick", max_examples=20)


def pytest_configure(config: pytest.Config) -> None:
    """Begun in the background, the tests would hand ignored signals down to every tool they run."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs several sessions, unless a server is there to have them.

    The longest come first: no worker is to have a long file left when the others have none. What
    waits for faults to last is among them, so that others have something to do meanwhile.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    if not os.environ.get("TEST_DATABASE_URL"):
        needs_server = [item for item in items if item.get_closest_marker("server")]
        config.hook.pytest_deselected(items=needs_server)
        items[:] = [item for item in items if item not in needs_server]


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """By file, but all files of the browser to one worker: it has the browser and a hub of data."""

    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith(BROWSER) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def _engines_start_quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A `node` first on PATH that compiles WebAssembly quickly and does not optimise it.

    Optimising an engine pays off after some seconds of work, which those of most tests never do: a
    start takes 0.9 s of a processor instead of 2.2 s. What lives longer is given ORDINARY_PATH.
    """
    if LONG & os.environ.keys():
        yield
        return
    folder = tmp_path_factory.mktemp("bin")
    wrapper = folder / "node"
    wrapper.write_text(f'#!/bin/sh\nexec "{_find_node()}" --liftoff-only "$@"\n')
    wrapper.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield


@pytest.fixture(scope="session", autouse=True)
def _template(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    _engines_start_quickly: None,
) -> None:
    """One template for all workers, kept in pytest's cache until what it is made of changes."""
    if pytestconfig.pluginmanager.hasplugin("cacheprovider"):
        engine_template.offer(pytestconfig.cache.mkdir("engine"))
    else:
        engine_template.offer(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Settings that lead to a migrated TimescaleDB."""
    server = os.environ.get("TEST_DATABASE_URL")
    source = _scratch_database(server) if server else _embedded(tmp_path_factory.mktemp("hub"))
    for config in source:
        with Database.of_owner(config).connect(autocommit=True) as conn:
            migrate(conn)
        yield config


def _embedded(data_dir: Path) -> Iterator[Config]:
    engine_template.copy_to(data_dir)
    engine = EmbeddedEngine(data_dir, port=0, durable=False)  # saves a sync at each commit
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", ORDINARY_PATH)
        engine.start()
    yield Config(data_dir=data_dir, log_level="WARNING")
    engine.stop()


def _scratch_database(server: str) -> Iterator[Config]:
    name = f"hub_test_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        make_hub_login(conn, name)
    owner = urlsplit(server)._replace(path=f"/{name}")
    host = owner.netloc.rpartition("@")[2]
    hub = owner._replace(netloc=f"{name}:{LOGIN_PASSWORD}@{host}")
    yield Config(
        database_url=urlunsplit(hub),
        owner_url=urlunsplit(owner),
        read_url=_on_standby(hub.path, f"{name}:{LOGIN_PASSWORD}"),
        log_level="WARNING",
    )
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        conn.execute(f"DROP ROLE {name}")


def _on_standby(path: str, login: str) -> str | None:
    """The same database on the standby that TEST_STANDBY_URL names, if it is set."""
    standby = os.environ.get("TEST_STANDBY_URL")
    if not standby:
        return None
    address = urlsplit(standby)
    host = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(path=path, netloc=f"{login}@{host}"))


def make_hub_login(conn: psycopg.Connection[Any], name: str) -> None:
    """What a server's administrator does, in its simplest form."""
    with suppress(errors.DuplicateObject, errors.UniqueViolation):  # it is the whole server's
        conn.execute("CREATE ROLE telemetry_hub NOLOGIN")
    conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{LOGIN_PASSWORD}' IN ROLE telemetry_hub")


@pytest.fixture(scope="session")
def open_database(config: Config) -> Iterator[Database]:
    database = Database.from_config(config)
    database.open()
    yield database
    database.close()


@pytest.fixture(scope="session")
def open_owner(config: Config) -> Iterator[Database]:
    database = Database.of_owner(config)
    database.open()
    yield database
    database.close()


def empty_tables(owner: Database) -> None:
    """Make the tables as they are before each test."""
    with owner.transaction() as conn:  # a DELETE of few rows is quicker than a TRUNCATE
        if conn.execute(_IS_WORKED_ON).fetchone() == (True,):
            _forget_work(conn)
        conn.execute(_EMPTY_TABLES)


@pytest.fixture
def owner(open_owner: Database) -> Database:
    """An opened database whose tables are empty, with all rights: for tasks, and for sabotage."""
    empty_tables(open_owner)
    return open_owner


@pytest.fixture
def database(open_database: Database, owner: Database) -> Database:
    """The same with the rights that the hub has."""
    return open_database


def _forget_work(conn: Connection) -> None:
    """Drop every chunk, and reset the rollups: their watermarks are before all rows again."""
    for rollup in ROLLUPS:
        conn.execute(f"TRUNCATE {rollup.name}")
    for table in HYPERTABLES:
        conn.execute(f"TRUNCATE {table}")
    conn.execute("UPDATE series_edges SET dropped_before = '-infinity'")
    # What a refresh that was cut off has still to do.
    conn.execute("DELETE FROM _timescaledb_catalog.continuous_aggs_materialization_ranges")


@pytest.fixture(scope="session")
def running_app(config: Config) -> Iterator[Flask]:
    app = create_app(config)
    yield app
    close_app(app)


@pytest.fixture
def app(running_app: Flask, database: Database) -> Flask:
    """The application on empty tables, its writer running."""
    hub_of(running_app).writer._refused_at = None  # by an earlier test
    return running_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Requests into the application. Paths are whole, with /api/v1."""
    return app.test_client()
