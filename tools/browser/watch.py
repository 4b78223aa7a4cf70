"""Detects what a page must not do: console messages, exceptions, other origins, dialogs."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    WebError,
)

# A response that is no longer needed, because the view was left.
_DROPPED = "net::ERR_ABORTED"


class Watch:
    """Collects these; `expect` allows what a test causes."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def follow(self, context: BrowserContext) -> None:
        for event, handler in self._handlers().items():
            context.on(event, handler)  # type: ignore[call-overload]

    def leave(self, context: BrowserContext) -> None:
        """Collect no more of what `follow` was told to."""
        for event, handler in self._handlers().items():
            context.remove_listener(event, handler)

    def expect(self, *patterns: str) -> None:
        """Allow what matches one of the patterns from now on."""
        self._expected += map(re.compile, patterns)

    def check(self) -> None:
        """Fail for anything unexpected."""
        unexpected = [
            message
            for message in self.seen
            if not any(known.search(message) for known in self._expected)
        ]
        assert not unexpected, unexpected

    def _handlers(self) -> dict[str, Callable[..., None]]:
        return {
            "console": self._on_console,
            "weberror": self._on_error,
            "request": self._on_request,
            "requestfailed": self._on_failure,
            "dialog": self._on_dialog,
        }

    def _on_error(self, error: WebError) -> None:
        self.seen.append(f"thrown: {error.error}")

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
    """The visible text of the page, and the labels for screen readers."""
    return str(
        page.evaluate(
            """() => [document.body.innerText, document.title,
                ...[...document.querySelectorAll("[aria-label], [title], [aria-valuetext]")]
                    .flatMap((node) => [node.ariaLabel, node.title, node.ariaValueText])
            ].filter(Boolean).join("\\n")"""
        )
    )
