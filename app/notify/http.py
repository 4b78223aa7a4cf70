"""Our own services: a signed webhook, and Alertmanager."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import requests

from app import __version__
from app.domain.attention.items import SEVERITIES
from app.notify.addresses import HttpAddress
from app.notify.delivery import Delivery, DeliveryFailed

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
# An Alertmanager resolves an alert at its end. One that is open has its end so far away that the
# hub's word comes first; a route that repeats moves it on.
OPEN_FOR = timedelta(days=7)
TEST_FOR = timedelta(minutes=1)
_HEADERS = {"Content-Type": "application/json", "User-Agent": f"telemetry-hub/{__version__}"}


def send_webhook(address: HttpAddress, delivery: Delivery) -> None:
    """POST a message as JSON, signed as https://www.standardwebhooks.com says.

    Raises DeliveryFailed for any answer that is not 2xx; a redirect is not followed.
    """
    body = orjson.dumps(webhook_body(delivery), option=orjson.OPT_UTC_Z)
    headers = {"webhook-id": f"msg_{delivery.id}", "webhook-timestamp": str(int(time.time()))}
    if address.secret is not None:
        headers["webhook-signature"] = sign(address.secret, headers, body)
    _post(address.url, body, headers)


def webhook_body(delivery: Delivery) -> dict[str, Any]:
    """What a webhook gets; docs/notifications.md describes it."""
    message = delivery.message
    return {
        "type": f"attention.{message.event}",
        "timestamp": delivery.created_at,
        "data": {
            "severity": message.severity,
            "subject": message.subject,
            "body": message.body,
            "items": message.items,
        },
    }


def sign(secret: bytes, headers: Mapping[str, str], body: bytes) -> str:
    """HMAC-SHA256 over id, time and body."""
    signed = b".".join(
        (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body)
    )
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def send_alerts(address: HttpAddress, delivery: Delivery) -> None:
    """POST the items to an Alertmanager. A report has none. Raises DeliveryFailed."""
    body = orjson.dumps(alerts_of(delivery), option=orjson.OPT_UTC_Z)
    _post(f"{address.url.rstrip('/')}/api/v2/alerts", body, {})


def alerts_of(delivery: Delivery) -> list[dict[str, Any]]:
    """The alerts of a message, for POST /api/v2/alerts.

    The severity is a label, so an item that gets worse is another alert: of each item those with
    the other severities end.
    """
    message, now = delivery.message, datetime.now(UTC)
    if message.event == "test":
        labels = {"alertname": "TelemetryHubTest", "severity": "info"}
        return [_alert(labels, {"summary": message.subject}, now, now + TEST_FOR, None)]
    alerts = []
    for item in message.items:
        for severity in SEVERITIES:
            is_firing = item["until"] is None and severity == item["severity"]
            ends = now + OPEN_FOR if is_firing else item["until"] or now
            labels = {
                "alertname": _camel(f"telemetry_hub_{item['kind']}"),
                "severity": severity,
                "item": item["subject"],
                **{
                    name: item[name]
                    for name in ("vm_name", "node_id", "job_type", "repository_id")
                    if item[name]
                },
            }
            annotations = {"summary": item["summary"], "description": item["advice"]}
            alerts.append(_alert(labels, annotations, item["since"], ends, item["url"]))
    return alerts


def _alert(
    labels: dict[str, str],
    annotations: dict[str, str],
    starts: datetime | str,
    ends: datetime | str,
    url: str | None,
) -> dict[str, Any]:
    alert = {"labels": labels, "annotations": annotations, "startsAt": starts, "endsAt": ends}
    return alert if url is None else {**alert, "generatorURL": url}


def call(url: str) -> None:
    """GET an address, as of a heartbeat. Raises DeliveryFailed."""
    _request("GET", url, None, {})


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    _request("POST", url, body, {**_HEADERS, **headers})


def _request(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> None:
    try:
        with requests.request(
            method,
            url,
            data=body,
            headers=dict(headers),
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,  # the body of the answer is not read
        ) as answer:
            status = answer.status_code
    except requests.RequestException as exc:
        raise DeliveryFailed(_reason(exc)) from None  # its text has the address
    if not 200 <= status < 300:
        raise DeliveryFailed(f"It was answered with HTTP {status}.")


def _reason(exc: requests.RequestException) -> str:
    if isinstance(exc, requests.Timeout):
        return "There was no answer in time."
    if isinstance(exc, requests.exceptions.SSLError):
        return "The certificate of the service is not valid."
    if isinstance(exc, requests.ConnectionError):
        return "The service cannot be reached."
    return f"The request failed ({type(exc).__name__})."


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
