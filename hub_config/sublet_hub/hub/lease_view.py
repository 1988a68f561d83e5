"""How a lease is shown on the hub's own pages: one that runs, and one that policy has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sublet_hub.hub import wording
from sublet_hub.hub.markup import render, time_element
from sublet_hub.hub.messages import Lease
from sublet_hub.hub.refusal import Explanation, explain_end


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A running lease on the home page. `until` is HTML."""

    flavor: str
    tier: str
    account: str
    price: str
    simulated: bool
    until: str
    why_until: str


@dataclass(frozen=True, slots=True)
class EndedView:
    """The user's last server, if policy ended it."""

    flavor: str
    at: datetime
    why: Explanation


@dataclass(frozen=True, slots=True)
class Line:
    """A message in text, and the same in HTML."""

    text: str
    html: str


def show_lease(lease: Lease) -> LeaseView:
    """A lease that runs, in words."""
    per_hour = lease.price_microunits_per_gpu_hour * lease.gpus_milli // 1000
    bound = lease.deadline_limit
    limit = "" if bound is None else f"limit of {wording.limit(bound, lease.currency)}"
    return LeaseView(
        flavor=lease.flavor,
        tier=wording.TIERS.get(lease.tier, lease.tier),
        account=wording.account(lease.account, lease.user),
        price=wording.price_per_hour(per_hour, lease.currency),
        simulated=lease.simulated,
        until=time_element(lease.deadline_at),
        why_until=limit,
    )


def show_ended(lease: Lease | None) -> EndedView | None:
    """A lease that was ended by policy; None for all others."""
    why = None if lease is None else explain_end(lease)
    return None if lease is None or why is None else EndedView(lease.flavor, lease.over_at, why)


def render_ended(lease: Lease | None, contact: str, usage_url: str) -> str:
    """Why a server was ended, as HTML; empty where there is nothing to explain."""
    ended = show_ended(lease)
    return "" if ended is None else render("sublet/ended.html", ended=ended, contact=contact, usage_url=usage_url)


def runs_until(deadline: datetime) -> Line:
    return Line(f"Runs until {wording.utc_text(deadline)}", f"Runs until {time_element(deadline)}")
