"""Limits as the header fields `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import isodate

WINDOWS = {"minute": 60, "day": 86_400, "week": 604_800}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit that binds a payer. `resets_at` is in seconds since the epoch; None where it never does at once."""

    what: str
    limit: int
    left: int
    window: str
    resets_at: float | None = None

    @property
    def name(self) -> str:
        return f"{self.what}-{self.window}".lower()


def header_lines(limits: Iterable[Limit], now: float) -> str:
    """`RateLimit`, a line feed, `RateLimit-Policy`; empty where there are no limits."""
    listed = [each for each in limits if _plain(each.name)]
    if not listed:
        return ""
    return f"{', '.join(_state(each, now) for each in listed)}\n{', '.join(map(_policy, listed))}"


def _state(limit: Limit, now: float) -> str:
    until = "" if limit.resets_at is None else f";t={max(0, math.ceil(limit.resets_at - now))}"
    return f'"{limit.name}";r={max(0, limit.left)}{until}'


def _policy(limit: Limit) -> str:
    seconds = _seconds(limit.window)
    return f'"{limit.name}";q={limit.limit}' + ("" if seconds is None else f";w={seconds}")


def _seconds(window: str) -> int | None:
    """A window's length, where it has always the same: months have not, and `total` has none."""
    if window in WINDOWS:
        return WINDOWS[window]
    if not window.startswith("P"):
        return None
    length = isodate.parse_duration(window)
    total = getattr(length, "total_seconds", None)
    return None if total is None else int(total())


def _plain(name: str) -> bool:
    return name.isascii() and name.isprintable() and '"' not in name and "\\" not in name
