"""Settings from the environment, which is read only here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from telemetry_client.errors import QueueError

DEFAULT_URL = "http://localhost:8082"  # the local end of a tunnel to the hub
DEFAULT_QUEUE = "/var/lib/resolvix/telemetry_queue.db"
TOKEN_VARIABLE = "TELEMETRY_TOKEN"
SHARED_SPOOL = Path("/var/lib/resolvix/telemetry_spool.db")
FALLBACK_JOB_TYPE = "job"

# By convention a job id begins with its type: `backup-vm1-20260101`. Other prefixes are names.
KNOWN_JOB_TYPES = frozenset(
    {
        "archive",
        "backup",
        "check",
        "clone",
        "copy",
        "export",
        "failover",
        "import",
        "migration",
        "prune",
        "replication",
        "restore",
        "sync",
        "verify",
    }
)


@dataclass(frozen=True)
class Settings:
    """The senders' settings. `spool` None: the default place."""

    url: str = DEFAULT_URL
    job_id: str | None = None
    token: str | None = field(default=None, repr=False)
    spool: Path | None = None
    queue: Path = Path(DEFAULT_QUEUE)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from the environment; an empty variable counts as not set."""
        source = os.environ if environ is None else environ
        values = {name: value.strip() for name, value in source.items() if value.strip()}
        spool = values.get("TELEMETRY_SPOOL")
        return cls(
            url=values.get("SHA_API_URL", DEFAULT_URL),
            job_id=values.get("MIGRATEKIT_JOB_ID"),
            token=values.get(TOKEN_VARIABLE),
            spool=Path(spool) if spool else None,
            queue=Path(values.get("TELEMETRY_QUEUE", DEFAULT_QUEUE)),
        )


def default_spool(environ: Mapping[str, str] | None = None) -> Path:
    """Where trackers keep what they could not send: TELEMETRY_SPOOL, else the machine's spool if
    this user may write it, else one in the user's home. Raises QueueError for a user without a
    home directory, such as a container's user without a name.
    """
    source = os.environ if environ is None else environ
    if named := source.get("TELEMETRY_SPOOL", "").strip():
        return Path(named)
    exists = SHARED_SPOOL.exists()
    if os.access(SHARED_SPOOL.parent, os.W_OK | os.X_OK) and (
        not exists or os.access(SHARED_SPOOL, os.R_OK | os.W_OK)
    ):
        return SHARED_SPOOL
    state = source.get("XDG_STATE_HOME", "").strip()
    try:
        folder = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as exc:
        raise QueueError("there is no place for the spool: set TELEMETRY_SPOOL or HOME") from exc
    return folder / "telemetry" / "spool.db"


def job_type_of(job_id: str, fallback: str = FALLBACK_JOB_TYPE) -> str:
    """The type that a job id begins with (`backup-…`), or the fallback."""
    prefix, dash, _ = job_id.partition("-")
    return prefix if dash and prefix in KNOWN_JOB_TYPES else fallback
