"""What a request finds around it: the hub's database, writer and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from app.config import Config
from app.database.pool import Database
from app.ingest.writer import Writer


@dataclass(frozen=True)
class Hub:
    """The parts of one web process, made by `create_app` and closed by it."""

    config: Config
    database: Database
    writer: Writer


def hub() -> Hub:
    """The hub that serves the current request."""
    return cast(Hub, current_app.extensions["hub"])
