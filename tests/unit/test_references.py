"""Every reference in the documents, and in comments and docstrings of the code, has a target.

Checked are links of Markdown with their anchors, paths and file names, dotted names of modules,
tests, `make` targets, settings, invariants of docs/design.md, and numbers of decision records.
Nothing may refer to a paper that is not in the repository.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import pytest

from app.config import ROOT

FOLDERS = (
    *("app", "jobs", "migrations", "client", "embedded", "bench", "tools", "tests", "docs", ".ci"),
)
PACKAGES = {"app": "app", "jobs": "jobs", "telemetry_client": "client/telemetry_client"}
PACKAGES |= {name: name for name in ("bench", "tools", "tests")}
TEXT = {
    "",
    ".md",
    ".py",
    ".sql",
    ".js",
    ".mjs",
    ".css",
    ".html",
    ".toml",
    ".service",
    ".conf",
    ".ts",
}
PROSE = {".md", ".py", ".sql", ".js", ".mjs"}
SKIPPED = {"node_modules", "__pycache__"}
# A changelog names what existed at its time.
HISTORY = {"CHANGELOG.md"}

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w")
FILE_NAME = re.compile(r"(?<![\w./*-])\w[\w-]*\.(?:py|sql|mjs|md)\b(?!::)")
TEST = re.compile(r"(?:\b(test_\w+\.py)|…)::(\w+)")
DOTTED = re.compile(rf"(?<![\w./@-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w/(=])")
NUMBERED = re.compile(r"/\d{4}_?$")
# Files that exist only while something runs, and made-up names.
WRITTEN = {"NNNN_words.sql", "NNNN_what_it_does.sql", "sitecustomize.py", "disks.sql", "plain.sql"}
SUFFIXES = {"py", "sql", "mjs", "md", "js", "json"}
TEST_FUNCTION = re.compile(r"^\s*def (test_\w+)", re.MULTILINE)
MAKE = re.compile(r"(?:`|^[$#] )make ([a-z][a-z-]*)", re.MULTILINE)
SETTING = re.compile(r"\bHUB_[A-Z][A-Z_]*[A-Z]\b")
INVARIANT = re.compile(r"\b[Ii]nvariants? (\d+)(?: and (\d+))?")
DECISION = re.compile(r"\b[Dd]ecision (\d+)(\]\((?:[\w./]*/)?0*(\d+)-)?")
OUTSIDE = (
    *(r"\bR\d{1,3}\b", r"\bT\d{1,2}\b", "§", r"\bissue\s#?\d+", r"\.library/"),
    *(r"\bDESIGN\b", r"\bREQUIREMENTS\b", r"\bTRAPS\b", r"\bEMBEDDED\.md", r"\bSTYLE\.md"),
    *(r"\bshared/", r"(?<!\w)/work/"),
)
FAR = re.compile("|".join(OUTSIDE))

DOCSTRING = re.compile(r'^[ ]*r?"""(.*?)"""', re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(?:^|\s)# ?(.*)$", re.MULTILINE)
JS_COMMENT = re.compile(r"(?:^|\s)//([^\n]*)|/\*(.*?)\*/", re.DOTALL)


def prose_of(suffix: str, text: str) -> str:
    """What a reader of a file reads: of code its comments and docstrings, else everything."""
    if suffix == ".py":
        return "\n".join([*DOCSTRING.findall(text), *COMMENT.findall(text)])
    if suffix in {".js", ".mjs", ".ts"}:
        return "\n".join(a or b for a, b in JS_COMMENT.findall(text))
    return text


def anchors_of(markdown: str) -> set[str]:
    """The anchors that a page has: those of its headings, as code forges make them."""
    anchors: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", markdown)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w -]", "", plain).replace(" ", "-")
        repeated = (f"{slug}-{number}" for number in range(1, 100))
        anchors.add(slug if slug not in anchors else next(a for a in repeated if a not in anchors))
    return anchors


@dataclass
class Tree:
    """The files of the repository that are read, by their paths from its root."""

    root: Path
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Tree:
        tree = cls(root)
        for path in tree._walk(root, top=True):
            name = path.relative_to(root).as_posix()
            tree.texts[name] = path.read_text() if path.suffix in TEXT else ""
        return tree

    def _walk(self, folder: Path, top: bool = False) -> Iterator[Path]:
        for path in folder.iterdir():
            if path.is_dir():
                is_read = path.name in FOLDERS if top else path.name not in SKIPPED
                if is_read and (top or not path.name.startswith(".")):
                    yield from self._walk(path)
            elif not path.name.startswith("."):
                yield path

    @cached_property
    def prose(self) -> dict[str, str]:
        return {name: prose_of(Path(name).suffix, text) for name, text in self.texts.items()}

    @cached_property
    def names(self) -> set[str]:
        return {Path(name).name for name in self.texts}

    @cached_property
    def folders(self) -> set[str]:
        return {str(parent) for name in self.texts for parent in Path(name).parents}

    @cached_property
    def tests(self) -> dict[str, set[str]]:
        """The test functions of each test module, by its file name."""
        modules = {name: text for name, text in self.texts.items() if name.startswith("tests/")}
        found: dict[str, set[str]] = {}
        for name, text in modules.items():
            found.setdefault(Path(name).name, set()).update(TEST_FUNCTION.findall(text))
        return found

    @cached_property
    def settings(self) -> set[str]:
        code = (text for name, text in self.texts.items() if Path(name).suffix in {".py", ".mjs"})
        return set(SETTING.findall("\n".join(code)))

    @cached_property
    def anchors(self) -> dict[str, set[str]]:
        return {name: anchors_of(text) for name, text in self.texts.items() if name.endswith(".md")}

    @cached_property
    def make_targets(self) -> set[str]:
        return set(re.findall(r"^([a-z][\w-]*):", self.texts["Makefile"], re.MULTILINE))

    @cached_property
    def invariants(self) -> set[str]:
        design = self.texts["docs/design.md"]
        section = f"\n{design}".partition("\n## Invariants\n")[2].partition("\n## ")[0]
        return set(re.findall(r"^(\d+)\. ", section, re.MULTILINE))

    def has_path(self, path: str) -> bool:
        """Whether there is such a file or folder, or one with such a number (`decisions/0008`)."""
        if path in self.texts or path.rstrip("/") in self.folders:
            return True
        return bool(NUMBERED.search(path)) and any(name.startswith(path) for name in self.texts)

    def has_test(self, file: str, test: str) -> bool:
        """Whether the file has the test; without a file, whether any has."""
        return any(test in tests for name, tests in self.tests.items() if name == (file or name))

    def has_name(self, dotted: str) -> bool:
        """Whether a module has the name, or a table the column (`jobs.status`)."""
        first, *rest = dotted.split(".")
        if rest[-1] in SUFFIXES:  # a file
            return True
        for length in range(len(rest), -1, -1):
            base = "/".join([PACKAGES[first], *rest[:length]])
            for module in (f"{base}.py", f"{base}/__init__.py"):
                if module in self.texts:
                    names = rest[length:]
                    code = self.texts[module]
                    if all(re.search(rf"\b{name}\b", code) for name in names):
                        return True
        return first == "jobs" and any(
            re.search(rf"\b{rest[0]}\b", text)
            for name, text in self.texts.items()
            if name.startswith("migrations/")
        )


def missing_links(tree: Tree, page: str) -> Iterator[str]:
    """Links of a page of Markdown that lead nowhere."""
    for target in LINK.findall(FENCE.sub("", tree.texts[page])):
        if re.match(r"(?:https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        full = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path)))
        if not path:
            full = page
        if not tree.has_path(full) or (anchor and anchor not in tree.anchors.get(full, set())):
            yield target


def missing_targets(tree: Tree, name: str) -> Iterator[str]:
    """Paths, names and numbers in a file's prose that refer to nothing."""
    prose = tree.prose[name]
    yield from (path for path in PATH.findall(prose) if not tree.has_path(path))
    yield from (dotted for dotted in DOTTED.findall(prose) if not tree.has_name(dotted))
    yield from (file for file in FILE_NAME.findall(prose) if file not in tree.names | WRITTEN)
    yield from (
        f"{file}::{test}" for file, test in TEST.findall(prose) if not tree.has_test(file, test)
    )
    yield from (
        f"make {target}" for target in MAKE.findall(prose) if target not in tree.make_targets
    )
    yield from (setting for setting in SETTING.findall(prose) if setting not in tree.settings)
    numbers = {number for found in INVARIANT.findall(prose) for number in found if number}
    yield from (f"invariant {number}" for number in sorted(numbers - tree.invariants))


