"""A full disk, and tools that some tests drive.

`make test` installs the tools where it may. Where one is missing its tests are skipped and counted,
and with HUB_TEST_TOOLS=required (as in .ci/run) they fail.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

IS_REQUIRED = os.environ.get("HUB_TEST_TOOLS") == "required"


def need(*tools: str) -> None:
    """Go on only with these tools. To be called by a test or a fixture."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not missing:
        return
    sentence = f"NOT TESTED, not installed: {', '.join(missing)} (see .ci/packages)"
    if IS_REQUIRED:
        pytest.fail(sentence)
    pytest.skip(sentence)


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """No file may grow beyond `room` bytes: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
