"""Who pays and who is limited, as one kind of name: `user:alice`, `group:lab`, `default`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sublet_hub.domain.errors import InvalidRequest

Kind = Literal["user", "group", "default"]


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Whom a quota is for. A subject of kind `user` or `group` is also an account: who pays for a lease."""

    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind == "default" else f"{self.kind}:{self.name}"


DEFAULT = Subject("default")


def user(name: str) -> Subject:
    return Subject("user", name)


def group(name: str) -> Subject:
    return Subject("group", name)


def parse_account(text: str, *, field: str = "account") -> Subject:
    """`user:NAME` or `group:NAME`; InvalidRequest for anything else."""
    kind, colon, name = text.partition(":")
    if colon and name and kind == "user":
        return user(name)
    if colon and name and kind == "group":
        return group(name)
    raise InvalidRequest(f"An account is written user:NAME or group:NAME, not {text!r}.", field=field)
