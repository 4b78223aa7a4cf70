"""What senders are tested with: a hub that can be told to fail, a real one, a place for a spool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry_client import TelemetryClient
from tools.faulty_hub import FaultyHub
from tools.hub_process import HubProcess

VARIABLES = (
    "SHA_API_URL",
    "MIGRATEKIT_JOB_ID",
    "TELEMETRY_TOKEN",
    "TELEMETRY_SPOOL",
    "TELEMETRY_QUEUE",
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tester's own settings change nothing."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def faulty_hub() -> Iterator[FaultyHub]:
    """Answers by itself and well, until it is told otherwise."""
    with FaultyHub() as hub:
        yield hub


@pytest.fixture
def hub_client(faulty_hub: FaultyHub) -> Iterator[TelemetryClient]:
    """Talks to the faulty hub, and gives up after a second."""
    with TelemetryClient(faulty_hub.url, timeout=1.0) as client:
        yield client


@pytest.fixture(scope="session")
def real_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A whole hub; its database is kept through the session, so use ids of your own."""
    with HubProcess(tmp_path_factory.mktemp("real_hub")) as hub:
        yield hub


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    """Where a queue's file may be; nothing is there yet, not even the directory."""
    return tmp_path / "spool" / "queue.db"
