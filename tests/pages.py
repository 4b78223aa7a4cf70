"""The documentation as tests read it: blocks, commands, and what those print."""

from __future__ import annotations

import re

from app.config import ROOT

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str, *, section: str = "") -> list[str]:
    """The texts of a page's blocks in a language; of one section where its heading is given."""
    text = (ROOT / page).read_text()
    if section:
        heading = f"\n## {section}\n"
        text = text[text.index(heading) + len(heading) :]
        text = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    found = [match[2] for match in _BLOCK.finditer(text) if match[1] == language]
    assert found, f"{page} has none"
    return found


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a console block, and what it prints; a `…` stands for anything."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    pairs = []
    for part in parts:
        lines = part.splitlines()
        length = next(
            n for n in range(1, len(lines) + 1) if _is_whole("\n".join(lines[:n]), lines[n:])
        )
        pairs.append(("\n".join(lines[:length]), "\n".join(lines[length:])))
    return pairs


def assert_printed(printed: str, expected: str) -> None:
    """Each line that the page shows is among the lines that were printed."""
    for line in expected.splitlines():
        pattern = ".*".join(re.escape(piece) for piece in line.split("…"))
        assert re.search(rf"^{pattern}$", printed, re.MULTILINE), (line, printed)


def _is_whole(command: str, rest: list[str]) -> bool:
    """Whether the command ends here: quotes are closed, and nothing says that it goes on."""
    is_quoted = command.count("'") % 2 == 1
    goes_on = command.endswith(("\\", "|")) or (bool(rest) and rest[0].startswith("    "))
    return not is_quoted and not goes_on
