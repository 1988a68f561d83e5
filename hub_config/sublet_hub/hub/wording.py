"""Amounts, times and limits as people read them. Every text on the hub's pages comes through here."""

from __future__ import annotations

from datetime import UTC, datetime

from sublet_hub.hub.messages import ACCOUNT_OF_GROUP, Limit

ROUNDED_MILLI = 10
"""A seventh of a GPU is told as 142 or 143 milli-GPU: so near is near enough, in sevenths."""

MICROS = 1_000_000
GIB = 2**30

TIERS = {"guaranteed": "Guaranteed", "surplus": "Surplus"}
TIER_HELP = {
    "guaranteed": "Guaranteed: nobody takes it from you; it ends only by its own limits.",
    "surplus": "Surplus: costs less, and its owner may take the GPU back, with notice.",
}

WINDOWS = {"day": "per day", "week": "per week", "month": "per month", "total": "in total"}

END_REASONS = {
    "quota": "a quota was used up",
    "limit": "it reached the longest time that a lease may last",
    "reclaim": "the owner of the GPUs took them back",
    "idle": "nothing had run in it for a while",
    "admin": "an administrator stopped it",
    "lost": "the machine it ran on, or the process that kept it, went down",
    "out_of_memory": "it used more memory than its flavor has; pick a larger one, or load less at a time",
    "evicted": "the cluster took its place back; it can be started again",
    "never_started": "it did not start in time",
}
"""Why a lease ended, for those reasons that its user didn't cause; completes "Your last server ended: ...".

The reasons that are missing here (user, exited, replaced, shutdown) need no explanation to the user."""


def money(micros: int, currency: str) -> str:
    """An amount of money with at least two decimals, and as many more as it needs: `2.00 USD`."""
    whole, fraction = divmod(abs(micros), MICROS)
    digits = f"{fraction:06d}"
    decimals = max(2, len(digits.rstrip("0")))
    sign = "−" if micros < 0 else ""
    return f"{sign}{whole:,}.{digits[:decimals]}\u00a0{currency}"


def price_per_hour(micros: int, currency: str) -> str:
    """To a hundredth of a cent, so that the price of a seventh of a GPU is short enough to read: `0.2286 USD`."""
    rounded = (micros + 50) // 100 * 100
    return "Free of charge" if micros == 0 else f"{money(rounded, currency)} per hour"


def duration(seconds: int) -> str:
    """A time in its two largest units, rounded down: `9 h 40 min`."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while len(units) > 1 and units[0][0] == 0:
        units.pop(0)
    if units[0][1] == "min" and units[0][0] >= 10:  # nobody plans by the second
        units = units[:1]
    return " ".join(f"{count}\u00a0{unit}" for count, unit in units[:2] if count or len(units) == 1)


def gpus(devices: int, gpus_milli: int, memory_bytes: int) -> str:
    """What a flavor has of GPUs: `4 × 80 GiB`, `1/7 GPU, 10 GiB`; empty where it has none."""
    if devices == 0 or gpus_milli == 0:
        return ""
    size = memory(memory_bytes) if memory_bytes else ""
    if gpus_milli >= devices * 1000:
        return f"{devices} × {size}" if size else str(devices)
    sevenths = round(gpus_milli * 7 / 1000 / devices)
    is_sevenths = abs(sevenths * 1000 - gpus_milli * 7 / devices) < ROUNDED_MILLI
    share = f"{sevenths}/7" if is_sevenths else f"{gpus_milli / devices / 1000:g}"
    times = f"{devices} × " if devices > 1 else ""
    return f"{times}{share} GPU{', ' + size if size else ''}"


def memory(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.0f}\u00a0GiB" if size_bytes >= GIB else f"{size_bytes / 2**20:.0f}\u00a0MiB"


def account(name: str, user: str) -> str:
    """An account as its user knows it."""
    kind, _, rest = name.partition(":")
    if kind + ":" == ACCOUNT_OF_GROUP:
        return f"Group {rest}"
    return "Your own account" if rest == user else f"{rest}’s own account"


def utc_text(moment: datetime) -> str:
    """A moment for pages without JavaScript; with it, pages show it in the reader's own time zone."""
    return moment.astimezone(UTC).strftime("%a %-d %b, %H:%M UTC")


def limit(bound: Limit, currency: str) -> str:
    """A limit as a phrase: `10 GPU-hours per week`."""
    window = bound.window
    over = "" if window is None else " " + WINDOWS.get(window, f"in any {_period(window)}")
    on_flavor = f" on {bound.flavor}" if bound.flavor else ""
    return _quantity(bound, currency) + over + on_flavor


def nothing_of(bound: Limit) -> str:
    """What a limit of nothing leaves none of; follows "allows no"."""
    names = {"gpu_seconds": "GPU time", "money_microunits": "spending", "gpus": "GPUs", "leases": "servers"}
    on_flavor = f" on {bound.flavor}" if bound.flavor else ""
    return names.get(bound.what, bound.what.replace("_", " ")) + on_flavor


def whose(subject: str | None, user: str) -> str:
    """Whose limit it is: `your`, `group lab’s`, `the default`."""
    kind, _, name = (subject or "").partition(":")
    if kind == "group":
        return f"group {name}’s"
    if kind == "user":
        return "your" if name == user else f"{name}’s"
    return "the default"


def _quantity(bound: Limit, currency: str) -> str:
    if bound.what == "gpu_seconds":
        return (
            f"{bound.limit / 3600:,.10g} GPU-hours"
            if bound.limit % 36 == 0
            else f"{bound.limit:,} GPU-second{'' if bound.limit == 1 else 's'}"
        )
    if bound.what == "money_microunits":
        return money(bound.limit, currency)
    if bound.what == "lease_seconds":
        return f"{duration(bound.limit)} per server"
    if bound.what == "gpus":
        return f"{bound.limit:,} GPU{'' if bound.limit == 1 else 's'} at once"
    if bound.what == "leases":
        return f"{bound.limit:,} server{'' if bound.limit == 1 else 's'} at once"
    return f"{bound.limit:,} {bound.what.replace('_', ' ')}"


def _period(window: str) -> str:
    """`P30D` as `30 days`; other durations as they are written."""
    count = window.removeprefix("P").removesuffix("D")
    return f"{count} days" if window == f"P{count}D" and count.isdigit() else window


def lower_first(text: str) -> str:
    """A phrase as it stands within a sentence; group and user names stay as they are."""
    return text[:1].lower() + text[1:]
