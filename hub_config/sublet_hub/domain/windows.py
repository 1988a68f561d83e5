"""The windows of time that limits count in, and the buckets that balances are kept in.

A window's edges are rounded outwards to buckets of 15 minutes: every time zone's midnight falls on such an edge
(offsets from UTC are multiples of 15 minutes, IANA tz database), and a rolling window counts at most 15 minutes too
much, never too little.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import isodate

from sublet_hub.domain.errors import InvalidRequest

BUCKET_MS = 15 * 60 * 1000
CALENDAR = ("day", "week", "month")
LONGEST_ROLLING = timedelta(days=3660)
SHORTEST_ROLLING = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Window:
    """One concrete window: use from `start_ms` on counts; `end_ms` is when a calendar window begins anew.

    `start_ms` is None for "total" (all use ever). `end_ms` is None where the window never begins anew at once:
    "total", and rolling windows, whose oldest use falls out bit by bit (`falls_out_at`).
    """

    start_ms: int | None
    end_ms: int | None


def bucket_of(at_ms: int) -> int:
    """Start of the bucket that a moment lies in."""
    return at_ms - at_ms % BUCKET_MS


def check_window(text: str, *, field: str = "window") -> str:
    """The window in its canonical spelling; InvalidRequest says what is allowed."""
    if text in CALENDAR or text == "total":
        return text
    duration = _rolling(text, field=field)
    now = datetime(2000, 1, 1, tzinfo=UTC)
    try:
        length = now - (now - duration)
    except (OverflowError, ValueError):  # fractions of months, or years beyond the calendar
        length = timedelta.max
    if not SHORTEST_ROLLING <= length <= LONGEST_ROLLING:
        raise InvalidRequest("A rolling window lasts from 15 minutes to ten years.", field=field)
    return text


def check_time_zone(name: str, *, field: str = "time_zone") -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(
            f"There is no time zone {name!r}; write one of the IANA names, such as UTC or Europe/Berlin.",
            field=field,
        ) from None
    return name


@lru_cache(maxsize=256)
def window_at(text: str, time_zone: str, now_ms: int) -> Window:
    """The window of that name which `now_ms` lies in."""
    if text == "total":
        return Window(None, None)
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    if text not in CALENDAR:
        return Window(bucket_of(_ms(now - _rolling(text, field="window"))), None)
    zone = ZoneInfo(time_zone)
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if text == "day":
        start, end = midnight, midnight + timedelta(days=1)
    elif text == "week":
        start = midnight - timedelta(days=midnight.weekday())
        end = start + timedelta(days=7)
    else:
        start = midnight.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return Window(_ms(start), _ms(end))


def falls_out_at(text: str, bucket_ms: int) -> int:
    """When use in a bucket no longer counts in a rolling window of that name."""
    end = datetime.fromtimestamp((bucket_ms + BUCKET_MS) / 1000, UTC)
    return _ms(end + _rolling(text, field="window"))


def is_rolling(text: str) -> bool:
    return text not in CALENDAR and text != "total"


def _rolling(text: str, *, field: str) -> timedelta | isodate.Duration:
    try:
        duration = isodate.parse_duration(text)
    except (isodate.ISO8601Error, TypeError, ValueError, OverflowError):
        raise InvalidRequest(
            f"A window is day, week, month, total, or an ISO 8601 duration such as P30D, not {text!r}.",
            field=field,
        ) from None
    assert isinstance(duration, timedelta | isodate.Duration)
    return duration


def _ms(moment: datetime) -> int:
    """Milliseconds since the epoch; local arithmetic above is on wall time, so DST days have their true length."""
    return round(moment.astimezone(UTC).timestamp()) * 1000
