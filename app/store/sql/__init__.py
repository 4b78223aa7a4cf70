"""Named SQL: one file per area, blocks headed `-- name: insert_updates`, read once at import.

`{job_fields}` in a block expands to the columns of JOB_FIELDS (app/domain/fields.py), separated by
commas; so do `{disk_fields}`, `{identity_fields}` and `{metrics}`. A pattern after a colon is
repeated for each column: `{job_fields: v.$name}`. It may use

- `$name`, the column, and `$type`, its SQL type;
- `$reported`, the value that the sender reported, from a row of `job_telemetry`;
- `$named`, the value that the sender named, from a row of `jobs` or `job_disks`;
- `$stored`, what `job_telemetry` keeps of a reported value beside `percent_scale`.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import LiteralString

from app.domain.fields import DISK_FIELDS, IDENTITY_FIELDS, JOB_FIELDS, METRICS

_HEADING = re.compile(r"^-- name: ([a-z0-9_]+)[ \t]*$", re.MULTILINE)
_GROUPS = {
    "job_fields": JOB_FIELDS,
    "identity_fields": IDENTITY_FIELDS,
    "disk_fields": DISK_FIELDS,
    "metrics": METRICS,
}
_PLACEHOLDER = re.compile(rf"\{{({'|'.join(_GROUPS)})(?::\s*([^{{}}]+))?\}}")
_REPORTED = {
    "progress_percent": "reported_percent("
    "progress_percent, percent_scale, bytes_transferred, total_bytes)"
}
_NAMED = {"progress_percent": "coalesce(named_percent, progress_percent)"}
_STORED = {"progress_percent": "CASE WHEN percent_scale IS NULL THEN progress_percent END"}


def load_queries(area: str, **fragments: str) -> dict[str, LiteralString]:
    """The blocks of `<area>.sql` by name, with their fields and the given `{fragments}` filled in.

    Values are only passed as parameters, so the text is a LiteralString. Raises ValueError for a
    name used twice.
    """
    text = (Path(__file__).parent / f"{area}.sql").read_text()
    for name, fragment in fragments.items():
        text = text.replace(f"{{{name}}}", fragment)
    parts = _HEADING.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{area}.sql has two blocks of one name")
    return {
        name: _PLACEHOLDER.sub(_expand, body.strip())
        for name, body in zip(names, bodies, strict=True)
    }


def _expand(placeholder: re.Match[str]) -> str:
    pattern = Template(placeholder[2] or "$name")
    return ", ".join(
        pattern.substitute(
            name=name,
            type=field.kind.sql_type,
            reported=_REPORTED.get(name, name),
            named=_NAMED.get(name, name),
            stored=_STORED.get(name, name),
        )
        for name, field in _GROUPS[placeholder[1]].items()
    )
