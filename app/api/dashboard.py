"""The dashboard: one page, rendered in the browser from the public API, and its static files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import flask
from flask import Response, request
from werkzeug.exceptions import NotFound

from app.api.browsers import can_be_page, wants_page, way_to_root
from app.api.errors import answer_http_exception
from app.api.files import ASK_FIRST, FOR_EVER, TYPES, File, make_file, read_file, read_version, send
from app.api.needs import needs
from app.config import ROOT
from app.web.permissions import OPEN, PAGE

blueprint = flask.Blueprint("dashboard", __name__)

STATIC = ROOT / "app" / "static"
_PAGE = "dashboard/index.html"
# Only the dashboard's own files and its one library; no name begins with a dot.
_NAME = re.compile(r"(dashboard|node_modules/echarts/dist)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", re.A)
_VERSION = re.compile(r"v-([0-9a-f]{16})/(.*)", re.A | re.S)

# Only the hub's own scripts and styles, no other origin. Saving a chart as an image needs blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_State = tuple[str, int, int]  # a file's path, mtime in ns and size


@blueprint.route("/")
@blueprint.route("/jobs")
@blueprint.route("/machines")
@blueprint.route("/nights")
@blueprint.route("/nodes")
@blueprint.route("/<any(machines, jobs, compare, nodes):kind>/<identifier:name>")
@needs(PAGE)
def show_page(kind: str = "", name: str = "") -> Response:
    """The page. It chooses its view by its address."""
    # Ids contain no slashes, machine names may.
    if (kind == "compare" and not name) or (kind != "machines" and "/" in name):
        raise NotFound
    return _send_page()


@blueprint.app_errorhandler(404)
def show_not_found(error: NotFound) -> Response:
    """Browsers get the page, which says so; other clients get problem+json."""
    if not wants_page(request.environ) or not can_be_page(request.path):
        return answer_http_exception(error)
    return _send_page(status=404)


def _send_page(status: int = 200) -> Response:
    page = _page(f"v-{_version()}", way_to_root(request.environ))
    response = send(page, "text/html; charset=utf-8", status=status)
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.route("/static/<path:name>")
@needs(OPEN)  # these files are public
def send_file(name: str) -> Response:
    """A static file. It may be cached forever if its address has the current version."""
    versioned = _VERSION.fullmatch(name)
    asked_version, name = versioned.groups() if versioned else (None, name)
    kind = TYPES.get(Path(name).suffix)
    path = STATIC / name
    if kind is None or not _NAME.fullmatch(name) or not _is_static_file(path):
        raise NotFound
    return send(read_file(path), kind, FOR_EVER if asked_version == _version() else ASK_FIRST)


def _is_static_file(path: Path) -> bool:
    """Whether it is a file, and not a link out of the folder."""
    return path.is_file() and path.resolve().is_relative_to(STATIC.resolve())


def _version() -> str:
    """A hash of the content of all the page's files."""
    files = list(_files_below(str(STATIC / "dashboard")))
    library = STATIC / "node_modules" / "echarts" / "package.json"
    if library.is_file():
        state = library.stat()
        files.append((str(library), state.st_mtime_ns, state.st_size))
    return _name_version(tuple(sorted(files)))


def _files_below(folder: str) -> Iterator[_State]:
    """With `os.scandir`, as every request computes the version and `rglob` is ten times slower."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path)
            elif entry.is_file():
                state = entry.stat()
                yield entry.path, state.st_mtime_ns, state.st_size


@lru_cache(maxsize=8)
def _name_version(files: tuple[_State, ...]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path, mtime_ns, size in files:
        tag = read_version(Path(path), mtime_ns, size).tag
        digest.update(f"{Path(path).relative_to(STATIC)} {tag}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _page(version: str, root: str) -> File:
    """The page, with relative addresses of its files, as a proxy may add a path prefix."""
    text = (STATIC / _PAGE).read_text(encoding="utf-8")
    text = text.replace('"static/', f'"{root}static/{version}/')
    return make_file(text.replace('"./', f'"{root or "./"}').encode())
