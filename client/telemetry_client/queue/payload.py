"""What a queue reads from a payload: its stream, its rank, its losses; and its text on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What a full queue evicts first.
ORDINARY, IMPORTANT, FINAL = 0, 1, 2


def stream_of(payload: Mapping[str, Any]) -> str | None:
    """The job or node of a payload; None if it has neither, and so no order to keep."""
    if job_id := payload.get("job_id"):
        name = str(job_id)
    elif node_id := payload.get("node_id"):
        name = f"node/{node_id}"  # no job has this name: job ids contain no slash
    else:
        return None
    return name.encode(errors="replace").decode()


def rank_of(payload: Mapping[str, Any], important: bool) -> int:
    """ORDINARY, IMPORTANT (a change of state) or FINAL (the end of a job)."""
    if payload.get("status", "running") != "running":
        return FINAL
    return IMPORTANT if important or payload.get("error") else ORDINARY


def loss_field(payload: Mapping[str, Any]) -> str:
    """The field in which a payload reports how many of its stream were lost before it."""
    return "lost_snapshots" if payload.get("job_id") is None else "lost_updates"


def losses_of(payload: Mapping[str, Any]) -> int:
    """How many lost ones a payload reports."""
    lost = payload.get(loss_field(payload))
    return lost if isinstance(lost, int) and lost > 0 else 0


def encode(payload: Mapping[str, Any]) -> str:
    """Compact JSON. Raises TypeError or ValueError for a payload that is not JSON."""
    try:
        return json.dumps(payload, separators=(",", ":"))
    except RecursionError as exc:
        raise ValueError("the payload is nested too deeply") from exc


def decode(text: str) -> dict[str, Any]:
    """The payload; `{"unreadable": text}` if the text was edited or is nested too deeply."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        payload = None
    return payload if isinstance(payload, dict) else {"unreadable": text}
