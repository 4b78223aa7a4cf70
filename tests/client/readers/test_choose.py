"""From a command line to its reader, to the flag it lacks, and to the repository it writes to."""

from __future__ import annotations

import shlex

import pytest

from telemetry_client.readers import choose_reader, repository_of
from telemetry_client.readers.messages import clean
from telemetry_client.readers.tools.pv import PvReader
from telemetry_client.readers.tools.rsync import RsyncReader
from telemetry_client.wire.credentials import without_credentials

READ = [
    "restic backup --json /home",
    "/usr/bin/restic -r /srv/restic --json backup /home",
    "restic_0.18.0 backup --json /home",
    "restic --verbose --exclude x backup --json /home",
    "sudo -u backup restic backup --json /home",
    "env RESTIC_PASSWORD=x nice -n 10 ionice -c 3 restic backup --json /home",
    "timeout -k 10 3600 restic restore latest --json --target /tmp",
    "rclone copy a b --use-json-log --stats 1s --stats-log-level NOTICE",
    "rclone sync a b --use-json-log -v",
    "rclone copy -vv --use-json-log=true a b",
    "rclone copy a b --use-json-log --log-level INFO",
    "borg --log-json --progress create ::a /home",
    "borg create -p --log-json ::a /home",
    "borg --log-json --progress prune --keep-last 1",
    "borg compact --log-json --progress",
    "mariadb-backup --backup --target-dir=/b",
    "pg_restore -v -d x y",
    "tar --checkpoint=100 -cf x y",
    "dd if=a of=b status=progress",
    "rsync -a --info=progress2 a b",
    "rsync -a --info=stats1,progress2 a b",
    "pv -n -b",
    "pv -nb -L 8M a",
    "pv -n -s 20M",
    "pv -ns 20M",
    "pv -n -b -Nqueue a",
    "restic -r/mnt/qnap backup --json /home",
    "curl -ofiles http://h/",
]
RCLONE_FLAGS = "--use-json-log --stats 5s --stats-log-level NOTICE"
LACKING = {
    "restic backup /home": "--json",
    "restic backup --json=false /home": "--json",
    "restic backup -- --json": "--json",
    "restic backup -q --json /home": "--json and without -q",
    "restic -r /srv prune": "RESTIC_PROGRESS_FPS=1 in its environment",
    "rclone copy a b": RCLONE_FLAGS,
    "rclone copy a b --use-json-log": RCLONE_FLAGS,
    "rclone copy a b --use-json-log -v -q": RCLONE_FLAGS,
    "rclone copy a b --use-json-log -v --log-file=x": "its log on stderr, not --log-file",
    "rclone copy a b --use-json-log -v --log-systemd": "its log on stderr, not --log-systemd",
    "rclone copy a b --use-json-log -v --syslog": "its log on stderr, not --syslog",
    "rclone copy a b -P --use-json-log -v": f"{RCLONE_FLAGS} and without -P",
    "rclone copy a b --progress --use-json-log -v": f"{RCLONE_FLAGS} and without -P",
    "rclone copy a b --use-json-log -v --stats 0": "--stats 5s",
    "rclone copy a b --use-json-log -v --stats=0s": "--stats 5s",
    "borg create ::a /home": "--log-json --progress",
    "borg create --log-json ::a /home": "--log-json --progress",
    "borg prune --keep-last 1": "--log-json --progress",
    "rsync -a --progress a b": "--info=progress2",
    "rsync -a --info=progress1 a b": "--info=progress2",
    "rsync -a --info=progress2,progress0 a b": "--info=progress2",
    "rsync -aq --info=progress2 a b": "--info=progress2 and without -q",
    "rsync -a --quiet --info=progress2 a b": "--info=progress2 and without -q",
    "pv a": "-n -b",
    "pv -n": "-b, or -s with the size,",
    "pv -n -l -b": "bytes, not lines (-l)",
    "pv -n -q -b": "-n -b and without -q",
    "tar -cf x y": "--checkpoint=1000 --checkpoint-action=echo=%T",
    "tar --checkpoint --checkpoint-action=dot -cf x y": "--checkpoint-action=echo=%T",
    "dd if=a of=b": "status=progress",
    "curl -sS http://h/ -o x": "its progress meter, not -s,",
    "mbuffer -q -o x": "its status, not -q,",
    "qemu-img convert a b": "-p",
    "pg_basebackup -D x": "-P",
    "pg_dump x": "--verbose",
    "pg_dump -dvault": "--verbose",
    "pg_basebackup -D/srv/P": "-P",
    "pgbackrest backup --log-level-console=info": "--log-level-console=detail",
    "mydumper -o x": "--verbose=3",
    "duplicity full a b": "--progress",
    "kopia snapshot create a": "--progress",
    "aws s3 sync a b --no-progress": "its progress, not --no-progress,",
    "s5cmd cp a b": "--show-progress",
    "zfs send a@b": "-v, and -P for exact numbers",
    "vzdump 100 --quiet": "its log, not --quiet,",
    "robocopy a b /NJS": "its job summary, without /NJS or /LOG",
    "btrfs send a": "a pipe through pv -n -b or mbuffer, and telemetry exec in front of that,",
}
UNREAD = [
    "true",
    "restic snapshots",
    "kopia snapshot list",
    "aws s3 ls",
    "zfs list",
    "borg list",
    "",
    "sudo",
    "./backup.sh",
    "./rsync-2024.sh a b",
]


