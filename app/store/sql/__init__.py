"""Named SQL: one file per area, blocks headed `-- name: insert_updates`, read once at import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import LiteralString, cast

_HEADING = re.compile(r"^-- name: ([a-z0-9_]+)[ \t]*$", re.MULTILINE)


def load_queries(area: str) -> dict[str, LiteralString]:
    """The blocks of `<area>.sql` by name.

    The text is ours and fixed, which is what psycopg means by LiteralString: a value only ever
    reaches it as a parameter. Raises ValueError for a name used twice.
    """
    text = (Path(__file__).parent / f"{area}.sql").read_text()
    parts = _HEADING.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{area}.sql has two blocks of one name")
    return {
        name: cast(LiteralString, body.strip()) for name, body in zip(names, bodies, strict=True)
    }
