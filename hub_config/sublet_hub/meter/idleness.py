"""When the meter looks at idleness: at all leases once a minute, which is as often as servers tell of themselves, and
more often at those that are about to be ended for it, so that whoever starts to work again is heard soon."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sublet_hub.domain.activity import MINUTE_MS
from sublet_hub.domain.lease import EndReason, Lease
from sublet_hub.meter.plan import NOT_LOOKED_AT
from sublet_hub.storage import activity
from sublet_hub.storage.books import Books

ENDING_MS = 5_000
"""How often those are looked at that are about to be ended."""

RECORDS_COME_MS = 10_000
"""How long after the turn of a minute all are looked at: their records of it have come by then."""


class Idleness:
    """Looks at the books for it. What it keeps between rounds only saves work."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._has_policy = any(pool.idle is not None for pool in books.catalog.pools.values())
        self._looked: dict[int, int] = {}

    def look(self, leases: Collection[Lease], now_ms: int) -> Mapping[str, bool]:
        """Of the leases that it looked at, whether they are idle. Without any policy nothing is read.

        Dask workers are left out: whether their cluster is idle is for its gateway to say.
        """
        leases = [lease for lease in leases if lease.kind != "worker"]
        if self._has_policy and self._is_time(MINUTE_MS, now_ms - RECORDS_COME_MS):
            return activity.look(self._books, (lease for lease in leases if lease.is_open), all_of_them=True)
        ending = [lease for lease in leases if lease.planned and lease.plan_of(EndReason.IDLE) is not None]
        if ending and self._is_time(ENDING_MS, now_ms):
            return activity.look(self._books, ending, all_of_them=False)
        return NOT_LOOKED_AT

    def _is_time(self, every_ms: int, now_ms: int) -> bool:
        """Whether a look that is due so often is yet to be taken, by the wall clock's own minutes, as records are."""
        turn = now_ms // every_ms
        if self._looked.get(every_ms) == turn:
            return False
        self._looked[every_ms] = turn
        return True
