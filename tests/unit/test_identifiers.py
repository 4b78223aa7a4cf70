"""Which texts may name a job or a node, and which of them are the same."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.schemas.fields import IDENTIFIER, identifier_problem, normalise_identifier

ACCEPTED = ["a", "backup-vm1-1", "a b", "Büro-1", "備份-1", "x" * 255, "summary.", "...", "🖥"]
HIDDEN = [
    *("\0", "\t", "\n", "\r", "\x7f", "\x85"),  # control
    *("\xad", "\u200b", "\u200d", "\u200e", "\u202e", "\u2066", "\ufeff", "\U000e0041"),  # format
    *("\xa0", "\u2003", "\u2028", "\u2029", "\u3000"),  # separators
    *("\ud800", "\udfff"),
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_an_ordinary_text_is_accepted(text: str) -> None:
    assert identifier_problem(text) is None
    assert re.fullmatch(str(IDENTIFIER["pattern"]), text)


@pytest.mark.parametrize("character", HIDDEN)
@pytest.mark.parametrize("form", ["{}", "{}a", "a{}", "a{}b"])
def test_hidden_characters_are_refused(character: str, form: str) -> None:
    problem = identifier_problem(form.format(character))
    assert problem == "Must not contain control, format or separator characters."


@pytest.mark.parametrize("text", [" ", "  ", " a", "a ", " a b "])
def test_outer_spaces_are_refused(text: str) -> None:
    assert identifier_problem(text) == "Must not begin or end with a space."
    assert not re.fullmatch(str(IDENTIFIER["pattern"]), text)


def test_no_character_that_this_python_knows_as_hidden_is_accepted() -> None:
    for code in range(0x110000):
        hidden = unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")
        if hidden and code != 0x20:
            assert identifier_problem(f"a{chr(code)}b") is not None, hex(code)


@given(st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=300))
def test_the_documented_pattern_is_the_rule(text: str) -> None:
    is_documented = re.fullmatch(str(IDENTIFIER["pattern"]), text) and 1 <= len(text) <= 255
    assert bool(is_documented) == (identifier_problem(text) is None)


@pytest.mark.parametrize(
    ("one", "other"), [("Bu\u0308ro", "B\xfcro"), ("\u212b", "\xc5"), ("가", "가")]
)
def test_ids_are_compared_in_nfc(one: str, other: str) -> None:
    assert normalise_identifier(one) == normalise_identifier(other) == other
