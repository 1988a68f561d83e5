"""How a lease is shown on the hub's own pages: one that runs, and one that policy has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sublet_hub.hub import wording
from sublet_hub.hub.markup import render, time_element
from sublet_hub.hub.messages import Lease, Offer
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


def title_of(flavor: str, offers: Sequence[Offer]) -> str:
    """What a flavor is called; its name where it isn't offered any more."""
    return next((offer.title for offer in offers if offer.flavor == flavor), flavor)


def show_lease(lease: Lease, offers: Sequence[Offer]) -> LeaseView:
    """A lease that runs, in words."""
    per_hour = lease.price_microunits_per_gpu_hour * lease.gpus_milli // 1000
    bound = lease.deadline_limit
    limit = "" if bound is None else f"limit of {wording.limit(bound, lease.currency)}"
    return LeaseView(
        flavor=title_of(lease.flavor, offers),
        tier=wording.TIERS.get(lease.tier, lease.tier),
        account=wording.account(lease.account, lease.user),
        price=wording.price_per_hour(per_hour, lease.currency),
        simulated=lease.simulated,
        until=time_element(lease.deadline_at),
        why_until=limit,
    )


def show_ended(lease: Lease | None, offers: Sequence[Offer]) -> EndedView | None:
    """A lease that was ended by policy; None for all others."""
    why = None if lease is None else explain_end(lease)
    if lease is None or why is None:
        return None
    return EndedView(title_of(lease.flavor, offers), lease.over_at, why)


def render_ended(ended: EndedView, contact: str, usage_url: str) -> str:
    """Why a server was ended, as HTML."""
    return render("sublet/ended.html", ended=ended, contact=contact, usage_url=usage_url)


def runs_until(deadline: datetime) -> Line:
    return Line(f"Runs until {wording.utc_text(deadline)}", f"Runs until {time_element(deadline)}")
