"""What the quotas that rule a Dask cluster have left, and how long that lasts."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from sublet import wording
from sublet.dask.orders import Order
from sublet.quotas import Limit, Quota

OF_LEASES = ("gpu_seconds", "money_microunits", "gpus", "leases")
SECONDS_PER_HOUR = 3600


def left_rows(order: Order, quota: Quota) -> tuple[tuple[str, str], ...]:
    """Limits of the account that pays, and of the user, as names and what is left now."""
    return tuple(_rows(order, quota))


def _rows(order: Order, quota: Quota) -> Iterator[tuple[str, str]]:
    own = f"user:{quota.user}"
    for account in quota.accounts:
        if account.name not in {order.choice.account, own}:
            continue
        whose = "" if account.name == order.choice.account else f" of {account.name}"
        for limit in account.limits:
            if limit.what in OF_LEASES and limit.flavor in {None, order.offer.flavor}:
                yield f"Left{whose}", f"{_left(limit, quota.currency)}{_lasting(order, limit)}"


def _left(limit: Limit, currency: str) -> str:
    return f"{wording.limit_name(limit)}: {wording.amount(limit.what, limit.left, currency)}"


def _lasting(order: Order, limit: Limit) -> str:
    """How long the workers could run on it, if nothing else did."""
    if limit.what == "gpu_seconds" and order.gpus:
        seconds = Decimal(limit.left) / order.gpus
    elif limit.what == "money_microunits" and order.price_per_hour:
        seconds = Decimal(limit.left) / 1_000_000 / order.price_per_hour * SECONDS_PER_HOUR
    else:
        return ""
    return f", enough for {wording.duration(int(seconds))} of this cluster"
