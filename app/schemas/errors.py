"""Flattens marshmallow's nested messages for responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(messages: Any, path: str = "") -> dict[str, list[str]]:
    """Nested messages as {dotted path: [reason]}; `_schema` means its parent."""
    if isinstance(messages, Mapping):
        flat: dict[str, list[str]] = {}
        for key, value in messages.items():
            below = path if key == "_schema" else f"{path}.{key}" if path else str(key)
            for where, reasons in flatten(value, below).items():
                flat.setdefault(where, []).extend(reasons)
        return flat
    reasons = messages if isinstance(messages, list) else [messages]
    return {path or "body": [str(reason) for reason in reasons]}
