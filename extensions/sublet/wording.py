"""Amounts and moments for people; the same words as the platform's own pages use."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sublet.leases import OVER, Lease
from sublet.quotas import Limit
from sublet.usages import AccountUsage, Day

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
    "user": "as you have asked",
}
ENDED = {
    "quota": "its quota was used up",
    "limit": "it had lasted as long as a lease may",
    "reclaim": "the owner took the GPUs back",
    "idle": "it was idle",
    "admin": "an admin ended it",
    "user": "you stopped it",
    "shutdown": "it was shut down from outside",
    "exited": "its server ended by itself",
    "out_of_memory": "it ran out of memory",
    "lost": "its machine was lost",
    "evicted": "its machine had to let go of it",
}


def duration(seconds: int) -> str:
    """`45 s`, `20 min`, `1 h 20 min`, `3 d 4 h`: the two largest units, rounded down."""
    if seconds < 60:
        return f"{seconds} s"
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"))
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def fine_duration(seconds: Decimal) -> str:
    """As `duration`, but `0.42 s`, `12.3 s` and `1 min 5 s` where it is short."""
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 10 else 1}f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds < 3600 else duration(int(seconds))


def fine_gpu_time(gpu_seconds: Decimal) -> str:
    """`0.84 GPU-s`, `2 GPU-min 10 s`, `1.5 GPU-h`."""
    if gpu_seconds < 60:
        return f"{number(gpu_seconds)} GPU-s"
    return amount("gpu_seconds", int(gpu_seconds), "")


def money(amount: Decimal, currency: str) -> str:
    """`$3.20`, `12.50 CHF`; `< $0.01` for what is less than a cent but not nothing."""
    if 0 < amount < Decimal("0.01"):
        return "< " + money(Decimal("0.01"), currency)
    text = f"{amount:,.2f}"
    return f"{SYMBOLS[currency]}{text}" if currency in SYMBOLS else f"{text} {currency}"


def exact_money(amount: Decimal, currency: str) -> str:
    """As `money`, but with two digits that count where it is less than a cent: `$0.0012`."""
    if not 0 < amount < Decimal("0.01"):
        return money(amount, currency)
    text = f"{amount:.{1 - amount.adjusted()}f}"
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
    return f"{money(lease.price_per_hour, lease.currency)} per hour for {gpus(lease)}"


def gpus(lease: Lease) -> str:
    """`2 GPUs`, `0.125 GPU`, `no GPU`."""
    return "no GPU" if lease.gpus == 0 else f"{number(lease.gpus, 3)} GPU{'s' if lease.gpus > 1 else ''}"


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


def short_lease_rows(lease: Lease, now: datetime) -> tuple[tuple[str, str], ...]:
    return (
        ("Lease", flavor(lease)),
        ("Until", until(lease, now)),
        ("Price", f"{price(lease)}; {money(lease.cost, lease.currency)} so far"),
    )


def lease_rows(lease: Lease) -> tuple[tuple[str, str], ...]:
    """What there is to say of a lease, as names and values."""
    now = lease.read_at
    return (
        ("Lease", flavor(lease)),
        ("Account", lease.account),
        ("Started", started(lease)),
        ended(lease) if lease.state in OVER else ("Until", until(lease, now)),
        ("GPU time", amount("gpu_seconds", lease.gpu_seconds, lease.currency)),
        ("Price", f"{price(lease)}; {money(lease.cost, lease.currency)} so far"),
    )


def started(lease: Lease) -> str:
    if lease.started_at is None:
        return "not yet"
    lasted = duration(max(0, int(((lease.ended_at or lease.read_at) - lease.started_at).total_seconds())))
    return f"{moment(lease.started_at, lease.read_at)} ({f'lasted {lasted}' if lease.ended_at else f'{lasted} ago'})"


def ended(lease: Lease) -> tuple[str, str]:
    reason = lease.end_reason or lease.deadline_reason
    at = "" if lease.ended_at is None else moment(lease.ended_at, lease.read_at) + ": "
    return ("Ended", at + ENDED.get(reason, reason))


def usage_title(account: AccountUsage, currency: str) -> str:
    """`Account group:lab in November 2026: 12.5 GPU-h for $25.00`."""
    month = f" in {account.days[-1].date:%B %Y}" if account.days else ""
    spent = f"{amount('gpu_seconds', account.gpu_seconds, currency)} for {money(account.cost, currency)}"
    return f"Account {account.name}{month}: {spent if used_days(account) else 'nothing used'}"


def used_days(account: AccountUsage) -> tuple[Day, ...]:
    return tuple(day for day in account.days if day.gpu_seconds or day.cost)


def day_row(day: Day, currency: str) -> tuple[str, str, str]:
    return f"{day.date:%a %d}", amount("gpu_seconds", day.gpu_seconds, currency), money(day.cost, currency)


DAY_HEADINGS = ("Day", "GPU time", "Money")
HEADINGS = ("Limit", "Left", "Allowed", "Used", "More from")
EMPTY = "No account of yours has a quota, so no lease can be started. Ask an admin of this platform."
NO_LIMITS = "nothing is limited"
"""Where an account has a quota without limits."""
