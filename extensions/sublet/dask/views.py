"""A leased Dask cluster for people: what it is made of, what it costs, how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sublet import as_html, as_text, wording
from sublet.dask.orders import Order
from sublet.dask.showing import Said

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which numbers of workers a cluster adapts to its work; None as `most`: as many as the quotas allow."""

    least: int
    most: int | None

    def __str__(self) -> str:
        return f"{self.least} to {'as many as fit' if self.most is None else self.most}, as there is work"


@dataclass(frozen=True, slots=True)
class State:
    """How far a cluster has come. `note` is a sentence about what is being waited for."""

    ready: int
    note: str = ""
    dashboard: str | None = None
    bounds: Bounds | None = None


def said(order: Order, left: Rows, state: State) -> Said:
    return Said(as_text.facts([*rows(order, state), *left, *_dashboard(state)]), _html(order, left, state))


def price(order: Order, bounds: Bounds | None = None) -> str:
    """`$16.00 per hour for 8 GPUs`; where their number changes by itself, for the most of them, or for each."""
    of = order.described(order.workers)
    simulated = ", simulated" if order.offer.simulated else ""
    adapted = "" if bounds is None else " each" if bounds.most is None else " at most"
    return f"{wording.money(order.price_per_hour, order.offer.currency)} per hour for {of}{adapted}{simulated}"


def rows(order: Order, state: State) -> Rows:
    count = f"{state.ready} ready ({state.bounds})" if state.bounds else f"{state.ready} of {order.workers} ready"
    ready = f"{count}, each a lease of {order.offer.flavor} ({order.choice.tier})"
    return (
        ("Dask workers", ready + (f". {state.note}" if state.note else "")),
        ("Price", f"{price(order, state.bounds)}, while they run"),
        ("Account", order.choice.account),
    )


def _dashboard(state: State) -> Rows:
    return [("Dashboard", state.dashboard)] if state.dashboard else []


def _html(order: Order, left: Rows, state: State) -> str:
    full = 100 * min(state.ready, order.workers) // order.workers if order.workers else 100
    table = as_html.facts([*rows(order, state), *left], "Dask cluster")
    if not state.dashboard:
        return f"{as_html.bar(full)}{table}"
    link = f'<a href="{escape(state.dashboard)}" target="_blank" rel="noopener">Dashboard</a>'
    return f"{as_html.bar(full)}{table}<p>{link}</p>"
