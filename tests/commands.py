"""`python -m app …` in the test's own process: it is the interpreter's start that takes time."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
from unittest import mock

from app.__main__ import main
from tools.hub_process import clean_environment


def call_app(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What `tools.hub_process.run_app` returns."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    with (
        mock.patch.dict(os.environ, {**clean_environment(), **env}, clear=True),
        mock.patch.object(root, "handlers", root.handlers),  # `serve` has its own
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        level = root.level
        try:
            status = main(list(args))
        except SystemExit as exc:  # argparse
            status = exc.code if isinstance(exc.code, int) else 1
        finally:
            root.setLevel(level)
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())
