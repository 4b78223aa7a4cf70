"""A wrecked page of the embedded database at run time: what does not need it is stored; the rest is
503, not 500, which would spend a sender's tries; health tells of it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app import create_app
from app.api.factory import close_app
from app.api.service import check_writer
from app.checks.probe import DatabaseProbe
from app.config import Config
from app.database.engine import EmbeddedEngine
from app.database.pool import Database
from app.domain.updates import Update
from app.errors import DatabaseDamaged
from app.ingest import writer as writer_module
from app.ingest.transaction import Outcome, Receipt, store_updates
from app.ingest.writer import Writer
from tests.factories import make_update
from tools import engine_template

PAGE = 8192


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A data directory with jobs on many pages, and the files of tables and indexes."""
    data_dir = tmp_path_factory.mktemp("filled")
    engine_template.copy_to(data_dir)
    with (
        EmbeddedEngine(data_dir, durable=False) as engine,
        psycopg.connect(engine.owner_dsn, autocommit=True, prepare_threshold=None) as owner,
    ):
        owner.execute(
            "INSERT INTO jobs (job_id, job_type, vm_name) "
            "SELECT 'job-' || n, 'backup', repeat('x', 500) FROM generate_series(1, 200) AS n"
        )
        files = owner.execute("SELECT relname, pg_relation_filepath(oid) FROM pg_class").fetchall()
    return data_dir, {name: path for name, path in files if path}


@pytest.fixture
def damaged(
    filled: tuple[Path, dict[str, str]], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[EmbeddedEngine]:
    """An engine; `request.param`: the relation of which the first page is wrecked."""
    data_dir, files = filled
    copy = Path(shutil.copytree(data_dir, tmp_path / "data"))
    with (copy / "timescaledb" / files[request.param]).open("r+b") as file:
        file.write(os.urandom(PAGE))
    with EmbeddedEngine(copy, durable=False) as engine:
        yield engine


def make_writer(engine: EmbeddedEngine) -> Writer:
    database = Database(engine.dsn, is_embedded=True)
    return Writer(database, {Update: store_updates}, capacity=1000, wait_seconds=20, late_days=28)


@pytest.fixture
def writer(damaged: EmbeddedEngine) -> Iterator[Writer]:
    writer = make_writer(damaged)
    writer.start()
    yield writer
    writer.stop()


def submit(writer: Writer, *job_ids: str) -> list[Outcome]:
    return writer.submit([make_update(-n - 1, job_id=job_id) for n, job_id in enumerate(job_ids)])


@pytest.mark.parametrize("damaged", ["jobs_job_id_key", "jobs"], indirect=True)
def test_a_push_that_meets_damage_is_answered_503(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    assert check_writer(writer)["status"] == "ok"
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(DatabaseDamaged, match="is damaged") as caught,
    ):
        submit(writer, "job-1")
    assert caught.value.status == 503
    assert (caught.value.retry_after_seconds or 0) >= 1
    (line,) = caplog.messages
    assert line.startswith("the database is damaged: ")
    assert "invalid page in block 0" in line
    check = check_writer(writer)
    assert check["status"] == "damaged"
    assert check["detail"] == str(DatabaseDamaged())
    assert writer.is_accepting


@pytest.mark.parametrize("damaged", ["jobs"], indirect=True)
def test_what_does_not_need_the_wrecked_page_is_stored(writer: Writer) -> None:
    for job_ids in (["job-150"], ["job-180", "new-1"]):
        assert all(isinstance(outcome, Receipt) for outcome in submit(writer, *job_ids))
    with pytest.raises(DatabaseDamaged):
        submit(writer, "job-1", "job-160")
    (again,) = submit(writer, "job-170")
    assert isinstance(again, Receipt)


@pytest.mark.parametrize("damaged", ["jobs_job_id_key"], indirect=True)
def test_a_large_batch_of_which_nothing_can_be_stored_is_given_up_soon(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    commit = Writer._commit

    def counted(self: Writer, items: Any) -> list[Outcome]:
        tries.append(len(items))
        return commit(self, items)

    monkeypatch.setattr(Writer, "_commit", counted)
    with pytest.raises(DatabaseDamaged):
        submit(writer, *(f"job-{n}" for n in range(200)))
    assert len(tries) < 50


@pytest.mark.parametrize("damaged", ["jobs_job_id_key"], indirect=True)
def test_health_forgets_damage_that_was_repaired(
    damaged: EmbeddedEngine, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatabaseDamaged):
        submit(writer, "job-1")
    with psycopg.connect(damaged.owner_dsn, autocommit=True, prepare_threshold=None) as owner:
        owner.execute("REINDEX INDEX jobs_job_id_key")
    (outcome,) = submit(writer, "job-1")
    assert isinstance(outcome, Receipt)
    assert check_writer(writer)["status"] == "damaged"
    monkeypatch.setattr(writer_module, "DAMAGE_SECONDS", 0.0)
    assert writer.damage is None


@pytest.mark.parametrize("damaged", ["jobs_job_id_key"], indirect=True)
def test_the_api_says_so(damaged: EmbeddedEngine, tmp_path: Path) -> None:
    app = create_app(Config(data_dir=tmp_path / "data"))
    client = app.test_client()
    try:
        body = {"status": "running", "bytes_transferred": 1}
        answer = client.post("/api/v1/telemetry/backup/job-1", json=body)
        assert answer.status_code == 503, answer.get_json()
        assert answer.get_json()["detail"] == str(DatabaseDamaged())
        read = client.get("/api/v1/jobs/job-1")
        assert read.status_code == 503, read.get_json()
        health = client.get("/api/v1/health").get_json()
        assert health["status"] == "degraded"
        assert health["checks"]["writer"]["status"] == "damaged"
    finally:
        close_app(app)


def test_a_changed_bit_is_noticed(filled: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    data_dir, files = filled
    copy = Path(shutil.copytree(data_dir, tmp_path / "data"))
    with (copy / "timescaledb" / files["jobs"]).open("r+b") as file:
        file.seek(PAGE - 100)  # in a row
        (byte,) = file.read(1)
        file.seek(PAGE - 100)
        file.write(bytes([byte ^ 1]))
    with (
        EmbeddedEngine(copy, durable=False) as engine,
        psycopg.connect(engine.owner_dsn, autocommit=True, prepare_threshold=None) as owner,
    ):
        assert owner.execute("SHOW data_checksums").fetchone() == ("on",)
        with pytest.raises(psycopg.errors.DataCorrupted, match="invalid page in block 0"):
            owner.execute("SELECT count(*) FROM jobs")


@pytest.mark.parametrize("damaged", ["tasks"], indirect=True)
def test_a_look_that_meets_damage_says_so(damaged: EmbeddedEngine) -> None:
    probe = DatabaseProbe()
    probe._look_at(Database(damaged.dsn, is_embedded=True))
    assert probe._latest is not None
    assert probe._latest.error == str(DatabaseDamaged())
