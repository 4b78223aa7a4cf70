"""Lists as CSV: names of columns with units, times in UTC, and texts that no spreadsheet runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from app.clock import isoformat
from app.web.request import Answer

_UNITS = (
    (re.compile(r"(.*_at|time|since|until)"), r"\1_utc"),
    (re.compile(r"(.*)_rate_mbps"), r"\1_megabytes_per_second"),
    (re.compile(r"(.*)_bps"), r"\1_bytes_per_second"),
    (re.compile(r"(.*)_mb"), r"\1_mebibytes"),
    (re.compile(r"(.*)_gb"), r"\1_gibibytes"),
)
# A cell that begins so is a formula in a spreadsheet.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_SPECIAL = re.compile(r'[",\r\n]')


def column_name(field: str) -> str:
    """The name of a field's column: with its unit, or `_utc` for an instant."""
    for pattern, name in _UNITS:
        if pattern.fullmatch(field):
            return pattern.sub(name, field, count=1)
    return field


def encode_csv(fields: Iterable[str], items: Iterable[Mapping[str, Any]]) -> bytes:
    """A line for each item, with columns for these fields."""
    names = list(fields)
    return encode_rows(
        [column_name(name) for name in names],
        ([item.get(name) for name in names] for item in items),
    )


def encode_rows(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    """A head and a line for each row (RFC 4180, UTF-8). Unknown values are empty."""
    lines = [",".join(columns), *(",".join(map(_cell, row)) for row in rows)]
    return "".join([f"{line}\r\n" for line in lines]).encode()


def csv_answer(name: str, body: bytes) -> Answer:
    """The answer with a CSV to be saved under this name."""
    return Answer(
        200,
        body,
        [("Content-Type", "text/csv; charset=utf-8"), ("Content-Disposition", attachment(name))],
    )


def attachment(name: str) -> str:
    """Content-Disposition with a portable file name and the exact one (RFC 6266, 8187)."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]
    return f"attachment; filename=\"{plain}.csv\"; filename*=UTF-8''{quote(name, safe='')}.csv"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return isoformat(value)
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    if isinstance(value, dict):
        value = orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
    if not isinstance(value, str):
        return str(value)
    text = f"'{value}" if _FORMULA.match(value) else value
    if not _SPECIAL.search(text):
        return text
    quoted = text.replace('"', '""')
    return f'"{quoted}"'
