"""Amounts and moments for people; the same words as the platform's own pages use."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sublet.reading import Lease, Limit

SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
NAMES = {
    "gpu_seconds": "GPU time",
    "money_microunits": "Money",
    "model_tokens": "Model tokens",
    "gpus": "GPUs at once",
    "leases": "Leases at once",
    "lease_seconds": "Time per lease",
}
REASONS = {
    "limit": "the longest that a lease may last",
    "reclaim": "when the owner takes the GPUs back",
    "idle": "because it is idle",
    "admin": "ended by an admin",
}


def duration(seconds: int) -> str:
    """`45 s`, `20 min`, `1 h 20 min`, `3 d 4 h`: the two largest units, rounded down."""
    if seconds < 60:
        return f"{seconds} s"
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"))
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def money(amount: Decimal, currency: str) -> str:
    """`$3.20`, `12.50 CHF`; `< $0.01` for what is less than a cent but not nothing."""
    if 0 < amount < Decimal("0.01"):
        return "< " + money(Decimal("0.01"), currency)
    text = f"{amount:,.2f}"
    return f"{SYMBOLS[currency]}{text}" if currency in SYMBOLS else f"{text} {currency}"


def number(value: Decimal, places: int = 2) -> str:
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount(what: str, value: int, currency: str) -> str:
    """A limit's value in the unit that people think in."""
    if what == "gpu_seconds":
        hours = Decimal(value) / 3600
        return f"{number(hours)} GPU-h" if value >= 3600 or value == 0 else f"{value // 60} GPU-min {value % 60} s"
    if what == "money_microunits":
        return money(Decimal(value) / 1_000_000, currency)
    return duration(value) if what == "lease_seconds" else f"{value:,}"


def limit_name(limit: Limit) -> str:
    """`GPU time per week`, `GPUs at once on h100-1x`."""
    if limit.window is None:
        window = ""
    elif limit.window == "total":
        window = " in total"
    else:
        window = f" in any {limit.window}" if limit.window.startswith("P") else f" per {limit.window}"
    return NAMES.get(limit.what, limit.what) + window + (f" on {limit.flavor}" if limit.flavor else "")


def moment(at: datetime, now: datetime) -> str:
    """`14:05 CET` today, `Tue 14:05 CET` within a week, else with the date; in this computer's time zone."""
    local, today = at.astimezone(), now.astimezone()
    days = abs((local.date() - today.date()).days)
    if days == 0:
        return f"{local:%H:%M %Z}"
    return f"{local:%a %H:%M %Z}" if days < 7 else f"{local:%Y-%m-%d %H:%M %Z}"


def until(lease: Lease, now: datetime) -> str:
    """`14:05 CET (in 1 h 20 min), when its GPU time is used up`."""
    if lease.deadline_reason == "quota":
        limit = NAMES.get(lease.deadline_limit or "", "the quota")
        why = f"when {limit if limit.startswith('GPU') else limit.lower()} of {lease.account} is used up"
    else:
        why = REASONS.get(lease.deadline_reason, lease.deadline_reason)
    return f"{moment(lease.deadline_at, now)} (in {duration(lease.seconds_left)}), {why}"


def price(lease: Lease) -> str:
    """`$4.00 per hour for 2 GPUs`."""
    gpus = "no GPU" if lease.gpus == 0 else f"{number(lease.gpus, 3)} GPU{'s' if lease.gpus > 1 else ''}"
    return f"{money(lease.price_per_hour, lease.currency)} per hour for {gpus}"


def flavor(lease: Lease) -> str:
    return f"{lease.flavor} ({lease.tier}{', simulated' if lease.simulated else ''})"


def row(limit: Limit, currency: str, now: datetime) -> tuple[str, str, str, str, str]:
    """Name, left, allowed, used (with what is held), and when more is left."""
    allowed = amount(limit.what, limit.limit, currency)
    if limit.what == "lease_seconds":
        return limit_name(limit), "", allowed, "", ""
    used = amount(limit.what, limit.used, currency)
    if limit.held:
        used += f" + {amount(limit.what, limit.held, currency)} held"
    anew = moment(limit.resets_at, now) if limit.resets_at else ""
    return limit_name(limit), amount(limit.what, limit.left, currency), allowed, used, anew


HEADINGS = ("Limit", "Left", "Allowed", "Used", "More from")
EMPTY = "No account of yours has a quota, so no lease can be started. Ask an admin of this platform."
NO_LIMITS = "nothing is limited"
"""Where an account has a quota without limits."""
