"""Carrying out the meter's actions, through the store and the cluster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import singledispatchmethod

from sublet_hub.cluster.base import Claims, Cluster, LeaseUnknownError
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND, Amount
from sublet_hub.domain.errors import InvalidRequest, PublicError
from sublet_hub.domain.flavors import Tier
from sublet_hub.meter import metrics
from sublet_hub.meter.plan import Action, Adopt, Arm, End, Fault, Forget, Idle, Post, Start, Stop, Void, Warn
from sublet_hub.storage import adopting, metering, planned
from sublet_hub.storage.books import Books

log = logging.getLogger(__name__)


FAILURES = (PublicError, LeaseUnknownError, OSError)
"""What may keep an action from being carried out, and is gone another time."""


class Applier:
    """Carries out actions one by one, and an account's posts together. What fails is logged and counted, and never
    stops the rest."""

    def __init__(self, books: Books, cluster: Cluster) -> None:
        self._books = books
        self._cluster = cluster

    def apply(self, action: Action, *, again: bool = False) -> bool:
        """Carry out one action. Tells whether it succeeded; one that didn't is planned again next round. `again`: one
        on the same lease failed just before, and was logged.
        """
        kind = type(action).__name__.lower()
        try:
            self._do(action)
        except FAILURES as error:
            log.log(_level(again), "could not %s lease %s: %s", kind, action.lease_id, error)
            metrics.ACTIONS.labels(kind, "failed").inc()
            return False
        metrics.ACTIONS.labels(kind, "done").inc()
        return True

    def post(self, posts: Sequence[Post], *, again: bool = False) -> bool:
        """Carry out posts that are on one account in one go, or none of them; otherwise as `apply`."""
        until_ms = {post.lease_id: post.until_ms for post in posts}
        try:
            added = metering.post_together(self._books, posts[0].account, until_ms)
        except FAILURES as error:
            log.log(_level(again), "could not post %d leases of %s: %s", len(posts), posts[0].account, error)
            metrics.ACTIONS.labels("post", "failed").inc(len(posts))
            return False
        _count(added)
        metrics.ACTIONS.labels("post", "done").inc(len(posts))
        return True

    @singledispatchmethod
    def _do(self, action: Action) -> None:
        raise TypeError(f"no such action: {action!r}")

    @_do.register
    def _(self, action: Start) -> None:
        metering.start(self._books, action.lease_id, action.at_ms)

    @_do.register
    def _(self, action: Arm) -> None:
        self._cluster.arm(action.lease_id, action.deadline_ms, action.reason)

    @_do.register
    def _(self, action: Warn) -> None:
        metering.warn(self._books, action.lease_id)

    @_do.register
    def _(self, action: Idle) -> None:
        planned.settle_idleness(self._books, action.lease_id)

    @_do.register
    def _(self, action: End) -> None:
        closed = metering.end(self._books, action.lease_id, action.started_at_ms, action.at_ms, action.reason)
        _count(closed.added)

    @_do.register
    def _(self, action: Void) -> None:
        if self._cluster.withdraw(action.lease_id):
            metering.void(self._books, action.lease_id)

    @_do.register
    def _(self, action: Forget) -> None:
        self._cluster.forget(action.lease_id)

    @_do.register
    def _(self, action: Stop) -> None:
        self._cluster.stop(action.lease_id)

    @_do.register
    def _(self, action: Adopt) -> None:
        adopting.adopt(self._books, action.lease_id, wanted_by(action.claims), action.at_ms)

    @_do.register
    def _(self, action: Fault) -> None:
        log.error("lease %s: %s", action.lease_id, action.sentence)
        metrics.FAULTS.labels(action.kind).inc()


def wanted_by(claims: Claims) -> LeaseRequest:
    """What something that was started past us would have asked for, by its own word. InvalidRequest where that makes
    no sense."""
    try:
        tier = Tier(claims.tier)
    except ValueError:
        raise InvalidRequest(f"There is no tier {claims.tier!r}.", field="tier") from None
    # A notebook of the hub's would be ended by the next start of its server.
    return LeaseRequest(claims.user, accounts.parse_account(claims.account), claims.flavor, tier, kind="worker")


def _level(again: bool) -> int:
    return logging.DEBUG if again else logging.ERROR


def _count(added: Amount) -> None:
    # A correction (an end found out to lie before the last post) lowers no counter; the ledger has it.
    metrics.GPU_SECONDS.inc(max(0, added.gpu_time) / GPU_TIME_PER_GPU_SECOND)
