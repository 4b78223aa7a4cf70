"""Objects for tests. `at(seconds)` are instants around now, in the forms that are needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.clock import to_micros, utc_now
from app.domain.updates import Update
from app.schemas.pings import make_update as make_ping_update
from app.schemas.pings import read_ping

NOW = datetime.now(UTC).replace(microsecond=0)


def at(seconds: float) -> str:
    """The instant `seconds` after NOW (mostly negative: before it), as senders write it."""
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def micros(seconds: float) -> int:
    """The same instant in microseconds."""
    return to_micros(NOW + timedelta(seconds=seconds))


def make_body(**changes: Any) -> dict[str, Any]:
    """A full update as a sender pushes it; a change to None leaves the field out."""
    body = {
        "status": "running",
        "current_phase": "transferring",
        "bytes_transferred": 50_000,
        "total_bytes": 100_000,
        "transfer_speed_bps": 3_221_225_472,
        "eta_seconds": 30,
        "progress_percent": 50.0,
        "timestamp": at(-60),
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def make_update(seconds: float = -60, status: str = "running", **changes: Any) -> Update:
    """An update of job `j` at an instant, naming only what is given."""
    disks = changes.pop("disks", {})
    job_id = changes.pop("job_id", "j")
    lost_updates = changes.pop("lost_updates", 0)
    interval = changes.pop("interval", 0)
    return Update(
        "backup",
        job_id,
        status,
        timestamp=micros(seconds),
        fields=changes,
        disks=disks,
        time=micros(seconds),
        lost_updates=lost_updates,
        interval=interval,
    )


def pinged(signal: str, rid: str = "") -> Update:
    """What a ping of job `j` becomes."""
    return make_ping_update(read_ping(f"j/{signal}", f"rid={rid}"), b"")


def fresh(seconds: float = 0, **changes: Any) -> Update:
    """An update so many seconds from now, not from when the tests began."""
    elapsed = (utc_now() - NOW).total_seconds()
    return make_update(round(elapsed) + seconds, **changes)