@pytest.mark.parametrize("line", READ)
def test_a_command_that_says_how_far_it_is_has_a_reader(line: str) -> None:
    choice = choose_reader(line.split())
    assert choice.reader.reads_progress
    assert choice.hint is None
    assert choice.reader.tool in line


@pytest.mark.parametrize(("line", "flags"), LACKING.items())
def test_a_command_that_does_not_is_told_the_flag(line: str, flags: str) -> None:
    choice = choose_reader(line.split())
    tool = line.split()[0]
    assert not choice.reader.reads_progress
    assert choice.hint is not None
    assert choice.hint.startswith(
        f"{tool} does not report its progress: run it with {flags} to see it."
    )


@pytest.mark.parametrize("line", UNREAD)
def test_other_commands_have_no_reader(line: str) -> None:
    choice = choose_reader(line.split())
    assert (choice.reader.reads_progress, choice.hint) == (False, None)


@pytest.mark.parametrize(
    "environ",
    [
        {"RCLONE_STATS": "0"},
        {"RCLONE_PROGRESS": "true"},
        {"RCLONE_LOG_FILE": "/x"},
        {"RCLONE_LOG_SYSTEMD": "true"},
        {"RCLONE_QUIET": "true", "RCLONE_VERBOSE": "0"},
    ],
)
def test_rclone_has_its_options_in_the_environment_as_well(environ: dict[str, str]) -> None:
    command = ["rclone", "copy", "a", "b"]
    readable = {"RCLONE_USE_JSON_LOG": "true", "RCLONE_VERBOSE": "1"}
    assert choose_reader(command, readable).reader.reads_progress
    assert not choose_reader(command, {**readable, **environ}).reader.reads_progress
    assert choose_reader(command, {"RCLONE_DRY_RUN": "true"}).reader.is_dry_run


def test_restic_counts_the_steps_of_other_commands_if_it_may() -> None:
    environ = {"RESTIC_PROGRESS_FPS": "1"}
    assert choose_reader(["restic", "check"], environ).reader.reads_progress
    hint = choose_reader(["restic", "check", "-q"], environ).hint
    assert hint is not None
    assert "without --json or -q" in hint


@pytest.mark.parametrize(
    ("line", "tool", "via"),
    [
        ("sudo -Eu x restic backup --json /", "restic", "sudo"),
        ("sudo -n -E -u x RESTIC_PASSWORD=y restic backup --json /", "restic", "sudo"),
        ("runuser -u x -- restic backup --json /", "restic", "runuser"),
        ("runuser x -c 'restic backup --json /'", "restic", "runuser"),
        ("su - x -c 'restic backup --json /'", "restic", "su"),
        ("flock -n /run/lock restic backup --json /", "restic", "flock"),
        ("flock -w 5 /run/lock -c 'restic backup --json /'", "restic", "flock"),
        ("sh -c 'restic backup --json /'", "restic", "sh"),
        ("bash -ec 'exec restic backup --json \"/a b\"'", "restic", "bash"),
        ("sh -c 'A=b nice restic backup --json /'", "restic", "sh nice"),
        ("bash -o pipefail -c 'restic backup --json /'", "restic", "bash"),
        ("ssh -p 22 -i key u@host sudo restic backup --json /", "restic", "ssh sudo"),
        ("docker exec -it -u x box restic backup --json /", "restic", "docker"),
        ("podman exec box restic backup --json /", "restic", "podman"),
        ("kubectl exec pod -n ns -- restic backup --json /", "restic", "kubectl"),
        ("chroot /mnt rsync -a --info=progress2 a b", "rsync", "chroot"),
        ("env -S 'restic backup --json /'", "restic", "env"),
        ("systemd-run --scope -u x rsync -a --info=progress2 a b", "rsync", "systemd-run"),
        ("ssh host rsync -a -f x --info=progress2 a b", "rsync", "ssh"),
        ("taskset -c 0-3 rsync -a --info=progress2 a b", "rsync", "taskset"),
        ("systemd-inhibit --what=sleep rsync -a --info=progress2 a b", "rsync", "systemd-inhibit"),
    ],
)
def test_a_tool_is_found_behind_what_runs_it(line: str, tool: str, via: str) -> None:
    choice = choose_reader(shlex.split(line))
    assert choice.call is not None
    assert (choice.call.tool, " ".join(choice.call.via)) == (tool, via)
    assert choice.reader.reads_progress


