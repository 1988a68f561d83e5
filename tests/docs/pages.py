"""Reading the documentation: pages, their sections, tables, links and blocks of code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))

_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<text>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    page: str
    language: str
    code: str


def page(name: str) -> str:
    """A page of docs/, as text."""
    return (DOCS / name).read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> list[Block]:
    """All blocks of a language in all pages."""
    return [
        Block(name_of(path), language, match["code"])
        for path in PAGES
        for match in _FENCE.finditer(path.read_text(encoding="utf-8"))
        if match["language"] == language
    ]


def without_code(text: str) -> str:
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of all links and pictures outside of code."""
    return [match["target"] for match in _LINK.finditer(without_code(text))]


def headings(text: str) -> list[str]:
    return [match["text"] for match in _HEADING.finditer(without_code(text))]


def anchors(text: str) -> set[str]:
    """What `#…` may follow the page's name: GitHub's way to make it of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text)}


def section(text: str, heading: str) -> str:
    """A page from one heading to the next of the same level or above; empty where there is no such heading."""
    level, lines, inside = len(heading) - len(heading.lstrip("#")), [], False
    for line in text.splitlines():
        if inside and re.match(rf"#{{1,{level}}} ", line):
            break
        inside = inside or line == heading
        if inside:
            lines.append(line)
    return "\n".join(lines)


def first_cells(text: str) -> set[str]:
    """Everything in backticks in the first column of a page's tables."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block as words: comments gone, continued lines joined, `&&` and `;` taken apart."""
    code = re.sub(r"\s# .*$", "", block.code.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(code, posix=True, punctuation_chars=";&|()\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    words: list[str] = []
    for token in lexer:
        if set(token) <= set(";&|()\n"):
            yield from [words] if words else []
            words = []
        else:
            words.append(token)
    yield from [words] if words else []
