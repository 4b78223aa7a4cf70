"""`python -m app …` as an operator runs it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from app.config import Config
from app.database.pool import Database
from tools.hub_process import database_settings, run_app


@pytest.fixture
def env(config: Config) -> dict[str, str]:
    """The environment that leads to the session's database."""
    return database_settings(config)


def test_config_shows_each_setting_with_its_source() -> None:
    shown = run_app(
        "config",
        HUB_PORT="9000",
        DATABASE_URL="postgresql://hub:secret@db/hub",
        HUB_OWNER_URL="postgresql://owner:secret@db/hub",
    )
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert lines["HUB_PORT"].split()[1:3] == ["9000", "environment"]
    assert lines["HUB_HOST"].split()[1:3] == ["127.0.0.1", "default"]
    assert "secret" not in shown.stdout
    assert "***" in lines["DATABASE_URL"]
    assert "***" in lines["HUB_OWNER_URL"]


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"HUB_PORT": "99999"}, "HUB_PORT is 99999: it must be between 1 and 65535."),
        ({"HUB_LOG_LEVEL": "LOUD"}, "HUB_LOG_LEVEL is 'LOUD'"),
        ({"HUB_FAIL_AFTER_SECONDS": "30"}, "HUB_FAIL_AFTER_SECONDS (30) must be larger than"),
        ({"HUB_OWNER_URL": "postgresql://db/hub"}, "HUB_OWNER_URL is set and DATABASE_URL is not"),
        ({"HUB_LATE_DATA_DAYS": "30"}, "HUB_LATE_DATA_DAYS (30) must be smaller than"),
        (
            {"HUB_RAW_RETENTION_DAYS": "365"},
            "HUB_RAW_RETENTION_DAYS (365) must be smaller than HUB_ROLLUP_1M_RETENTION_DAYS (365).",
        ),
    ],
)
def test_bad_setting_is_a_sentence(env: dict[str, str], sentence: str) -> None:
    refused = run_app("config", **env)
    assert refused.returncode == 1
    assert refused.stderr.startswith("hub: ")
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_migrate_says_when_there_is_nothing_to_do(database: Database, env: dict[str, str]) -> None:
    done = run_app("migrate", **env)
    assert (done.returncode, done.stdout) == (0, "The schema is up to date.\n")


def test_migrate_without_a_running_hub(tmp_path: Path) -> None:
    done = run_app("migrate", HUB_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "applied migrations/0001_create_jobs.sql" in done.stdout


def test_doctor_passes_and_fails(database: Database, config: Config, env: dict[str, str]) -> None:
    well = run_app("doctor", **env)
    assert well.returncode == 0, well.stdout
    with psycopg.connect(config.owner_dsn(), autocommit=True, prepare_threshold=None) as conn:
        conn.execute("ALTER INDEX jobs_live_idx RENAME TO hidden")
        ill = run_app("doctor", **env)
        conn.execute("ALTER INDEX hidden RENAME TO jobs_live_idx")
    assert ill.returncode == 1
    assert "FAIL" in ill.stdout
    assert "jobs_live_idx" in ill.stdout


def test_unreachable_server_is_a_sentence() -> None:
    refused = run_app("migrate", DATABASE_URL="postgresql://127.0.0.1:1/hub")
    assert refused.returncode == 1
    assert refused.stderr == "hub: The database cannot be reached; try again.\n"


def test_demo_without_a_hub_is_a_sentence() -> None:
    refused = run_app("demo", "--url", "http://127.0.0.1:1")
    assert refused.returncode == 1
    assert "http://127.0.0.1:1" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
