"""What to say when a command is run without the packages that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec


def missing_extra(command: str, extra: str, packages: Sequence[str]) -> str | None:
    """The sentence that says what to install, or None if every package can be imported."""
    missing = [name for name in packages if find_spec(name) is None]
    if not missing:
        return None
    return (
        f"{command}: this command needs {' and '.join(missing)}: "
        f"pip install 'telemetry-client[{extra}]'"
    )
