"""One ordinary push meets few functions: what `make trace-push` counts stays within bounds."""

from __future__ import annotations

import subprocess
import sys

from app.config import ROOT

MOST_CALLS = 40
MOST_CHANGES = 25  # of file, from one call to the next


def test_a_push_makes_few_calls_in_few_files() -> None:
    """A process of its own: it starts a hub without a database, and traces its thread."""
    done = subprocess.run(
        [sys.executable, "tools/trace_push.py", "--pushes", "50"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    counted = dict(part.rsplit(" ", 1) for part in done.stdout.splitlines()[0].split(", "))
    assert int(counted["calls"]) <= MOST_CALLS
    assert int(counted["changes of file"]) <= MOST_CHANGES