@pytest.mark.parametrize(
    "line",
    [
        "sh -c 'cd / && restic backup --json .'",
        "sh -c 'restic backup --json / | tee log'",
        "bash -c 'restic backup --json $DIRS'",
        "docker run restic/restic backup --json /",
        "flock /run/lock sh -c 'restic check; restic backup --json /'",
    ],
)
def test_where_it_is_not_sure_the_option_is_named(line: str) -> None:
    choice = choose_reader(shlex.split(line))
    assert (choice.call, choice.reader.reads_progress) == (None, False)
    assert choice.hint is not None
    assert "--tool restic" in choice.hint
    if "check" in line:
        return  # its first call is another one
    named = choose_reader(shlex.split(line), tool="restic")
    assert (named.reader.reads_progress, named.hint) == (True, None)
    assert named.reader.end(3).status == "failed"  # it may be a status of another command
    named.reader.feed(b'{"message_type": "summary", "total_bytes_processed": 9}\n', "stdout")
    assert named.reader.end(3).status == "completed"


@pytest.mark.parametrize(
    "line",
    [
        "env -u X RESTIC_PROGRESS_FPS=1 restic check",
        "sudo -n RESTIC_PROGRESS_FPS=1 restic check",
        "sh -c 'RESTIC_PROGRESS_FPS=1 exec restic check'",
        "ssh host RESTIC_PROGRESS_FPS=1 restic check",
    ],
)
def test_variables_in_the_command_line_are_those_of_the_tool(line: str) -> None:
    assert choose_reader(shlex.split(line)).reader.reads_progress
    without = shlex.split(line.replace("RESTIC_PROGRESS_FPS=1", ""))
    assert choose_reader(without).hint is not None


def test_our_environment_is_not_that_of_another_machine() -> None:
    environ = {"RESTIC_PROGRESS_FPS": "1"}
    assert choose_reader(["sudo", "restic", "check"], environ).reader.reads_progress
    assert not choose_reader(["ssh", "host", "restic", "check"], environ).reader.reads_progress


@pytest.mark.parametrize(
    ("line", "hides"),
    [
        ("sh -c 'pg_dump x | gzip > y'", True),
        ("sudo bash -c 'pg_dump x |gzip'", True),
        ("bash -o pipefail -c 'pg_dump x | gzip > y'", False),
        ("bash -c 'set -o pipefail; pg_dump x | gzip > y'", False),
        ("sh -c 'cd /x || exit 1; pg_dump x'", False),
        ("sh -c 'grep \"a|b\" x'", False),
        ("grep -E 'a|b' x", False),
        ("sh -c 'pg_dump x'", False),
    ],
)
def test_a_pipeline_that_hides_failures_is_seen(line: str, hides: bool) -> None:
    assert choose_reader(shlex.split(line)).hides_failures == hides
    assert choose_reader(shlex.split(line), tool="pg_dump").hides_failures == hides


@pytest.mark.parametrize(
    ("line", "wrapper"),
    [
        ("systemd-run --uid=1 rsync -a --info=progress2 a b", "systemd-run"),
        ("docker exec -d box restic backup --json /", "docker"),
        ("ssh -f host 'rsync -a --info=progress2 a b'", "ssh"),
        ("sudo -bu x ./backup.sh", "sudo"),
        ("nice setsid --fork ./backup.sh", "setsid"),
    ],
)
def test_a_command_that_is_left_running_has_no_known_end(line: str, wrapper: str) -> None:
    choice = choose_reader(shlex.split(line))
    assert choice.hint is not None
    assert choice.hint.startswith(f"{wrapper} returns while its command is still running")
    end = choice.reader.end(0)
    assert end.status == "completed"
    assert end.error is not None
    assert "how it ends is not known" in end.error
    assert choice.reader.end(1).status == "failed"


