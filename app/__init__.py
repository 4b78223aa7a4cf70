"""Telemetry Hub: collects, stores and charts the progress of jobs and the health of nodes."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Config

__version__ = "0.1.0"


def create_app(config: Config | None = None) -> Flask:
    """The WSGI application, with its writer thread running and its connection pool open.

    Flask is imported here so that tasks can use the database without it.
    Raises ConfigError if a setting or the database's address is missing.
    """
    from app.api.factory import build_app
    from app.config import Config, log_unknown_variables
    from app.hub import Hub
    from app.lifeline import end_with_parent
    from app.logs import configure_logging

    if config is None:  # a web worker, not a test
        config = Config.from_env()
        configure_logging(config.log_level)
        log_unknown_variables(logging.getLogger("hub.api"))
        end_with_parent()
        app = build_app(Hub.start(config))
        _tune_garbage_collection()
        return app
    return build_app(Hub.start(config))


def _tune_garbage_collection() -> None:
    """Collect less often: objects made at start stay, and updates form no reference cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
