"""What anyone may send to the port: one answer each, and room for others."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from app.server.bodies import LARGE_BODIES, UNBUDGETED_BYTES
from tests.chaos.scenario import within
from tests.factories import make_body
from tests.tokens import KEYS, bearer, make_token
from tools.hub_process import HubProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

REQUEST_SECONDS = 3
READERS = 100
ASSET = "/api/v1/docs/assets/swagger-ui-bundle.js"  # 1.7 MB, and open
TOKEN = bearer(make_token("admin"))["Authorization"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    key_file = tmp_path_factory.mktemp("keys") / "token.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(b"\n".join(KEYS))
    settings = {"HUB_TOKEN_KEY_FILE": str(key_file), "HUB_REQUEST_SECONDS": str(REQUEST_SECONDS)}
    with HubProcess(tmp_path_factory.mktemp("hub"), **settings) as hub:
        yield hub


def connect(hub: HubProcess, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=60))


def ask(hub: HubProcess, request: bytes) -> bytes:
    """All that comes until the hub closes the connection."""
    with ExitStack() as stack:
        sender = connect(hub, stack)
        sender.sendall(request)
        received = b""
        while piece := sender.recv(65536):
            received += piece
        return received


def head(first: str, *lines: str) -> bytes:
    wanted = {"Host": "localhost", "Authorization": TOKEN, "Connection": "close"}
    wanted["Content-Type"] = "application/json"
    named = {line.partition(":")[0] for line in lines}
    kept = [f"{name}: {value}" for name, value in wanted.items() if name not in named]
    kept += [line for line in lines if line.partition(":")[2]]
    return "\r\n".join([f"{first} HTTP/1.1", *kept, "", ""]).encode()


PUSH = "POST /api/v1/telemetry/backup/door"
CHUNKED = "Transfer-Encoding: chunked"
BODY = json.dumps(make_body()).encode()
LENGTH = f"Content-Length: {len(BODY)}"
ODD = {
    "no chunk size": (head(PUSH, CHUNKED) + b"zz\r\n" + BODY, 400),
    "a negative chunk": (head(PUSH, CHUNKED) + b"-1\r\n" + BODY, 400),
    "a chunk too long": (head(PUSH, CHUNKED) + b"5\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    "a huge chunk": (head(PUSH, CHUNKED) + b"f" * 18 + b"\r\n" + BODY, 400),
    "chunks of a GET": (head("GET /api/v1/jobs", CHUNKED) + b"zz\r\n", 400),
    "chunks to nowhere": (head("POST /nothing", CHUNKED) + b"zz\r\n", 400),
    "packed chunks": (head(PUSH, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
    "two codings": (
        head(PUSH, "Transfer-Encoding: gzip", CHUNKED) + b"0\r\n\r\n",
        501,
    ),
    "two hosts": (head("GET /api/v1/jobs", "Host: localhost", "Host: localhost"), 400),
    "two hosts of health": (head("GET /api/v1/health", "Host: a", "Host: b"), 400),
    "two hosts of a push": (head(PUSH, "Host: a", "Host: b", LENGTH) + BODY, 400),
    "no host": (head("GET /api/v1/jobs", "Host"), 400),
    "no host of a push": (head(PUSH, "Host", LENGTH) + BODY, 400),
    "an empty host": (head("GET /api/v1/jobs", "Host: "), 400),
    "a small method": (head("get /api/v1/jobs"), 501),
    "a small method of a push": (head(PUSH.replace("POST", "post"), LENGTH) + BODY, 501),
    "another path": (head("GET //api/v1/jobs"), 404),
    "another path of a push": (head(PUSH.replace("/api", "//api"), LENGTH) + BODY, 404),
    "another path inside": (head("GET /api/v1//jobs"), 404),
}


@pytest.mark.parametrize(("request_bytes", "status"), ODD.values(), ids=ODD)
def test_odd_request_has_one_answer_and_changes_nothing(
    hub: HubProcess, request_bytes: bytes, status: int
) -> None:
    answer = ask(hub, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"application/problem+json" in answer
    assert b"x-request-id: " in answer.lower()
    assert b"granian" not in answer.lower()
    known = ask(hub, head("GET /api/v1/jobs/door"))
    assert known.startswith(b"HTTP/1.1 404 ")


def test_malformed_bodies_are_counted(hub: HubProcess) -> None:
    ask(hub, ODD["no chunk size"][0])
    text = ask(hub, head("GET /api/v1/metrics")).decode()
    route = "/api/v1/telemetry/<job_type:job_type>/<identifier:job_id>"
    assert f'hub_http_requests_total{{method="POST",route="{route}",status="400"}}' in text


def resident_mb(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096 >> 20


def test_answers_that_are_not_read_take_little_memory_and_end(hub: HubProcess) -> None:
    """Without a token: eight pipelined requests on each connection."""
    assert ask(hub, head(f"GET {ASSET}")).startswith(b"HTTP/1.1 200 ")  # it is in memory now
    before = resident_mb(hub.web_worker())
    request = f"GET {ASSET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 8
    with ExitStack() as stack:
        readers = []
        for _ in range(READERS):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            readers.append(stack.enter_context(reader))
            reader.connect(("127.0.0.1", hub.port))
            reader.sendall(request)
        began = time.monotonic()
        time.sleep(1)
        assert resident_mb(hub.web_worker()) - before < 60, "200 MB if all were kept"
        status, _, _ = hub.request("GET", "/api/v1/health")
        assert (status, time.monotonic() - began < within(3)) == (200, True)
        time.sleep(3 * REQUEST_SECONDS)
        for reader in readers:
            reader.settimeout(within(10))
            assert read_to_end(reader) < 2_000_000, "the connection is still served"


def test_stop_does_not_wait_for_answers_that_are_not_read(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub, ExitStack() as stack:
        request = f"GET {ASSET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 8
        for _ in range(10):
            connect(hub, stack).sendall(request)
        time.sleep(1)
        began = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - began < within(6)


def read_to_end(reader: socket.socket) -> int:
    received = 0
    try:
        while piece := reader.recv(1 << 20):
            received += len(piece)
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/telemetry/batch", "/sign-in"])
def test_large_bodies_without_a_token_keep_no_batch_out(hub: HubProcess, path: str) -> None:
    """Nine that would take the whole budget, and never end."""
    size = 16 << 20
    sent = [size - 1] * LARGE_BODIES + [(LARGE_BODIES + 1) * UNBUDGETED_BYTES]
    with ExitStack() as stack:
        for count in sent:
            sender = connect(hub, stack)
            lines = f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", "", ""
            sender.sendall("\r\n".join(lines).encode())
            sender.settimeout(5)
            with suppress(OSError):  # it was refused, or is not read
                sender.sendall(b" " * count)
        items = [make_body(job_id="batch", job_type="backup", error="e" * 1000)] * 200
        body = json.dumps({"updates": items}).encode()
        batch = head("POST /api/v1/telemetry/batch", f"Content-Length: {len(body)}") + body
        time.sleep(0.5)  # what was sent is read meanwhile
        for _ in range(5):
            began = time.monotonic()
            answer = ask(hub, batch)
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:300]
            assert time.monotonic() - began < within(3)
            time.sleep(0.2)
