"""Quotas as tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.table import Table
from rich.text import Text

from sublet_hub.cli import units
from sublet_hub.cli.client import API, Client
from sublet_hub.cli.options import table
from sublet_hub.cli.readings import Lease, Limit, Quota, Usage, read

WHAT_NAMES = {
    "gpu_seconds": "GPU time",
    "money_microunits": "Money",
    "model_tokens": "Model tokens",
    "gpus": "GPUs at once",
    "leases": "Leases at once",
    "lease_seconds": "Time per lease",
}
AT_ONCE = frozenset({"gpus", "leases"})

_NUMBERS = ("Allowed", "Used", "Held", "Left")


def one(client: Client, reading: Quota) -> Iterator[Table | Text]:
    """A quota, and after a change the leases that it moved."""
    inherited = "" if reading.own else ", from the default"
    title = f"Quota of {reading.subject}{inherited} (time zone {reading.time_zone})"
    if not reading.limits:
        yield Text(f"{title}: no limits.")
        return
    rows = table("Limit", "Allowed", "Used", "Held", "Left", "More from", title=title, right=_NUMBERS)
    currency, now = _currency(client, [reading]), units.now_utc()
    for limit in reading.limits:
        rows.add_row(*_cells(limit, currency, now, of_default=reading.subject == "default"))
    yield rows
    if reading.leases:
        yield _moved(reading.leases)


def several(client: Client, readings: list[Quota]) -> Iterator[Table | Text]:
    """All quotas in one table."""
    if not readings:
        yield Text("No quota is set; nobody can lease anything.")
        return
    rows = table("Subject", "Limit", "Allowed", "Used", "Held", "Left", "More from", right=_NUMBERS)
    currency, now = _currency(client, readings), units.now_utc()
    for reading in readings:
        of_default = reading.subject == "default"
        for i, limit in enumerate(reading.limits):
            rows.add_row("" if i else reading.subject, *_cells(limit, currency, now, of_default=of_default))
        if not reading.limits:
            rows.add_row(reading.subject, "no limits", "", "", "", "", "")
    yield rows


def _cells(limit: Limit, currency: str, now: datetime, *, of_default: bool) -> tuple[str, ...]:
    name = WHAT_NAMES.get(limit.what, limit.what)
    window = {None: "", "total": " in total"}.get(limit.window, f" per {limit.window}")
    if limit.window and limit.window.startswith("P"):
        window = f" in any {limit.window}"
    flavor = f" on {limit.flavor}" if limit.flavor else ""
    counts = limit.window is not None or limit.what in AT_ONCE
    use = (limit.used, limit.held, limit.left) if counts and not of_default else ()
    amounts = [_amount(limit.what, each, currency) for each in (limit.limit, *use)]
    resets = (
        f"{units.moment(limit.resets_at, now)} ({units.distance(limit.resets_at, now)})" if limit.resets_at else ""
    )
    return (name + window + flavor, *amounts, *[""] * (4 - len(amounts)), resets)


def _amount(what: str, value: int, currency: str) -> str:
    """A limit's value for people."""
    if what == "gpu_seconds":
        return units.gpu_hours(value)
    if what == "money_microunits":
        return units.money(value, currency)
    return units.duration(value) if what == "lease_seconds" else f"{value:,}"


def _currency(client: Client, readings: list[Quota]) -> str:
    """The platform's currency; asked for only where money is limited."""
    for reading in readings:
        if any(limit.what == "money_microunits" for limit in reading.limits):
            account = reading.subject if reading.subject != "default" else "user:default"
            return read(Usage, client.get(f"{API}/usage", {"account": account, "days": 1})).currency
    return ""


def _moved(leases: tuple[Lease, ...]) -> Table:
    now = units.now_utc()
    rows = table("Lease", "User", "Ends", "Because of", title="Leases whose deadline moved")
    for lease in leases:
        rows.add_row(lease.id, lease.user, _until(lease, now), lease.deadline_reason)
    return rows


def _until(lease: Lease, now: datetime) -> str:
    return f"{units.moment(lease.deadline_at, now)} ({units.distance(lease.deadline_at, now)})"
