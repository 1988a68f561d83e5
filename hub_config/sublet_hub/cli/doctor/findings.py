"""What a check finds: how bad it is, what it is, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from sublet_hub.settings import Settings


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about the installation, and one on how to mend it unless all is well."""

    check: str
    level: Level
    text: str
    mend: str | None = None

    def to_json(self) -> dict[str, object]:
        return asdict(self)


Check = Callable[[Settings], Iterator[Finding]]
"""Looks at one thing and changes nothing. Its name and docstring are in the documentation."""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, mend: str) -> Finding:
    return Finding(check, Level.WARNING, text, mend)


def problem(check: str, text: str, mend: str) -> Finding:
    return Finding(check, Level.PROBLEM, text, mend)
