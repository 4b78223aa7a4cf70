"""The dashboard's page and files: which ones are served, their headers and their policy.

tests/browser tests the page in a browser.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api import dashboard

FOLDER = dashboard.STATIC / "dashboard"
PAGES = (
    "/",
    "/jobs",
    "/machines",
    "/machines/web01",
    "/jobs/b-1",
    "/compare/b-1",
    "/nights",
    "/nodes",
)
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client(running_app: Flask) -> FlaskClient:
    """No test here uses the database, so it need not be emptied."""
    return running_app.test_client()


def addresses(page: str) -> list[str]:
    """The files that the page loads first."""
    return re.findall(r'(?:src|href)="([^"]*static/[^"]+)"', page)


@pytest.mark.parametrize("path", [*PAGES, "/nodes/n1", "/nodes/", "/machines/a%2Fb", "/jobs/..."])
def test_every_view_has_an_address(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert "<main" in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/a/b/c",
        "/compare",
        "/compare/",
        "/jobs/a/b",
        "/nodes/a/b",
        "/index.html",
        "/Nodes",
    ],
)
def test_other_addresses_are_not_found(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    page = client.get(path, headers=BROWSER)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for address in addresses(page.get_data(as_text=True)):
        up = path.count("/") - 1
        assert address.startswith("../" * up + "static/")
    again = client.get(path, headers={**BROWSER, "If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.data) == (404, page.data)
    assert client.head(path, headers=BROWSER).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/v1/nothing",
        "/api/v1/jobs/unknown",
        "/telemetry/history/unknown",
        "/telemetry/nothing",
        "/static/nothing.js",
        "/deep" * 21,
        "/a//b",
    ],
)
def test_browser_gets_a_problem_where_no_page_can_be(app: Flask, path: str) -> None:
    answer = app.test_client().get(path, headers=BROWSER)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_post_to_an_unknown_address_gets_a_problem(client: FlaskClient) -> None:
    answer = client.post("/nothing", headers=BROWSER)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_page_policy_allows_only_the_hub_and_nothing_inline(client: FlaskClient) -> None:
    headers = client.get("/").headers
    policy = dict(part.split(maxsplit=1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_has_no_inline_script_or_style(client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page)


def test_no_file_names_another_origin() -> None:
    own = {"http://www.w3.org/2000/svg"}  # a namespace, never fetched
    for path in FOLDER.rglob("*.*"):
        named = set(re.findall(r"https?://[\w./-]+", path.read_text(encoding="utf-8")))
        assert named <= own, path


def test_no_module_can_set_markup() -> None:
    for path in FOLDER.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), path


@pytest.mark.parametrize(
    "path", ["/", "/nodes", "/nodes/n1", "/nodes/", "/machines/a%2Fb", "/machines/a/b", "/a/b%2Fc"]
)
def test_page_finds_its_files_at_every_address(client: FlaskClient, path: str) -> None:
    page = client.get(path, headers={"Accept": "text/html"}).get_data(as_text=True)
    found = addresses(page)
    assert len(found) > 5
    # As a browser resolves them: a %2F is not a slash.
    up = "../" * (path.count("/") - 1)
    for address in found:
        assert address.startswith(f"{up}static/")
        answer = client.get(f"/{address.removeprefix(up)}")
        assert answer.status_code == 200, address
        assert "immutable" in answer.headers["Cache-Control"]


def test_every_import_leads_to_a_file() -> None:
    for path in FOLDER.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"(?:from|import|import\()\s*\"(\.[^\"]+)\"", text):
            target = (path.parent / name).resolve()
            assert target.is_relative_to(dashboard.STATIC), (path, name)
            assert target.is_file(), (path, name)


def test_files_are_sent_with_their_type(client: FlaskClient) -> None:
    types = {
        "main.js": "text/javascript",
        "css/tokens.css": "text/css",
        "icon.svg": "image/svg+xml",
    }
    for name, kind in types.items():
        answer = client.get(f"/static/dashboard/{name}")
        assert answer.mimetype == kind
        assert name == "main.js" or answer.get_data() == (FOLDER / name).read_bytes()
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_modules_are_sent_without_jsdoc_and_otherwise_line_by_line(client: FlaskClient) -> None:
    left_out = 0
    for path in FOLDER.rglob("*.js"):
        sent = client.get(f"/static/dashboard/{path.relative_to(FOLDER)}").get_data(as_text=True)
        source = path.read_text(encoding="utf-8")
        for line, original in zip(sent.split("\n"), source.split("\n"), strict=True):
            if line != original:
                assert line == ""
                assert original.lstrip().startswith(("/**", "*")), path
                left_out += 1
    assert left_out > 1_000


def test_library_is_served(client: FlaskClient) -> None:
    answer = client.get("/static/node_modules/echarts/dist/echarts.esm.min.mjs")
    assert (answer.status_code, answer.mimetype) == (200, "text/javascript")


@pytest.mark.parametrize(
    "name",
    [
        "dashboard/index.html",
        "dashboard/nothing.js",
        "dashboard/../docs/docs.js",
        "dashboard/..%2fdocs%2fdocs.js",
        "dashboard/%2e%2e/docs/docs.js",
        "dashboard/lib/../../docs/docs.js",
        "dashboard//main.js",
        "dashboard/.hidden.js",
        "dashboard",
        "dashboard/lib",
        "docs/docs.js",
        "package.json",
        ".npmrc",
        "node_modules/.package-lock.json",
        "node_modules/echarts/package.json",
        "node_modules/echarts/dist/../index.js",
        "node_modules/echarts/index.js",
        "node_modules/echarts/dist/echarts.esm.js.map",
        "node_modules/axe-core/axe.min.js",
        "/etc/passwd",
        "dashboard/main.js%00.css",
        "v-0123456789abcdef/../../app/config.py",
        "v-0123456789abcdef//etc/passwd.css",
    ],
)
def test_no_other_file_can_be_fetched(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_symlink_out_of_the_folder_is_not_followed(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "static" / "dashboard"
    folder.mkdir(parents=True)
    (tmp_path / "secret.js").write_text("secret")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    (folder / "own.js").write_text("own")
    monkeypatch.setattr(dashboard, "STATIC", tmp_path / "static")
    assert client.get("/static/dashboard/own.js").status_code == 200
    assert client.get("/static/dashboard/link.js").status_code == 404


# Caches and compression.


def test_cached_file_gets_304(client: FlaskClient) -> None:
    for path in ("/", "/static/dashboard/main.js"):
        first = client.get(path)
        tag = first.headers["ETag"]
        assert tag.startswith('"')
        second = client.get(path, headers={"If-None-Match": tag})
        assert (second.status_code, second.get_data()) == (304, b"")
        assert second.headers["Cache-Control"] == first.headers["Cache-Control"]


def test_files_are_compressed_if_the_client_accepts_it(client: FlaskClient) -> None:
    for path in ("/", "/static/dashboard/main.js"):
        plain = client.get(path)
        compressed = client.get(path, headers={"Accept-Encoding": "br, gzip"})
        assert "Content-Encoding" not in plain.headers
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(compressed.get_data()) == plain.get_data()
        assert len(compressed.get_data()) < len(plain.get_data())
        # Different bytes need different strong tags, and caches must keep them apart.
        assert compressed.headers["ETag"] != plain.headers["ETag"]
        assert compressed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


def test_client_that_refuses_gzip_gets_plain_text(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "Content-Encoding" not in answer.headers


def test_page_is_revalidated_and_its_files_are_immutable(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.headers["Cache-Control"] == "no-cache"
    (main,) = re.findall(r'src="([^"]+/main\.js)"', page.get_data(as_text=True))
    assert re.fullmatch(r"static/v-[0-9a-f]{16}/dashboard/main\.js", main)
    assert "immutable" in client.get(f"/{main}").headers["Cache-Control"]


def test_old_version_gets_the_current_file_without_caching(client: FlaskClient) -> None:
    answer = client.get("/static/v-0123456789abcdef/dashboard/main.js")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"


def test_an_edited_file_has_another_version(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "dashboard"
    folder.mkdir()
    (folder / "index.html").write_text('<script src="static/dashboard/main.js"></script>')
    (folder / "main.js").write_text("1")
    monkeypatch.setattr(dashboard, "STATIC", tmp_path)
    before = client.get("/").get_data(as_text=True)
    assert client.get("/").get_data(as_text=True) == before
    (folder / "main.js").write_text("22")
    assert client.get("/").get_data(as_text=True) != before
    assert client.get("/static/dashboard/main.js").get_data() == b"22"


def test_page_size_is_limited(client: FlaskClient) -> None:
    """Compressed, without the library, which only charts load; 700 KB with it."""
    gzipped = {"Accept-Encoding": "gzip"}
    size = sum(
        len(client.get(f"/static/{path.relative_to(dashboard.STATIC)}", headers=gzipped).data)
        for path in FOLDER.rglob("*")
        if path.suffix in (".js", ".css", ".svg")
    )
    library = client.get("/static/node_modules/echarts/dist/echarts.esm.min.mjs", headers=gzipped)
    assert size < 150_000
    assert size + len(library.data) < 700_000
