"""From a command line to its reader, to the flag it lacks, and to the repository it writes to."""

from __future__ import annotations

import pytest

from telemetry_client.readers import Missing, reader_for, repository_of
from telemetry_client.readers.messages import clean
from telemetry_client.readers.pv import Pv
from telemetry_client.readers.rsync import Rsync
from telemetry_client.wire.credentials import without_credentials

READ = [
    "restic backup --json /home",
    "/usr/bin/restic -r /srv/restic --json backup /home",
    "restic_0.18.0 backup --json /home",
    "sudo -u backup restic backup --json /home",
    "env RESTIC_PASSWORD=x nice -n 10 ionice -c 3 restic backup --json /home",
    "timeout -k 10 3600 restic restore latest --json --target /tmp",
    "rclone copy a b --use-json-log --stats 1s --stats-log-level NOTICE",
    "rclone sync a b --use-json-log -v",
    "rclone copy -vv --use-json-log=true a b",
    "rclone copy a b --use-json-log --log-level INFO",
    "borg --log-json --progress create ::a /home",
    "borg create -p --log-json ::a /home",
    "rsync -a --info=progress2 a b",
    "rsync -a --info=stats1,progress2 a b",
    "pv -n -b",
    "pv -nb -L 8M a",
    "pv -n -s 20M",
    "pv -ns 20M",
]
LACKING = {
    "restic backup /home": "--json",
    "restic backup --json=false /home": "--json",
    "restic backup -- --json": "--json",
    "rclone copy a b": "--use-json-log --stats 5s --stats-log-level NOTICE",
    "rclone copy a b --use-json-log": "--use-json-log --stats 5s --stats-log-level NOTICE",
    "rclone copy a b --use-json-log -v -q": "--use-json-log --stats 5s --stats-log-level NOTICE",
    "rclone copy a b --use-json-log -v --log-file=x": "its log on stderr, not --log-file",
    "borg create ::a /home": "--log-json --progress",
    "borg create --log-json ::a /home": "--log-json --progress",
    "rsync -a --progress a b": "--info=progress2",
    "pv a": "-n -b",
    "pv -n": "-b, or -s with the size,",
    "pv -n -l -b": "bytes, not lines (-l)",
}
UNREAD = ["true", "sh -c 'restic backup --json'", "restic snapshots", "borg list", "", "sudo"]


@pytest.mark.parametrize("line", READ)
def test_a_command_that_says_how_far_it_is_has_a_reader(line: str) -> None:
    reader = reader_for(line.split())
    assert reader is not None
    assert not isinstance(reader, Missing)
    assert reader.tool in line


@pytest.mark.parametrize(("line", "hint"), LACKING.items())
def test_a_command_that_does_not_is_told_the_flag(line: str, hint: str) -> None:
    reader = reader_for(line.split())
    assert reader == Missing(hint=hint, tool=line.split()[0])


@pytest.mark.parametrize("line", UNREAD)
def test_other_commands_have_no_reader(line: str) -> None:
    assert reader_for(line.split()) is None


def test_rclone_takes_its_options_from_the_environment_as_well() -> None:
    environ = {"RCLONE_USE_JSON_LOG": "true", "RCLONE_VERBOSE": "1"}
    assert not isinstance(reader_for(["rclone", "copy", "a", "b"], environ), Missing)


@pytest.mark.parametrize(("flag", "base"), [("-ah", 1000), ("-ahh", 1024)])
def test_rsync_is_read_in_its_own_units(flag: str, base: int) -> None:
    reader = reader_for(["rsync", flag, "--info=progress2", "a", "b"])
    assert isinstance(reader, Rsync)
    progress = reader.feed(b"         19.07M 100%  7.90MB/s    0:00:07 (xfr#1, to-chk=0/1)\n")
    assert progress is not None
    assert progress.bytes_transferred == round(19.07 * base**2)


