"""What a page must never do: speak on the console, throw, ask another origin, open a dialog."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request

# A request that was cancelled because its view was left.
_DROPPED = "net::ERR_ABORTED"


class Watch:
    """Collects all of that; `expect` names what a test provokes."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def follow(self, context: BrowserContext) -> None:
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.seen.append(f"thrown: {error.error}"))
        context.on("request", self._on_request)
        context.on("requestfailed", self._on_failure)
        context.on("dialog", self._on_dialog)

    def expect(self, *patterns: str) -> None:
        """What matches one of them is meant to happen from now on."""
        self._expected += map(re.compile, patterns)

    def check(self) -> None:
        """Fail for anything that was seen and not expected."""
        unexpected = [
            event for event in self.seen if not any(known.search(event) for known in self._expected)
        ]
        assert not unexpected, unexpected

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("warning", "error", "assert"):
            self.seen.append(f"console {message.type}: {message.text} ({message.location['url']})")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", "blob:", "data:")):
            self.seen.append(f"request: {request.url[:200]}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != _DROPPED:
            self.seen.append(f"failed: {request.url[:200]} {request.failure}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()


def visible_text(page: Page) -> str:
    """What can be read on the page, and what a screen reader is told of its charts."""
    return str(
        page.evaluate(
            """() => [document.body.innerText, document.title,
                ...[...document.querySelectorAll("[aria-label], [title], [aria-valuetext]")]
                    .flatMap((node) => [node.ariaLabel, node.title, node.ariaValueText])
            ].filter(Boolean).join("\\n")"""
        )
    )
