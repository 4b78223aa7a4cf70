"""Measurements of a page, for tests and benchmarks."""

from __future__ import annotations

from playwright.sync_api import CDPSession, Page

# Records when the first rows of the list were painted: the frame after they were inserted.
MARK_CONTENT = """
new MutationObserver((_, observer) => {
    if (!document.querySelector(".page-of-rows .job-row")) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.contentAt = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
"""
CONTENT_AT = "() => window.contentAt"


def count_bytes(page: Page) -> dict[str, int]:
    """Bytes received from now on, by address, as transferred; the dict is updated."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("Network.enable")
    urls: dict[str, str] = {}
    received: dict[str, int] = {}

    def on_finished(event: dict[str, object]) -> None:
        url = urls.get(str(event["requestId"]), "?")
        received[url] = received.get(url, 0) + int(str(event["encodedDataLength"]))

    def on_request(event: dict[str, dict[str, str]]) -> None:
        urls[str(event["requestId"])] = event["request"]["url"]

    cdp.on("Network.requestWillBeSent", on_request)
    cdp.on("Network.loadingFinished", on_finished)
    return received


def heap_bytes(cdp: CDPSession) -> int:
    """The size of the JavaScript heap after garbage collection."""
    cdp.send("HeapProfiler.collectGarbage")
    return int(cdp.send("Runtime.getHeapUsage")["usedSize"])
