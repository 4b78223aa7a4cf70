"""Tools that some tests drive. `make test` installs them where it may; where one is missing its
tests are skipped and counted, and with HUB_TEST_TOOLS=required (as in .ci/run) they fail.
"""

from __future__ import annotations

import os
import shutil

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
