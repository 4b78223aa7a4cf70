"""Finds the repository of a tool in its command line and environment, without passwords."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from telemetry_client.readers.arguments import Arguments, arguments_of
from telemetry_client.wire.cleaning import LONGEST_NAME
from telemetry_client.wire.credentials import without_credentials

# Switches of rclone without a value; all other options are taken to have one.
_RCLONE_SWITCHES = frozenset(
    """--use-json-log --progress --dry-run --interactive --checksum --update --fast-list --quiet
    --verbose --size-only --ignore-existing --immutable --inplace --metadata --no-traverse
    --check-first --create-empty-src-dirs --delete-excluded --error-on-no-transfer
    --stats-one-line --ignore-errors --ignore-times --links --copy-links --one-file-system
    """.split()
)
_RSYNC_VALUED = frozenset(
    """--address --backup-dir --block-size --bwlimit --cc --checksum-choice --checksum-seed --chmod
    --chown --compare-dest --compress-choice --compress-level --contimeout --copy-as --copy-dest
    --debug --dparam --early-input --exclude --exclude-from --files-from --filter --groupmap
    --iconv --include --include-from --info --link-dest --log-file --log-file-format --log-format
    --max-alloc --max-delete --max-size --min-size --modify-window --only-write-batch --out-format
    --outbuf --partial-dir --password-file --port --protocol --read-batch --remote-option --rsh
    --rsync-path --skip-compress --sockopts --stderr --stop-after --stop-at --suffix --temp-dir
    --timeout --usermap --write-batch --zc --zl""".split()
)
_RSYNC_VALUED_LETTERS = "BMTef@"


def repository_of(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The repository or target of a known tool; None if there is none in the command line."""
    arguments = arguments_of(command)
    if arguments is None:
        return None
    find = _FINDERS.get(arguments.tool)
    found = find(arguments, environ) if find else None
    if not found:
        return None
    return _plain(found)[:LONGEST_NAME] or None


def _restic(arguments: Arguments, environ: Mapping[str, str]) -> str | None:
    return arguments.value("-r", "--repo") or environ.get("RESTIC_REPOSITORY")


def _borg(arguments: Arguments, environ: Mapping[str, str]) -> str | None:
    for word in arguments.given:
        repository, colons, _ = word.partition("::")
        if colons and repository and not word.startswith("-"):
            return repository
    return arguments.value("-r", "--repo") or environ.get("BORG_REPO")


def _words(arguments: Arguments, takes_next: Callable[[str], bool]) -> list[str]:
    """The arguments that are neither options nor their values."""
    words, skips = [], False
    for arg in arguments.given:
        if skips:
            skips = False
        elif not arg.startswith("-"):
            words.append(arg)
        else:
            skips = takes_next(arg)
    return words


def _rclone(arguments: Arguments, environ: Mapping[str, str]) -> str | None:
    words = _words(arguments, _rclone_takes_next)
    return words[2] if len(words) == 3 else None  # command, source, target


def _rclone_takes_next(option: str) -> bool:
    return option.startswith("--") and "=" not in option and option not in _RCLONE_SWITCHES


def _rsync(arguments: Arguments, environ: Mapping[str, str]) -> str | None:
    words = _words(arguments, _rsync_takes_next)
    return words[-1] if len(words) > 1 else None


def _rsync_takes_next(switch: str) -> bool:
    """Whether the next argument is its value: true for `-ave`, but not for `-essh`."""
    if switch.startswith("--"):
        return switch in _RSYNC_VALUED
    letters = [letter for letter in switch[1:] if letter in _RSYNC_VALUED_LETTERS]
    return bool(letters) and switch.index(letters[0]) == len(switch) - 1


_FINDERS: dict[str, Callable[[Arguments, Mapping[str, str]], str | None]] = {
    "restic": _restic,
    "borg": _borg,
    "rclone": _rclone,
    "rsync": _rsync,
}


def _plain(text: str) -> str:
    """The text without credentials, also those of rclone's `:sftp,host=h,pass=p:path`."""
    printable = "".join(char for char in without_credentials(text) if char.isprintable())
    backend, comma, options = printable.partition(",")
    if comma and "=" in options and "/" not in backend:
        _, colon, path = options.rpartition(":")
        return f"{backend}:{path}" if colon else backend
    return printable
