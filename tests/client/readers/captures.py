"""What tools write, byte for byte.

`captured` is what the tools of Debian 12 really wrote: restic 0.14.0, rclone 1.60.1 (and 1.75.2 of
PyPI), borg 1.2.4, rsync 3.5.0, pv 1.6.20, tar 1.34, dd 9.1, qemu-img 7.2, mbuffer 20230301, curl
7.88, duplicity 0.8.22, PostgreSQL 15.20, pgBackRest 2.45. Long ones are shortened in the middle.

`recorded` is what their documents or their source show, of tools that cannot be run here:

  aws           the formats of awscli/customizations/s3/results.py, 1.38
  kopia         the format of cli/cli_progress.go
  s5cmd         the template of progressbar/progressbar.go
  zfs           logs in reports and reviews of openzfs/zfs
  mariabackup   the log of a backup in MariaDB's documents
  mydumper      messages of src/mydumper and src/myloader; of 0.10 and of newer ones
  proxmox-…     the messages of proxmox-backup's client
  vzdump        logs of Proxmox VE 8 (qemu) and of before 6.3 (old)
  robocopy      the run summary in its documents
"""

from __future__ import annotations

from pathlib import Path

from telemetry_client.readers import Stream

FOLDERS = [Path(__file__).parent / name for name in ("captured", "recorded")]


def captured(name: str) -> list[tuple[bytes, Stream]]:
    """Each stream of a run, in the order in which the reader is fed."""
    pieces: list[tuple[bytes, Stream]] = [
        (path.read_bytes(), "stdout" if path.suffix == ".stdout" else "stderr")
        for folder in FOLDERS
        for path in sorted(folder.glob(f"{name}.*"), reverse=True)  # stdout before stderr
    ]
    assert pieces, f"nothing is captured of {name}"
    return pieces