@pytest.mark.parametrize(
    "line",
    [
        "restic -r/mnt/n backup --json /home",
        "rsync -T/tmp/n -a --info=progress2 a b",
        "rsync -e 'ssh -n' -a a b",
        "borg create -Cnone --log-json --progress ::a /home",
    ],
)
def test_letters_in_a_value_are_not_switches(line: str) -> None:
    assert not choose_reader(shlex.split(line)).reader.is_dry_run


def test_a_directory_of_tar_does_not_make_a_warning_a_failure() -> None:
    assert choose_reader("tar -C/data -cf x .".split()).reader.end(1).status == "completed"
    assert choose_reader("tar -dC/srv -fx".split()).reader.end(1).status == "failed"


@pytest.mark.parametrize(
    ("operands", "total"),
    [
        ("bs=1M", 100 * 1024**2),
        ("bs=1MB", 100 * 1000**2),
        ("bs=4k", 100 * 4096),
        ("bs=4KiB", 100 * 4096),
        ("bs=4kB", 100 * 4000),
        ("bs=2b", 100 * 1024),
        ("ibs=3", 300),
        ("", 100 * 512),
        ("bs=2x512", None),
    ],
)
def test_the_total_of_dd_is_in_its_own_units(operands: str, total: int | None) -> None:
    reader = choose_reader(["dd", "count=100", "status=progress", *operands.split()]).reader
    progress = reader.feed(b"100 bytes copied, 1 s, 100 B/s\r")
    assert progress is not None
    assert progress.total_bytes == total


@pytest.mark.parametrize(
    ("tool", "line", "count"),
    [
        ("dd", "60000000 Bytes (60 MB, 57 MiB) kopiert, 0,05 s, 1,2 GB/s", 60_000_000),
        ("dd", "60000000 octets (60 MB, 57 MiB) copi\u00e9s, 0,05 s, 1,2 GB/s", 60_000_000),
        ("dd", "6 bytes copied, 1.5e-05 s, 400 kB/s", 6),
        ("tar --checkpoint=10", "tar: Schreibe Pr\u00fcfpunkt 20", 20 * 10_240),
    ],
)
def test_progress_is_read_in_other_languages(tool: str, line: str, count: int) -> None:
    reader = choose_reader([*tool.split(), "status=progress"]).reader
    progress = reader.feed(f"57+1 Datens\u00e4tze ein\n{line}\n".encode(), "stderr")
    assert progress is not None
    assert progress.bytes_transferred == count


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ("-o x", "100 50.0M  100 50.0M    0     0"),
        ("-T x", "100 50.0M    0     0  100 50.0M"),
        ("-d q=1 -o x", "100 50.0M  100 50.0M  100     3"),
        ("-F f=@x", "100 50.0M  100     3  100 50.0M"),
    ],
)
def test_curl_moves_what_it_sends_and_what_it_receives(options: str, columns: str) -> None:
    reader = choose_reader(["curl", *options.split(), "http://h/"]).reader
    line = f"{columns}  437M     22 --:--:-- --:--:-- --:--:--  440M"
    progress = reader.feed(f"\r{line}\r".encode(), "stderr")
    assert progress is not None
    assert (progress.bytes_transferred, progress.total_bytes) == (50 * 1024**2, 50 * 1024**2)
    assert reader.end(0).error is None


@pytest.mark.parametrize(
    "columns", ["100 50.0M    0 50.0M    0     0", "100 50.0M    0 50.0M  100     3"]
)
def test_curl_does_not_know_the_total_of_an_answer_without_a_length(columns: str) -> None:
    """It shows what it has received so far, as 100 % of all and 0 % of what it receives."""
    reader = choose_reader(["curl", "-o", "x", "http://h/"]).reader
    progress = reader.feed(f"{columns}  437M  22 --:--:-- --:--:-- --:--:-- 440M\r".encode())
    assert progress is not None
    assert (progress.bytes_transferred, progress.total_bytes) == (50 * 1024**2, None)
    assert progress.percent is None


def test_rsync_without_a_source_has_no_percent() -> None:
    progress = RsyncReader().feed(b"  0 100%  0.00kB/s  0:00:00 (xfr#0, to-chk=0/0)\r")
    assert progress is not None
    assert (progress.bytes_transferred, progress.percent) == (0, None)


