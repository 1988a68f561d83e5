"""Moments as the API writes them, RFC 3339 in UTC, and as seconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: float) -> str:
    """`2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def epoch(text: object) -> float:
    """Seconds since the epoch; ValueError for what is no moment with a time zone."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no moment")  # noqa: TRY004 — of what is read, not of an argument
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return parsed.timestamp()
