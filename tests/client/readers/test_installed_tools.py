"""Tools that are installed, in whatever version: what they write is read, without a hub."""

from __future__ import annotations

import http.server
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from telemetry_client.readers import End, choose_reader
from tests.client.tools import need

SIZE = 6_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With files in `data`, of SIZE bytes in all."""
    (tmp_path / "data").mkdir()
    for number in range(3):
        data = random.Random(number).randbytes(SIZE // 3)
        (tmp_path / "data" / f"file-{number}").write_bytes(data)
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """Of a web server with the folder."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def end_of(command: str, folder: Path) -> End:
    """Run a command to its end, which must be a success, and read its output."""
    words = command.split()
    need(words[0])
    environ = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}
    choice = choose_reader(words, environ, lambda name: SIZE // 3 if "file" in name else None)
    assert choice.reader.reads_progress
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    choice.reader.feed(done.stdout, "stdout")
    choice.reader.feed(done.stderr, "stderr")
    return choice.reader.end(0)


@pytest.mark.parametrize(
    ("command", "done", "total"),
    [
        ("dd if=data/file-0 of=copy bs=64K status=progress", SIZE // 3, SIZE // 3),
        ("dd if=/dev/zero of=copy bs=1M count=9 status=progress", 9 * 2**20, 9 * 2**20),
        ("pv -n -b data/file-0 -o copy", SIZE // 3, None),
    ],
)
def test_bytes_are_exact(command: str, done: int, total: int | None, folder: Path) -> None:
    end = end_of(command.replace(" -o copy", ""), folder)
    assert (end.status, end.error) == ("completed", None)
    assert end.progress.bytes_transferred == done
    assert end.progress.total_bytes == (total or SIZE // 3)


@pytest.mark.parametrize(
    "flags", ["--checkpoint=100", "--checkpoint=100 --checkpoint-action=echo=%T --totals"]
)
def test_tar_reports_the_bytes_of_its_archive(flags: str, folder: Path) -> None:
    done = end_of(f"tar {flags} -cf x.tar data", folder).progress.bytes_transferred
    assert done is not None
    assert SIZE - 1_100_000 < done < SIZE + 20_000


def test_curl_reports_three_digits(address: str, folder: Path) -> None:
    progress = end_of(f"curl {address}/data/file-0 -o copy", folder).progress
    assert progress.bytes_transferred == progress.total_bytes == pytest.approx(SIZE / 3, rel=0.01)
    upload = choose_reader(["curl", "-T", "x", address]).reader
    upload.feed(b" 50 38.1M    0     0   50 19.0M      0  20.0M  0:00:01 --:--:--  0:00:01 19.9M\r")
    assert upload.progress.bytes_transferred == round(19.0 * 2**20)


def test_mbuffer_reports_its_output(folder: Path) -> None:
    done = end_of("mbuffer -i data/file-0 -o copy", folder).progress.bytes_transferred
    assert done == pytest.approx(SIZE / 3, rel=0.06)  # it rounds to tenths of a MiB


def test_qemu_img_reports_percents(folder: Path) -> None:
    with (folder / "disk.raw").open("wb") as disk:
        disk.truncate(64 * 2**20)
    end = end_of("qemu-img convert -p -f raw -O qcow2 disk.raw disk.qcow2", folder)
    assert end.progress.percent == 99.99


def test_duplicity_reports_what_it_uploads(folder: Path) -> None:
    command = "duplicity full --progress --progress-rate 1 --no-encryption data file://"
    end = end_of(f"{command}{folder}/backup", folder)
    assert end.progress.bytes_transferred == pytest.approx(SIZE, rel=0.05)
