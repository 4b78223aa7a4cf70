"""The files of an export: a manifest, and gzipped CSV with a header, one file for each part.

    manifest.json             once the export is complete
    parts.jsonl               a line for each complete file, until then
    nodes/00000000.csv.gz     a table, by pages
    job_telemetry/2026-11-30T14-00-00.csv.gz   a series, by the time at which the part begins
    job_speed_1h/…            buckets of a rollup whose source has been dropped

NULL is an empty field, an empty text is "". Timestamps are UTC.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.errors import ConfigError

FORMAT = 1
MANIFEST = "manifest.json"
PARTS = "parts.jsonl"


@dataclass(frozen=True, slots=True)
class Part:
    """One file: rows of `table`, and the sum of their checksums. `file` is relative.

    `start` and `end`: of a series, the time range; None for a page of a table.
    """

    table: str
    file: str
    rows: int
    checksum: str
    start: str | None = None
    end: str | None = None


@dataclass(slots=True)
class Manifest:
    """What an export has. `schema`: the newest migration of its database. `filters`: what it was
    limited to; then it cannot be imported. `edges`: before when each series was dropped.
    """

    export_id: str
    schema: str
    exported_at: str
    columns: dict[str, list[str]]
    edges: dict[str, str]
    filters: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write it: the export is complete. Raises OSError."""
        unfinished = folder / (MANIFEST + ".new")
        unfinished.write_text(json.dumps(asdict(self), indent=1) + "\n")
        unfinished.replace(folder / MANIFEST)
        (folder / PARTS).unlink(missing_ok=True)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a complete export. Raises ConfigError."""
    try:
        values: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        parts = [Part(**part) for part in values.pop("parts")]
        manifest = Manifest(**values, parts=parts)
    except FileNotFoundError:
        hint = "it was not completed: run it again" if (folder / PARTS).exists() else "no export"
        raise ConfigError(f"{folder} has no {MANIFEST}: {hint}.") from None
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise ConfigError(f"{folder / MANIFEST} cannot be read: {exc}") from exc
    if manifest.format != FORMAT:
        raise ConfigError(
            f"{folder} has format {manifest.format}, this version of the hub reads {FORMAT}."
        )
    return manifest


class Ledger:
    """The parts of an export that is not complete yet: a run that follows continues it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / PARTS
        self._parts: dict[str, Part] = {}
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                try:
                    part = Part(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # cut off when the disk was full
                self._parts[part.file] = part

    def find(self, file: str) -> Part | None:
        """The complete part in this file."""
        return self._parts.get(file)

    def add(self, part: Part) -> None:
        """Record a part whose file is complete. Raises OSError."""
        with self._file.open("a") as ledger:
            ledger.write(json.dumps(asdict(part)) + "\n")
        self._parts[part.file] = part
