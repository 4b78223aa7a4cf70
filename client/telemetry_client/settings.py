"""What the environment says. The one place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from telemetry_client.errors import QueueError

DEFAULT_URL = "http://localhost:8082"  # where the senders' tunnel to the hub ends
DEFAULT_QUEUE = "/var/lib/resolvix/telemetry_queue.db"
SHARED_SPOOL = Path("/var/lib/resolvix/telemetry_spool.db")
FALLBACK_JOB_TYPE = "job"

# A job's id begins with its type by custom: `backup-vm1-20260101`. Other prefixes are names.
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


@dataclass(frozen=True, slots=True)
class Settings:
    """The senders' settings. `spool` None: the default place of a tracker's spool."""

    url: str = DEFAULT_URL
    job_id: str | None = None
    token: str | None = field(default=None, repr=False)
    spool: Path | None = None
    queue: Path = Path(DEFAULT_QUEUE)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings as the environment has them; what is empty counts as not set."""
        source = os.environ if environ is None else environ
        said = {name: value.strip() for name, value in source.items() if value.strip()}
        spool = said.get("TELEMETRY_SPOOL")
        return cls(
            url=said.get("SHA_API_URL", DEFAULT_URL),
            job_id=said.get("MIGRATEKIT_JOB_ID"),
            token=said.get("TELEMETRY_TOKEN"),
            spool=Path(spool) if spool else None,
            queue=Path(said.get("TELEMETRY_QUEUE", DEFAULT_QUEUE)),
        )


def default_spool(environ: Mapping[str, str] | None = None) -> Path:
    """Where trackers keep what they could not send: TELEMETRY_SPOOL, else the machine's spool
    where this user may write it, else one of the user's own. Raises QueueError for one who has no
    home, such as a container's user without a name.
    """
    source = os.environ if environ is None else environ
    if named := source.get("TELEMETRY_SPOOL", "").strip():
        return Path(named)
    is_there = SHARED_SPOOL.exists()
    if os.access(SHARED_SPOOL.parent, os.W_OK | os.X_OK) and (
        not is_there or os.access(SHARED_SPOOL, os.R_OK | os.W_OK)
    ):
        return SHARED_SPOOL
    state = source.get("XDG_STATE_HOME", "").strip()
    try:
        folder = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as exc:
        raise QueueError("no place for the spool: set TELEMETRY_SPOOL, or HOME") from exc
    return folder / "telemetry" / "spool.db"


def job_type_of(job_id: str, fallback: str = FALLBACK_JOB_TYPE) -> str:
    """The type that a job's id begins with (`backup-…`), or the fallback."""
    prefix, dash, _ = job_id.partition("-")
    return prefix if dash and prefix in KNOWN_JOB_TYPES else fallback
