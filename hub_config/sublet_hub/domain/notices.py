"""Notices: warnings with a deadline and a reason, written before a lease is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.domain.model_leases import is_model_server

WHY = {
    EndReason.QUOTA: "its quota runs out",
    EndReason.LIMIT: "it reaches the longest time that a lease may last",
    EndReason.RECLAIM: "the owner of the GPUs takes them back",
    EndReason.IDLE: "its GPUs have been idle",
    EndReason.ADMIN: "an admin has ended it",
}
ADVICE = {EndReason.IDLE: "Run something or keep it, or save your work."}
SAVE = "Save your work."


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about one lease. `lead_seconds` is which warning it is: 300 for the one 5 minutes ahead, and so on.

    A notice is withdrawn when the deadline moves out again, so that nobody is warned of what won't happen.
    """

    id: str
    lease_id: str
    user: str
    reason: EndReason
    deadline_at_ms: int
    lead_seconds: int
    message: str
    written_at_ms: int
    withdrawn_at_ms: int | None = None

    @property
    def is_current(self) -> bool:
        return self.withdrawn_at_ms is None


def due_lead(lease: Lease, now_ms: int, leads_seconds: Sequence[int]) -> int | None:
    """The shortest lead, in seconds, that the deadline is within; None while the lease isn't near its deadline."""
    if lease.state is not LeaseState.ACTIVE or lease.deadline.reason not in WHY:
        return None
    left_ms = lease.deadline.at_ms - now_ms
    due = [lead for lead in leads_seconds if left_ms <= lead * 1000]
    return min(due) if due else None


def message(lease: Lease) -> str:
    """The sentence that a user reads; the page adds the countdown and what to do next."""
    why = WHY[lease.deadline.reason]
    if is_model_server(lease.kind, lease.server_name):
        return f"This server of a model stops soon because {why}. New calls start another, where one is to be had."
    bound = lease.deadline.binding
    detail = f" ({bound.what} of {bound.subject})" if bound else ""
    advice = ADVICE.get(lease.deadline.reason, SAVE)
    return f"This notebook stops soon because {why}{detail}. {advice}"
