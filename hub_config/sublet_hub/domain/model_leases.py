"""Leases of models' servers: how they are told from other leases, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.lease import EndReason, Lease, LeaseKind

SERVER_PREFIX = "model:"
"""What the `server_name` of such a lease begins with; a name for the server itself follows."""

KIND: LeaseKind = "worker"


def is_model_server(kind: LeaseKind, server_name: str) -> bool:
    """Whether a lease of this kind and name is that of a model's server."""
    return kind == KIND and server_name.startswith(SERVER_PREFIX)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose all leases of models' servers are, and which account pays for them."""

    user: str
    account: Subject

    def may_ask(self, wanted: LeaseRequest) -> bool:
        """Whether a request is for the lease of a model's server, and on this holder."""
        return (wanted.user, wanted.account) == (self.user, self.account) and is_model_server(
            wanted.kind, wanted.server_name
        )

    def has(self, lease: Lease) -> bool:
        """Whether a lease is one of theirs."""
        return (lease.user, lease.account) == (self.user, self.account) and is_model_server(
            lease.kind, lease.server_name
        )


def given_back_for(lease: Lease, now_ms: int, notice_ms: int) -> EndReason:
    """Why the lease of a server that isn't needed any more ends: what it was warned of, else that nobody calls it."""
    return lease.deadline.reason if lease.deadline.at_ms - now_ms <= notice_ms else EndReason.IDLE
