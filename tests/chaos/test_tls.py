"""A hub that serves HTTPS by its own options, as a whole: and what it says when it cannot."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.config import ROOT
from tests.chaos.scenario import within
from tests.factories import make_body
from tests.tokens import KEYS, make_token
from tools.hub_process import HubProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# Certificate and key in one file; made for the client's tests.
PEM = ROOT / "tests" / "client" / "localhost.pem"
TLS = {"HUB_TLS_CERT": str(PEM), "HUB_TLS_KEY": str(PEM)}


class TlsHub(HubProcess):
    """A hub that is asked over TLS."""

    def connect(self) -> http.client.HTTPSConnection:
        trusted = ssl.create_default_context(cafile=str(PEM))
        return http.client.HTTPSConnection("localhost", self.port, timeout=15, context=trusted)

    def request(
        self, method: str, path: str, body: Any = None, timeout: float = 15
    ) -> tuple[int, dict[str, str], Any]:
        connection = self.connect()
        try:
            headers = {"Authorization": f"Bearer {make_token('admin')}"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, json.loads(answer.read() or b"null")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsHub]:
    folder = tmp_path_factory.mktemp("hub")
    key_file = folder / "token.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(KEYS[0])
    with TlsHub(folder / "data", **TLS, HUB_TOKEN_KEY_FILE=str(key_file)) as hub:
        yield hub


def test_hub_serves_https(hub: TlsHub) -> None:
    status, headers, body = hub.request("POST", "/api/v1/telemetry/backup/tls", make_body())
    assert status == 200
    assert body["accepted"]
    assert headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"


def test_hub_names_no_product(hub: TlsHub) -> None:
    for path in ("/api/v1/health", "/api/v1/jobs", "/nothing"):
        _, headers, _ = hub.request("GET", path)
        assert "granian" not in str(headers).lower()
        assert "python" not in str(headers).lower()


def test_sign_in_leaves_a_secure_cookie(hub: TlsHub) -> None:
    connection = hub.connect()
    connection.request(
        "POST",
        "/sign-in",
        f"token={make_token('read')}&next=/",
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    answer = connection.getresponse()
    answer.read()
    cookie = answer.getheader("Set-Cookie") or ""
    connection.close()
    assert answer.status == 303
    assert "Secure" in cookie
    assert "HttpOnly" in cookie


def test_plain_http_gets_no_answer(hub: TlsHub) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        HubProcess.request(hub, "GET", "/api/v1/health", timeout=5)


def test_half_done_handshakes_delay_no_other_request(hub: TlsHub) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=60))
        time.sleep(0.5)
        began = time.monotonic()
        assert hub.request("GET", "/api/v1/health")[0] == 200
        assert time.monotonic() - began < within(5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"HUB_TLS_CERT": "nowhere.pem", "HUB_TLS_KEY": str(PEM)}, "cannot be read"),
        ({"HUB_TLS_CERT": str(PEM), "HUB_TLS_KEY": __file__}, "certificate and its key"),
        ({"HUB_TLS_CERT": str(PEM)}, "set both or neither"),
    ],
)
def test_unusable_certificate_is_one_sentence(
    tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=HubProcess(tmp_path, **settings).env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "Traceback" not in refused.stderr
