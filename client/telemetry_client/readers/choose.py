"""Chooses the reader for a command line, or names the flag that is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Optional, Union

from telemetry_client.readers.arguments import Arguments, arguments_of
from telemetry_client.readers.base import Missing, Reader
from telemetry_client.readers.borg import Borg
from telemetry_client.readers.pv import Pv
from telemetry_client.readers.rclone import Rclone
from telemetry_client.readers.restic import Restic
from telemetry_client.readers.rsync import Rsync

SizeOf = Callable[[str], Optional[int]]  # of a file; `-` is standard input
_Choice = Union[Reader, Missing, None]

_LEVELS = {name: rank for rank, name in enumerate(("DEBUG", "INFO", "NOTICE", "ERROR"))}
_RCLONE_TRANSFERS = ("copy", "copyto", "copyurl", "move", "moveto", "sync", "bisync", "rcat")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b?)", re.ASCII | re.IGNORECASE)


def reader_for(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    size_of: SizeOf = lambda name: None,
) -> _Choice:
    """The reader for a command's output, or what is missing; None for an unknown command.

    `environ` is the tool's: rclone has options there too. `size_of` returns the size of an input of
    pv.
    """
    arguments = arguments_of(command)
    if arguments is None:
        return None
    environ = environ or {}
    if arguments.tool == "rclone":
        return _rclone(arguments, environ)
    if arguments.tool == "pv":
        return _pv(arguments, size_of)
    return {"restic": _restic, "borg": _borg, "rsync": _rsync}[arguments.tool](arguments)


def _restic(arguments: Arguments) -> _Choice:
    if not arguments.runs("backup", "restore"):
        return None
    return Restic() if arguments.has("--json") else Missing("restic", "--json")


def _rclone(arguments: Arguments, environ: Mapping[str, str]) -> _Choice:
    """By default, the log level hides the statistics."""
    if not arguments.runs(*_RCLONE_TRANSFERS):
        return None
    if arguments.value("--log-file") or environ.get("RCLONE_LOG_FILE"):
        return Missing("rclone", "its log on stderr, not --log-file")
    is_json = arguments.has("--use-json-log") or _is_true(environ.get("RCLONE_USE_JSON_LOG"))
    if is_json and _stats_level(arguments, environ) >= _log_level(arguments, environ):
        return Rclone()
    return Missing("rclone", "--use-json-log --stats 5s --stats-log-level NOTICE")


def _stats_level(arguments: Arguments, environ: Mapping[str, str]) -> int:
    named = arguments.value("--stats-log-level") or environ.get("RCLONE_STATS_LOG_LEVEL", "INFO")
    return _LEVELS.get(named.upper(), _LEVELS["ERROR"])


def _log_level(arguments: Arguments, environ: Mapping[str, str]) -> int:
    verbosity = arguments.count("v") + arguments.given.count("--verbose")
    given = arguments.value("--verbose") if not verbosity else None
    given = given or environ.get("RCLONE_VERBOSE", "")
    if given.isdigit():
        verbosity = verbosity or int(given)
    if arguments.count("q") or arguments.has("--quiet"):
        return _LEVELS["ERROR"]
    if verbosity:
        return _LEVELS["INFO"] if verbosity == 1 else _LEVELS["DEBUG"]
    named = arguments.value("--log-level") or environ.get("RCLONE_LOG_LEVEL", "NOTICE")
    return _LEVELS.get(named.upper(), _LEVELS["NOTICE"])


def _borg(arguments: Arguments) -> _Choice:
    if not arguments.runs("create", "extract", "check"):
        return None
    has_progress = arguments.has("--progress") or bool(arguments.count("p"))
    if arguments.has("--log-json") and has_progress:
        return Borg()
    return Missing("borg", "--log-json --progress")


def _rsync(arguments: Arguments) -> _Choice:
    named = [arg for arg in arguments.given if arg.startswith("--info=")]
    if not any("progress2" in arg for arg in named):
        return Missing("rsync", "--info=progress2")
    human = arguments.count("h") + arguments.given.count("--human-readable")
    return Rsync(base=1024 if human > 1 else 1000)


def _pv(arguments: Arguments, size_of: SizeOf) -> _Choice:
    if not (arguments.count("n") or arguments.has("--numeric")):
        return Missing("pv", "-n -b")
    if arguments.count("l") or arguments.has("--line-mode"):
        return Missing("pv", "bytes, not lines (-l)")
    total = _size(arguments.value("-s", "--size"))
    if total is None:
        sizes = [size_of(name) for name in _inputs(arguments) or ["-"]]
        total = sum(size or 0 for size in sizes) if all(sizes) else None
    has_bytes = bool(arguments.count("b")) or arguments.has("--bytes")
    if total is None and not has_bytes:
        return Missing("pv", "-b, or -s with the size,")
    has_elapsed = bool(arguments.count("t")) or arguments.has("--timer")
    return Pv(total, has_bytes=has_bytes, has_elapsed=has_elapsed)


_PV_VALUED = (
    *"-s -i -w -H -N -L -B -R -P -d -A -F -D".split(),
    *("--size", "--interval", "--width", "--height", "--name", "--rate-limit", "--buffer-size"),
    *("--remote", "--pidfile", "--watchfd", "--last-written", "--format", "--delay-start"),
)


def _inputs(arguments: Arguments) -> list[str]:
    """The files that pv reads."""
    names, skips = [], False
    for arg in arguments.given:
        if skips:
            skips = False
        elif arg in _PV_VALUED or (
            re.fullmatch(r"-[a-zA-Z]+", arg) and f"-{arg[-1]}" in _PV_VALUED
        ):
            skips = True
        elif arg == "-" or not arg.startswith("-"):
            names.append(arg)
    return names


def _size(text: str | None) -> int | None:
    """`20M` in the units of pv: powers of 1024."""
    match = _SIZE.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    factor: int = 1024 ** " kmgtp".index(match[2].lower() or " ")
    return round(float(match[1]) * factor)


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "1", "t", "yes")
