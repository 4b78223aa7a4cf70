"""Makes the values that a job's code passed what the hub accepts.

Nothing here raises because of such a value. A value that the hub would refuse is left out, cut or
replaced, and reported to `warn`, by field. Update bodies are made of cleaned values only.
"""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from telemetry_client.progress import DiskProgress, Progress
from telemetry_client.wire.credentials import without_credentials

LARGEST_INTEGER = 2**63 - 1  # the hub's bigint
HIGHEST_DISK_INDEX = 1023
LONGEST_NAME = 255  # a phase, vm_name, repository_id, backup_type
LONGEST_ERROR = 4_000  # characters of a message; the hub has no limit, but a spool has
DISK_STATUSES = ("pending", "transferring", "completed", "failed")
RESERVED_JOB_TYPES = frozenset({"batch", "history", "snapshot"})
_JOB_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,49}", re.ASCII)
# Control, format and separator characters but the ordinary space, and surrogates: not in ids.
HIDDEN = re.compile(
    r"[\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680"
    r"\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0001\U000e0020-\U000e007f\ud800-\udfff]"
)

Warn = Callable[[str, str], None]  # takes the field and a sentence about it


def ignore(_field: str, _sentence: str) -> None:
    """A `warn` that does nothing."""


def clean_progress(progress: Progress, warn: Warn = ignore) -> Progress:
    """The progress without what the hub would refuse; its disks by index, the last of each."""
    disks = (clean_disk(disk, warn) for disk in progress.disks)
    by_index = {disk.disk_index: disk for disk in disks if disk is not None}
    return Progress(
        bytes_transferred=clean_integer(progress.bytes_transferred, "bytes_transferred", warn),
        total_bytes=clean_integer(progress.total_bytes, "total_bytes", warn),
        speed_bps=clean_integer(progress.speed_bps, "speed_bps", warn),
        eta_seconds=clean_integer(progress.eta_seconds, "eta_seconds", warn),
        phase=clean_text(progress.phase, "phase", warn),
        disks=tuple(by_index[index] for index in sorted(by_index)),
        percent=clean_percent(progress.percent, "percent", warn),
        error=clean_error(progress.error, "error", warn),
    )


def clean_disk(disk: DiskProgress, warn: Warn = ignore) -> DiskProgress | None:
    """The disk without what the hub would refuse; None if the hub does not accept its index."""
    index = clean_disk_index(disk.disk_index, warn)
    if index is None:
        return None
    return replace(
        disk,
        disk_index=index,
        bytes_transferred=clean_integer(disk.bytes_transferred, "disk bytes", warn),
        total_bytes=clean_integer(disk.total_bytes, "disk total_bytes", warn),
        speed_bps=clean_integer(disk.speed_bps, "disk speed_bps", warn),
        status=_clean_disk_status(disk.status, warn),
        error=clean_error(disk.error, "disk error", warn),
        percent=clean_percent(disk.percent, "disk percent", warn),
    )


def clean_disk_index(value: Any, warn: Warn = ignore) -> int | None:
    """The index of a disk, 0 to 1023."""
    index = clean_integer(value, "disk_index", warn)
    if index is not None and index > HIGHEST_DISK_INDEX:
        warn("disk_index", f"disk {index} is left out: the highest index is {HIGHEST_DISK_INDEX}.")
        return None
    return index


def _clean_disk_status(value: Any, warn: Warn) -> str | None:
    status = clean_text(value, "disk status", warn)
    if status is None or status in DISK_STATUSES:
        return status
    warn("disk status", f"disk status is left out: {status!r} is not a status of a disk.")
    return None


def clean_integer(value: Any, name: str, warn: Warn = ignore) -> int | None:
    """A whole number that the hub accepts. Anything else is None: 0 would be wrong."""
    if value is None:
        return None
    if type(value) is int and 0 <= value <= LARGEST_INTEGER:
        return value
    try:
        number = _whole(value)
    except Exception:  # a value's own methods may raise anything
        number = None
    if number is None or not 0 <= number <= LARGEST_INTEGER:
        warn(name, f"{name} is left out: {_shown(value)} is not a number from 0 to 2^63-1.")
        return None
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        return int(operator.index(value))
    except TypeError:
        number = float(value)
    return int(number) if math.isfinite(number) else None


def clean_percent(value: Any, name: str, warn: Warn = ignore) -> float | None:
    """A percentage, 0 to 100, two decimals; more than 100 becomes 100."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except Exception:
        number = math.nan
    if not 0 <= number < math.inf:
        warn(name, f"{name} is left out: {_shown(value)} is not a percentage.")
        return None
    return math.floor(min(number, 100.0) * 100 + 1e-6) / 100


def clean_text(
    value: Any, name: str, warn: Warn = ignore, longest: int = LONGEST_NAME
) -> str | None:
    """Text that the hub accepts: no lone surrogates, no NUL, at most `longest` characters.

    Returns None for empty text, and always an exact `str`: a subclass may encode to anything.
    """
    if value is None:
        return None
    try:
        text = str.__str__(value) if isinstance(value, str) else str.__str__(str(value))
    except Exception:
        warn(name, f"{name} is left out: it cannot be converted to text.")
        return None
    clean = text.replace("\0", "")
    if not clean.isascii():
        # Two halves of a surrogate pair become their character, a lone half becomes U+FFFD.
        clean = clean.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if clean != text:
        warn(name, f"{name} is changed: it contained a NUL or surrogates.")
    if len(clean) > longest:
        warn(name, f"{name} is cut to {longest} characters.")
        clean = clean[: longest - 1] + "…"
    return clean or None


def clean_error(value: Any, name: str, warn: Warn = ignore) -> str | None:
    """The text of an error, without the credentials that it quotes."""
    text = clean_text(value, name, warn, LONGEST_ERROR)
    return None if text is None else without_credentials(text)


def _shown(value: Any) -> str:
    try:
        return ascii(value)[:60]
    except Exception:  # also the digits of a huge integer
        return f"a {type(value).__name__}"


def job_id_problem(text: str) -> str | None:
    """Why the hub does not accept a text as a job id; None if it does. It compares ids in NFC."""
    text = unicodedata.normalize("NFC", text)
    if not 1 <= len(text) <= LONGEST_NAME:
        return f"it must be 1 to {LONGEST_NAME} characters long"
    if "/" in text or text in (".", "..", "summary"):
        return "it must not contain a slash, nor be '.', '..' or 'summary'"
    if text[0] == " " or text[-1] == " ":
        return "it must not begin or end with a space"
    if HIDDEN.search(text):
        return "it must not contain control, format or separator characters, nor surrogates"
    return None


def job_type_problem(text: str) -> str | None:
    """Why the hub does not accept a text as a job type; None if it does."""
    if not _JOB_TYPE.fullmatch(text):
        return "it must be 1 to 50 of a-z, 0-9, _ and -, beginning with a letter"
    return f"{text!r} is reserved" if text in RESERVED_JOB_TYPES else None
