"""What is measured in a page, by tests and benchmarks."""

from __future__ import annotations

from playwright.sync_api import CDPSession, Page

# Notes when the first rows of the list were painted: the frame after they came into the page.
MARK_CONTENT = """
new MutationObserver((_, observer) => {
    if (!document.querySelector(".page-of-rows .job-row")) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.contentAt = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
"""
CONTENT_AT = "() => window.contentAt"


def count_bytes(page: Page) -> dict[str, int]:
    """Bytes received from now on by address, as they went over the wire, in a dict that grows."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("Network.enable")
    urls: dict[str, str] = {}
    received: dict[str, int] = {}

    def finished(event: dict[str, object]) -> None:
        url = urls.get(str(event["requestId"]), "?")
        received[url] = received.get(url, 0) + int(str(event["encodedDataLength"]))

    def asked(event: dict[str, dict[str, str]]) -> None:
        urls[str(event["requestId"])] = event["request"]["url"]

    cdp.on("Network.requestWillBeSent", asked)
    cdp.on("Network.loadingFinished", finished)
    return received


def heap_bytes(cdp: CDPSession) -> int:
    """What JavaScript holds on to."""
    cdp.send("HeapProfiler.collectGarbage")
    return int(cdp.send("Runtime.getHeapUsage")["usedSize"])