@pytest.mark.parametrize(
    ("digits", "count"),
    [("1,234,567", 1_234_567), ("1.234.567", 1_234_567), ("1,23K", 1_230), ("999", 999)],
)
def test_rsync_writes_numbers_in_the_way_of_its_locale(digits: str, count: int) -> None:
    progress = Rsync().feed(f"\r {digits}  50%  7.90MB/s    0:00:07\r".encode())
    assert progress is not None
    assert progress.bytes_transferred == count


def test_the_total_of_pv_is_the_size_of_its_inputs() -> None:
    sizes = {"a": 10, "b": 20, "-": 5}
    reader = reader_for(["pv", "-n", "-i", "2", "a", "b"], size_of=sizes.get)
    assert isinstance(reader, Pv)
    assert reader._total == 30
    from_stdin = reader_for(["pv", "-n"], size_of=sizes.get)
    assert isinstance(from_stdin, Pv)
    assert from_stdin._total == 5


@pytest.mark.parametrize(
    ("line", "environ", "repository"),
    [
        ("restic -r /srv/restic backup /home", {}, "/srv/restic"),
        ("restic backup --repo=/srv/restic /home", {}, "/srv/restic"),
        ("restic backup /home", {"RESTIC_REPOSITORY": "sftp:u@h:/r"}, "sftp:u@h:/r"),
        (
            "restic backup /home",
            {"RESTIC_REPOSITORY": "rest:https://u:p@h:8000/r"},
            "rest:https://h:8000/r",
        ),
        ("borg create /srv/borg::today /home", {"BORG_REPO": "/x"}, "/srv/borg"),
        ("borg create ::today /home", {"BORG_REPO": "ssh://u:p@h/./r"}, "ssh://h/./r"),
        ("rclone copy /home remote:bucket/x --use-json-log --stats 5s", {}, "remote:bucket/x"),
        ("rclone copy /home :sftp,host=h,user=u,pass=secret:/x", {}, ":sftp:/x"),
        ("rsync -a --info=progress2 -e ssh /home backup@host:/srv", {}, "backup@host:/srv"),
        ("rsync -a /home rsync://u:p@host/module", {}, "rsync://host/module"),
        ("rclone copy /home :sftp,pass=secret", {}, ":sftp"),
        ("rsync /home host:/srv -ave secret", {}, "host:/srv"),
        ("rsync /home host:/srv -essh -a", {}, "host:/srv"),
        ("rsync /home host:/srv --rsync-path secret", {}, "host:/srv"),
        ("pv -n a", {}, None),
        ("true", {}, None),
    ],
)
def test_the_repository_is_named_without_its_password(
    line: str, environ: dict[str, str], repository: str | None
) -> None:
    assert repository_of(line.split(), environ) == repository


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("https://u:p@h/x", "https://h/x"),
        ("https://u:p@ss@h:99/x@y", "https://h:99/x@y"),
        ("https://u:pa/ss@h/x", "https://h/x"),
        ("https://h:8000/x", "https://h:8000/x"),
        ("https://h/x?sig=abc&b=c#f", "https://h/x?sig=…&b=…#f"),
        ("two: http://a:b@c/ and http://d:e@f/", "two: http://c/ and http://f/"),
        ("no address: a:b@c", "no address: a:b@c"),
        ('for ":sftp,host=h,pass=s:x": short', 'for ":sftp,host=h,pass=…:x": short'),
        (r'":s3,secret_access_key=\"a,b:c\",x=1:b"', r'":s3,secret_access_key=…,x=1:b"'),
        ("RESTIC_PASSWORD=s restic", "RESTIC_PASSWORD=… restic"),
        ("exit code=3, key: none", "exit code=3, key: none"),
    ],
)
def test_credentials_are_taken_out_of_addresses(text: str, plain: str) -> None:
    assert without_credentials(text) == plain


def test_words_are_one_printable_line() -> None:
    assert clean("\x1b[2K\x1b[31mFatal:\x1b[0m\tno\n key\x00 ") == "Fatal: no key"
