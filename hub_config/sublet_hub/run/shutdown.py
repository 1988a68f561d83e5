"""Ending every lease before the platform stops, so that nothing runs on that nobody charges or warns."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sublet_hub.cluster.base import Cluster, LeaseUnknownError
from sublet_hub.domain.errors import Conflict
from sublet_hub.domain.lease import EndReason
from sublet_hub.storage.books import Books
from sublet_hub.storage.leasing import stop_at_once

log = logging.getLogger(__name__)

ACTOR = "up"
WHY = "The platform was stopped"

Wait = Callable[[Callable[[], bool], float], bool]
"""Wait for a condition so many seconds; says whether it came true."""


def order_all(books: Books) -> None:
    """Record for every open lease that it ends now, and why: the meter closes it with this reason."""
    with books.store.transaction(write=False) as tx:
        open_now = tx.open_leases()
    for lease in open_now:
        try:
            stop_at_once(books, lease.id, reason=EndReason.SHUTDOWN, actor=ACTOR, why=WHY)
        except Conflict:
            continue  # it ended of itself just now


def stop_all(cluster: Cluster, wait: Wait, timeout_seconds: float) -> int:
    """Stop all that runs and wait for the end of it; gives how many were stopped.

    What does not end in time goes on under its own deadline, and is charged when the platform starts again.
    """
    open_now = [each for each in cluster.observe() if each.ended_at_ms is None and each.broken is None]
    for each in open_now:
        try:
            cluster.stop(each.lease_id)
        except LeaseUnknownError:
            continue  # it has just ended
    if open_now and not wait(lambda: not any(each.running for each in cluster.observe()), timeout_seconds):
        log.warning("Some servers did not end within %s s; their own deadlines still hold.", timeout_seconds)
    return len(open_now)
