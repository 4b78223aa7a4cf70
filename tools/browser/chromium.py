"""Debian's Chromium, driven by Playwright; no browser is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser")


def find_chromium() -> str | None:
    """The program named by CHROMIUM, or the installed one."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_chromium(*more: str) -> Iterator[Browser]:
    """A headless browser."""
    arguments = ["--disable-dev-shm-usage", *more]  # small in containers
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # required for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        yield browser
        browser.close()