def far_references(prose: str) -> Iterator[str]:
    """Words that refer to papers outside the repository, or to a decision without its record."""
    yield from FAR.findall(prose)
    for number, link, record in DECISION.findall(prose):
        if not link or number != record:
            yield f"decision {number}"


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.read(ROOT)


def test_links_of_documents_have_targets(tree: Tree) -> None:
    pages = [name for name in tree.texts if name.endswith(".md")]
    assert len(pages) > 20
    missing = {page: found for page in pages if (found := list(missing_links(tree, page)))}
    assert not missing


def test_what_is_named_exists(tree: Tree) -> None:
    missing = {
        name: found
        for name in tree.texts
        if name not in HISTORY and Path(name).suffix in PROSE
        if (found := sorted(set(missing_targets(tree, name))))
    }
    assert not missing


def test_nothing_refers_to_papers_outside_the_repository(tree: Tree) -> None:
    far = {
        name: found for name, text in tree.prose.items() if (found := list(far_references(text)))
    }
    assert not far


def made_up(**texts: str) -> Tree:
    files = {
        "Makefile": "run: install ## start\n",
        "docs/design.md": "## Invariants\n\n1. Stored.\n2. Once.\n\n## Data\n\n3. No.\n",
        "docs/decisions/0008-slim-series.md": "# 8. Slim\n",
        "app/store/jobs.py": "def read_job(): ...\n",
        "app/config.py": 'name = "HUB_PORT"\n',
        "migrations/0001_jobs.sql": "CREATE TABLE jobs (status text);\n",
        "tests/unit/test_it.py": "def test_it_works(): ...\n",
    }
    return Tree(Path("/nowhere"), files | {name.replace("__", "/"): t for name, t in texts.items()})


