"""What the tools of Debian 12 really wrote, byte for byte: restic 0.14.0, rclone 1.60.1,
borg 1.2.4, rsync 3.5.0, pv 1.6.20. Long ones are shortened in the middle.
"""

from __future__ import annotations

from pathlib import Path

from telemetry_client.readers import Stream

FOLDER = Path(__file__).parent / "captured"


def captured(name: str) -> list[tuple[bytes, Stream]]:
    """Each stream of a run, in the order in which the reader is fed."""
    pieces: list[tuple[bytes, Stream]] = [
        (path.read_bytes(), "stdout" if path.suffix == ".stdout" else "stderr")
        for path in sorted(FOLDER.glob(f"{name}.*"), reverse=True)  # stdout before stderr
    ]
    assert pieces, f"nothing is captured of {name}"
    return pieces
