"""A hub and a spool for trackers of these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from telemetry_client import TelemetryClient


@pytest.fixture
def places(hub_client: TelemetryClient, spool_path: Path) -> dict[str, Any]:
    """The options that say where updates go."""
    return {"client": hub_client, "spool": spool_path}
