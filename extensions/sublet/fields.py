"""Members of the platform's JSON as typed values; TypeError or ValueError where one is not what it should be."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

MICROS = 1_000_000


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def text_or_none(value: object) -> str | None:
    return None if value is None else text(value)


def number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def units(micros: object) -> Decimal:
    """Money in units of its currency, of millionths of it."""
    return Decimal(number(micros)) / MICROS


def moment(value: object) -> datetime:
    at = datetime.fromisoformat(text(value))
    if at.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return at


def moment_or_none(value: object) -> datetime | None:
    return None if value is None else moment(value)


def day(value: object) -> date:
    return date.fromisoformat(text(value))


def rfc3339(at: datetime) -> str:
    """A moment as the platform writes it. One without a time zone is meant in this computer's."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
