"""Amounts as people write and read them: `10h/week` in, `1 h 20 min` and `$3.20` out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation

MICROS_PER_UNIT = 1_000_000
SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
WITHOUT_CENTS = frozenset({"JPY", "KRW", "ISK"})

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_LIMIT = re.compile(r"(?P<what>[a-z_]+)(?:@(?P<flavor>[^=]+))?=(?P<amount>[^/]+)(?:/(?P<window>.+))?")


class UnitsError(ValueError):
    """What was written is no amount. The message says what may be written."""


@dataclass(frozen=True, slots=True)
class LimitWish:
    """One limit as it was asked for. `limit` None takes the limit away."""

    what: str
    limit: int | None
    window: str | None
    flavor: str | None

    def to_json(self) -> dict[str, object]:
        """The member of `limits` in the body of a PUT or PATCH."""
        return {"what": self.what, "limit": self.limit, "window": self.window, "flavor": self.flavor}


def parse_limit(text: str) -> LimitWish:
    """`WHAT[@FLAVOR]=AMOUNT[/WINDOW]`, such as `gpu_seconds=10h/week`, `gpus@h100=2`, `money=50/month`.

    The amount is a plain integer in the unit of the limit's name, or a length of time (`90min`, `10h`), or for
    `money` an amount of the currency (`12.50`); `none` takes the limit away.
    """
    match = _LIMIT.fullmatch(text.strip())
    if not match:
        raise UnitsError(
            f"{text!r} is no limit; write WHAT=AMOUNT/WINDOW, for example gpu_seconds=10h/week or gpus=2."
        )
    name, amount = match["what"], match["amount"].strip()
    what = "money_microunits" if name == "money" else name
    if what not in _PARSERS:
        raise UnitsError(f"{name!r} can't be limited; what can is {', '.join([*_PARSERS, 'money'])}.")
    if amount.lower() == "none":
        limit = None
    else:
        limit = _money(amount) if name == "money" else _PARSERS[what](amount)
    return LimitWish(what, limit, match["window"], match["flavor"])


def parse_duration(text: str) -> int:
    """Whole seconds of `3600`, `90min`, `1h30m`, `1.5 h`, `2d`."""
    text = text.strip().lower()
    if text.isdecimal():
        return int(text)
    total, position = Decimal(0), 0
    while match := _DURATION.match(text, position):
        if match[2] not in SECONDS:
            break
        total += Decimal(match[1]) * SECONDS[match[2]]
        position = match.end()
    if not text or position < len(text):
        raise UnitsError(f"{text!r} is no length of time; write seconds, or for example 90min, 10h or 1d12h.")
    if total != total.to_integral_value():
        raise UnitsError(f"{text!r} is not a whole number of seconds.")
    return int(total)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise UnitsError(f"{text!r} is no whole number.")
    return int(text)


def _money(text: str) -> int:
    try:
        micros = Decimal(text.lstrip("".join(SYMBOLS.values()))) * MICROS_PER_UNIT
    except InvalidOperation:
        raise UnitsError(f"{text!r} is no amount of money; write for example 12.50.") from None
    if not micros.is_finite() or micros < 0 or micros != micros.to_integral_value():
        raise UnitsError(f"{text!r} is no amount of money that can be booked; six decimals at most.")
    return int(micros)


_PARSERS: dict[str, Callable[[str], int]] = {
    "gpu_seconds": parse_duration,
    "lease_seconds": parse_duration,
    "gpus": _count,
    "leases": _count,
    "money_microunits": _count,
    "model_tokens": _count,
}


def duration(seconds: int) -> str:
    """`45 s`, `20 min`, `1 h 20 min`, `3 d 4 h`: the two largest units, rounded down."""
    if seconds < 60:
        return f"{seconds} s"
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"))
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def gpu_hours(gpu_seconds: int) -> str:
    """`10 GPU-h`, `1.25 GPU-h`, and GPU-minutes and GPU-seconds where they say more."""
    if gpu_seconds == 0:
        return "0 GPU-h"
    if gpu_seconds < 60:
        return f"{gpu_seconds} GPU-s"
    if gpu_seconds < 3600:
        return f"{gpu_seconds // 60} GPU-min"
    return f"{_trimmed(Decimal(gpu_seconds) / 3600, 2)} GPU-h"


def money(micros: int, currency: str) -> str:
    """`$3.20`, `€0.00`, `12.50 CHF`; `< $0.01` for what is less than a cent but not nothing."""
    if currency in WITHOUT_CENTS:
        amount, smallest = f"{round(Decimal(micros) / MICROS_PER_UNIT):,}", "1"
    else:
        amount, smallest = f"{Decimal(micros) / MICROS_PER_UNIT:,.2f}", "0.01"
    if 0 < micros < Decimal(smallest) * MICROS_PER_UNIT:
        return "< " + _with_currency(smallest, currency)
    return _with_currency(amount, currency)


def _with_currency(amount: str, currency: str) -> str:
    return f"{SYMBOLS[currency]}{amount}" if currency in SYMBOLS else f"{amount} {currency}"


def gpus(milli: int) -> str:
    """`2`, `0.143`."""
    return _trimmed(Decimal(milli) / 1000, 3)


def moment(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """`14:05` today, `Tue 14:05` within a week, else `2026-11-23 14:05`, in the reader's time zone."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    days = abs((local.date() - today.date()).days)
    if days == 0:
        return f"{local:%H:%M}"
    return f"{local:%a %H:%M}" if days < 7 else f"{local:%Y-%m-%d %H:%M}"


def distance(at: datetime, now: datetime) -> str:
    """`in 1 h 20 min`, `5 min ago`, `now`."""
    seconds = round((at - now).total_seconds())
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def now_utc() -> datetime:
    """The present, for the command line's own outermost functions."""
    return datetime.now(UTC)


def _trimmed(value: Decimal, places: int) -> str:
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def size(count: int) -> str:
    """`3.2 GiB`, `120 MiB` of a number of bytes."""
    if count >= 2**30:
        return f"{_trimmed(Decimal(count) / 2**30, 1)} GiB"
    return f"{count // 2**20} MiB"
