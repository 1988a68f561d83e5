"""How fast an account may call: so many calls a minute, all together and of each model that says so.

Each process counts for itself, in memory (decision 016). Counted as GCRA does (ITU-T I.371, the virtual scheduling
algorithm), which is a bucket that holds a minute's calls and fills evenly: one number for each account, and no timer.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from sublet_hub.domain.models import Model
from sublet_hub.gateway import metrics
from sublet_hub.gateway.errors import TooManyCalls
from sublet_hub.gateway.rate_limits import Limit, header_lines

MINUTE_NS = 60 * 10**9
MOST_KEPT = 20_000
"""Accounts, and accounts with a model, that are counted at once. One more, and the one that called longest ago begins
anew: after a minute without a call it would anyway."""


class Rates:
    """The rates of this process. `per_minute` is what an account may call of all models together."""

    def __init__(
        self,
        per_minute: int,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        now: Callable[[], float] = time.time,  # seconds since the epoch
    ) -> None:
        self._per_minute = per_minute
        self._monotonic_ns = monotonic_ns
        self._now = now
        self._empty_at: OrderedDict[tuple[str, str], int] = OrderedDict()
        """When all calls of an account that were made will have been allowed for."""

    def count(self, account: str) -> None:
        """Count one call of the account. TooManyCalls where it comes too soon; it is then not counted."""
        wait_ns = self._wait_ns(account, "", self._per_minute)
        if wait_ns:
            metrics.RATE_REFUSALS.labels("account").inc()
            raise self._refusal(self._per_minute, wait_ns, "", "")

    def count_of(self, account: str, model: Model) -> None:
        """The same for one model, where the catalogue gives it a rate of its own."""
        most = None if model.serving is None else model.serving.calls_per_minute
        if most is None:
            return
        wait_ns = self._wait_ns(account, model.name, most)
        if wait_ns:
            metrics.RATE_REFUSALS.labels("model").inc()
            raise self._refusal(most, wait_ns, f" of {model.name}", f"-{model.name}")

    def _wait_ns(self, account: str, model: str, per_minute: int) -> int:
        """Count a call; or, in how many nanoseconds it may be made."""
        key, now = (account, model), self._monotonic_ns()
        apart = -(-MINUTE_NS // per_minute)
        empty_at = max(now, self._empty_at.get(key, now)) + apart
        wait = empty_at - now - apart * per_minute
        if wait > 0:
            return wait
        self._empty_at[key] = empty_at
        self._empty_at.move_to_end(key)
        while len(self._empty_at) > MOST_KEPT or next(iter(self._empty_at.values())) <= now:
            self._empty_at.popitem(last=False)
        return 0

    def _refusal(self, per_minute: int, wait_ns: int, of_what: str, suffix: str) -> TooManyCalls:
        now = self._now()
        at = now + wait_ns / 10**9
        limit = Limit(f"calls{suffix}", per_minute, 0, "minute", at)
        return TooManyCalls(
            f"Your account calls faster than {per_minute} times a minute{of_what}. Try again shortly.",
            retry_at_ms=math.ceil(1000 * at),
            limits=header_lines((limit,), now),
            limit={"what": limit.what, "limit": per_minute, "window": limit.window},
        )
