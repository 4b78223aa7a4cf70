"""The entry point of an installed package, in which this file is `telemetry_hub/__init__.py`.

The package is the checkout in one folder, `telemetry_hub`: `app`, `jobs`, `migrations` and
`embedded` are beside each other there as well, and no package of their names appears at the top
level, where it could replace one of another project.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """`telemetry-hub COMMAND`: the same as `python -m app COMMAND` in a checkout."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from app.__main__ import main as run

    return run()
