"""Splits a stream into lines, independent of how it was read."""

from __future__ import annotations

LONGEST_LINE = 1 << 20  # bytes; a progress report has no longer lines


class Lines:
    """Lines end with \\n or \\r (progress that overwrites itself). Longer lines are skipped."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._is_too_long = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete, without empty ones."""
        first, *more = data.replace(b"\r", b"\n").split(b"\n")
        self._add(first)
        if not more:
            return []
        lines = self.flush()
        for piece in more[:-1]:
            line = _text(piece)
            if line and len(piece) <= LONGEST_LINE:
                lines.append(line)
        self._add(more[-1])
        return lines

    def flush(self) -> list[str]:
        """The last, unfinished line, if any."""
        line = _text(self._rest)
        is_line = bool(line) and not self._is_too_long
        self._rest.clear()
        self._is_too_long = False
        return [line] if is_line else []

    def _add(self, piece: bytes) -> None:
        if self._is_too_long or len(self._rest) + len(piece) > LONGEST_LINE:
            self._is_too_long = True
            self._rest.clear()
        else:
            self._rest += piece


def _text(piece: bytes | bytearray) -> str:
    return piece.decode("utf-8", "replace").strip()
