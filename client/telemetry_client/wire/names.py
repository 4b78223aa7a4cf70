"""The names that senders give: of this machine, and of a job that was given none."""

from __future__ import annotations

import secrets
import socket
import time
import unicodedata

from telemetry_client.wire.cleaning import HIDDEN, LONGEST_NAME

RANDOM_BYTES = 4  # so that jobs that begin in the same second have different ids


def machine_name() -> str:
    """The whole host name, with its domain if it has one: db.eu and db.us are two machines."""
    return socket.gethostname().rstrip(".") or "localhost"


def new_job_id(job_type: str, name: str | None = None) -> str:
    """A job id that no other job has: `<type>-<name>-<seconds since 1970>-<random>`.

    `name`: what the job works on, by default this machine.
    """
    suffix = f"-{int(time.time())}-{secrets.token_hex(RANDOM_BYTES)}"
    text = unicodedata.normalize("NFC", f"{job_type}-{name or machine_name()}")
    return _allowed(text)[: LONGEST_NAME - len(suffix)] + suffix


def _allowed(text: str) -> str:
    """The text without characters that a job id must not contain."""
    return HIDDEN.sub("_", text.replace("/", "_"))