@pytest.mark.parametrize(
    "text",
    [
        *("[a](docs/design.md)", "[a](docs/design.md#invariants)", "[a](#here-it-is)", "[a](docs)"),
        *("[a](https://example.org/x#y)", "```\n[a](b)\n```", "[a](docs/../docs/design.md)"),
    ],
)
def test_a_link_with_a_target_is_found(text: str) -> None:
    tree = made_up()
    tree.texts["README.md"] = f"# Here it is\n\n{text}\n"
    assert list(missing_links(tree, "README.md")) == []


@pytest.mark.parametrize(
    "target", ["docs/designs.md", "docs/design.md#data-1", "#here", "../outside.md", "design.md"]
)
def test_a_link_without_a_target_is_told(target: str) -> None:
    tree = made_up()
    tree.texts["README.md"] = f"# Here it is\n\n[a]({target})\n"
    assert list(missing_links(tree, "README.md")) == [target]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see docs/decisions/0008 and app/store", []),
        ("see docs/decisions/0009", ["docs/decisions/0009"]),
        ("see `app.store.jobs.read_job` and `jobs.status`", []),
        ("see `app.store.jobs.write_job`", ["app.store.jobs.write_job"]),
        ("see `app.stores`, `jobs.state`", ["app.stores", "jobs.state"]),
        ("see test_it.py::test_it_works, …::test_it_works", []),
        ("see test_it.py::test_it_fails", ["test_it.py::test_it_fails"]),
        ("see jobs.py, not job.py", ["job.py"]),
        ("`make run`, `make walk`", ["make walk"]),
        ("HUB_PORT, HUB_PORTS", ["HUB_PORTS"]),
        ("docs/design.md, invariants 1 and 2; invariant 3", ["invariant 3"]),
    ],
)
def test_what_is_named_and_does_not_exist_is_told(text: str, missing: list[str]) -> None:
    tree = made_up(docs__page="")
    tree.texts["docs/page.md"] = text
    assert list(missing_targets(tree, "docs/page.md")) == missing


@pytest.mark.parametrize(
    ("text", "far"),
    [
        ("[decision 8](decisions/0008-slim-series.md), RFC 3339, T+60 s, 10:00:00", []),
        ("decision 8", ["decision 8"]),
        ("[decision 8](decisions/0009-other.md)", ["decision 8"]),
        ("as R12 has it, and T3", ["R12", "T3"]),
        ("DESIGN §5, ../shared/x, /work/x", ["DESIGN", "§", "shared/", "/work/"]),
        ("issue 13", ["issue 13"]),
    ],
)
def test_references_to_other_papers_are_told(text: str, far: list[str]) -> None:
    assert list(far_references(text)) == far


def test_of_code_the_comments_and_docstrings_are_read() -> None:
    code = '"""One."""\nx = "R12"  # Two.\n# Three.\ndef f():\n    """Four.\n    Five."""\n'
    assert prose_of(".py", code).split() == ["One.", "Four.", "Five.", "Two.", "Three."]
    assert prose_of(".js", 'x = "R12"; // One.\n/* Two. */').split() == ["One.", "Two."]


def test_decision_records_have_a_number_a_status_and_a_date(tree: Tree) -> None:
    folder = "docs/decisions/"
    index = tree.texts[f"{folder}README.md"]
    records = [name for name in tree.texts if name.startswith(folder) and "README" not in name]
    for name in records:
        number = int(name.removeprefix(folder)[:4])
        head = (
            rf"# {number}\. .+\n\n- Status: (accepted|superseded by ).*\n- Date: \d{{4}}-\d\d-\d\d"
        )
        assert re.match(head, tree.texts[name]), name
        assert f"({name.removeprefix(folder)})" in index
    assert len(records) >= 17
