"""Numbers in the sentences of items."""

from __future__ import annotations

from datetime import UTC, datetime

from app.domain.runs import split_key

_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def duration(seconds: float) -> str:
    """Two units at most: `2 d 3 h`, `15 min`, `40 s`."""
    rest = max(0, round(seconds))
    parts = []
    for size, unit in _SECONDS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def size(count: float) -> str:
    """Bytes in binary units: `1.5 GiB`."""
    for unit in _BYTES:
        if count < 1024 or unit == _BYTES[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


def instant(at: datetime) -> str:
    """Minutes, UTC: `2026-11-25 02:14 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def times(ratio: float) -> str:
    """How many times: `90`, `2.4`."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def runs(count: int) -> str:
    """`1 run`, `5 runs`."""
    return "1 run" if count == 1 else f"{count} runs"


def run_title(key: str) -> str:
    """A run by its key in the tables: `nightly`, or `nightly (run 3)`."""
    name, number = split_key(key)
    return name if number == 1 else f"{name} (run {number})"