def test_an_expression_needs_no_hint() -> None:
    line = ["sh", "-c", "cd / && restic backup ."]
    choice = choose_reader(line, patterns=["(?P<percent>[0-9]+)%"])
    assert (choice.reader.reads_progress, choice.hint) == (True, None)


def test_a_script_is_read_as_the_tool_that_is_named() -> None:
    choice = choose_reader(["./nightly.sh"], tool="rsync")
    assert choice.reader.tool == "rsync"
    progress = choice.reader.feed(
        b"  1,000  50%  1.00MB/s  0:00:01 (xfr#1, to-chk=1/2)\n", "stdout"
    )
    assert progress is not None
    assert progress.bytes_transferred == 1000
    assert choice.reader.end(24).status == "completed"
    with pytest.raises(KeyError):
        choose_reader(["./nightly.sh"], tool="nothing")


@pytest.mark.parametrize(
    ("line", "output", "status"),
    [
        ("flock -n /lock borg create ::a", "", "failed"),  # another process has the lock
        ("flock -n -E 9 /lock borg create ::a", "", "completed"),
        ("sudo borg create ::a", "sudo: a password is required", "failed"),
        ("sudo borg create ::a", "/x: file changed while we backed it up", "completed"),
        ("docker exec box borg create ::a", "Error: No such container: box", "failed"),
    ],
)
def test_a_status_of_what_runs_the_tool_is_not_one_of_the_tool(
    line: str, output: str, status: str
) -> None:
    """1 is a warning of borg."""
    reader = choose_reader(line.split()).reader
    reader.feed(output.encode() + b"\n", "stderr")
    end = reader.end(1)
    assert end.status == status
    assert end.error is not None
    who = f"{line.split()[0]} or borg" if status == "failed" else "borg"
    assert end.error.startswith(f"{who} exited with 1")


def test_a_timeout_is_not_a_warning_of_borg() -> None:
    assert choose_reader("timeout 60 borg create ::a".split()).reader.end(124).status == "failed"


@pytest.mark.parametrize(
    "info", ["--info=progress2", "--info progress2", "--info=PROGRESS2", "--info=ALL2"]
)
@pytest.mark.parametrize(("flag", "base"), [("-ah", 1000), ("-ahh", 1024)])
def test_rsync_is_read_in_its_own_units(info: str, flag: str, base: int) -> None:
    reader = choose_reader(["rsync", flag, *info.split(), "a", "b"]).reader
    assert isinstance(reader, RsyncReader)
    progress = reader.feed(b"         19.07M 100%  7.90MB/s    0:00:07 (xfr#1, to-chk=0/1)\n")
    assert progress is not None
    assert progress.bytes_transferred == round(19.07 * base**2)


@pytest.mark.parametrize(
    ("digits", "count"),
    [("1,234,567", 1_234_567), ("1.234.567", 1_234_567), ("1,23K", 1_230), ("999", 999)],
)
def test_rsync_writes_numbers_in_the_way_of_its_locale(digits: str, count: int) -> None:
    progress = RsyncReader().feed(f"\r {digits}  50%  7.90MB/s    0:00:07\r".encode())
    assert progress is not None
    assert progress.bytes_transferred == count


def test_the_total_of_pv_is_the_size_of_its_inputs() -> None:
    sizes = {"a": 10, "b": 20, "-": 5}
    reader = choose_reader(["pv", "-n", "-i", "2", "a", "b"], size_of=sizes.get).reader
    assert isinstance(reader, PvReader)
    assert reader._total == 30
    pipeline = choose_reader(["sh", "-c", "x | pv -nb | y"], size_of=sizes.get, tool="pv").reader
    assert isinstance(pipeline, PvReader)
    assert pipeline._total is None
    from_stdin = choose_reader(["pv", "-n"], size_of=sizes.get).reader
    assert isinstance(from_stdin, PvReader)
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
        ("> Authorization: Bearer a.b-c", "> Authorization: Bearer …"),
        ("'proxy-authorization: x' sent", "'proxy-authorization: …' sent"),
        ("401: authorization failed", "401: authorization failed"),
    ],
)
def test_credentials_are_taken_out_of_addresses(text: str, plain: str) -> None:
    assert without_credentials(text) == plain


def test_words_are_one_printable_line() -> None:
    assert clean("\x1b[2K\x1b[31mFatal:\x1b[0m\tno\n key\x00 ") == "Fatal: no key"
