"""Delivers a message to an address."""

from __future__ import annotations

from app.notify.addresses import (
    ALERTMANAGER,
    WEBHOOK,
    make_apprise,
    parse_http,
    read_address,
    service_of,
)
from app.notify.delivery import Delivery
from app.notify.http import send_alerts, send_webhook


def deliver(address: str, delivery: Delivery) -> None:
    """Send a message. Raises DeliveryFailed or AddressInvalid, whose texts have no secrets."""
    address = read_address(address)
    service = service_of(address)
    if service == WEBHOOK:
        send_webhook(parse_http(address), delivery)
    elif service == ALERTMANAGER:
        send_alerts(parse_http(address), delivery)
    else:
        from app.notify.apprise_services import send

        send(make_apprise(address), delivery, address)
