"""What of a provider's claims becomes names of ours: of users, and of groups, which are accounts that pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

LONGEST_NAME = 255
"""Characters; JupyterHub's database and Sublet's API take no more."""

MOST_GROUPS = 100
"""Groups of one user: each is an account that can be chosen, and goes along with every request for a lease."""


def is_usable(name: object) -> bool:
    """Whether something can be a name: text, not too long, of visible characters and spaces inside.

    `str.isprintable` also bars what can't be seen (zero width, direction marks), by which one name could pose as
    another, and halves of characters, which no database stores.
    """
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable() and name.strip() == name


def find(claims: Mapping[str, Any], path: str) -> object:
    """A claim by its name, which may have dots (`https://example.org/groups`), else by steps (`realm_access.roles`).

    None where there is none."""
    if path in claims:
        return claims[path]
    value: object = claims
    for step in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def group_names(claimed: object) -> list[object]:
    """The names in a claim of groups: a list, or one name by itself. Anything else is no group."""
    if isinstance(claimed, str):
        return [claimed] if claimed else []
    return list(claimed) if isinstance(claimed, Sequence) else []


def choose_groups(names: Sequence[object], always: frozenset[str], patterns: Sequence[str]) -> tuple[set[str], int]:
    """The names to take over, and how many of those wanted had to be left out as unusable or too many.

    Taken are those in `always` and those that fit one of `patterns` (shell wildcards; none: all).
    """
    unique = {name for name in names if is_usable(name) and isinstance(name, str)}
    unusable = sum(1 for name in names if not is_usable(name))
    wanted = {
        name
        for name in unique
        if name in always or not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    kept = sorted(wanted, key=lambda name: (name not in always, name))[:MOST_GROUPS]
    return set(kept), unusable + len(wanted) - len(kept)
