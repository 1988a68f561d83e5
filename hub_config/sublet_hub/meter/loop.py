"""The meter's loop: observe, plan, apply, once a second, until it is told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event

from sublet_hub.cluster.base import Cluster, Observed
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.lease import Lease, LeaseState
from sublet_hub.meter import metrics
from sublet_hub.meter.apply import Applier
from sublet_hub.meter.idleness import Idleness
from sublet_hub.meter.plan import Action, End, Fault, Post, Start, Warn, plan
from sublet_hub.storage import activity, allowing, metering
from sublet_hub.storage.anchors import Anchors
from sublet_hub.storage.books import Books

log = logging.getLogger(__name__)

ANCHOR_SECONDS = 60
"""Seconds between two notes of the audit chain's head outside the database."""

HOUSEKEEPING_SECONDS = 3600
"""Seconds between two rounds of forgetting answers to old idempotency keys."""

ACTIVITY_SECONDS = 60
"""Seconds between two rounds of forgetting what servers told of themselves long ago, and allowances that are over."""


ALLOWANCES_SECONDS = 5
"""Seconds between two looks for allowances of calls whose time is over."""

TOGETHER = 100
"""The most leases of an account that are posted in one transaction: starts on the same account wait for it."""


class Meter:
    """Rounds of observing, planning and applying. All it keeps between rounds saves work; none of it is needed."""

    def __init__(
        self,
        books: Books,
        cluster: Cluster,
        anchors: Anchors,
        tick_seconds: float,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """`leads` is asked before each round: where there are several meters, only one may work."""
        self._books = books
        self._cluster = cluster
        self._anchors = anchors
        self._tick_seconds = tick_seconds
        self._leads = leads
        self._applier = Applier(books, cluster)
        self._warned: frozenset[tuple[str, int, int]] = frozenset()
        self._strays: frozenset[str] = frozenset()
        self._faults: frozenset[Fault] = frozenset()
        self._failing: frozenset[str] = frozenset()
        self._trouble: str | None = None
        self._next_anchor = 0.0
        self._next_housekeeping = 0.0
        self._next_activity = 0.0
        self._next_allowances = 0.0
        self._idleness = Idleness(books)

    def run(self, stop: Event) -> None:
        """Run until `stop` is set, then once more, so that ends seen at a shutdown are posted."""
        while not stop.is_set():
            self._guarded_round()
            stop.wait(self._tick_seconds)
        self._guarded_round()
        self._anchors.note(self._books)

    def _guarded_round(self) -> None:
        if not self._leads():
            log.warning("this meter does not lead; it leaves the work to the one that does")
            return
        try:
            self.round()
        except Exception:  # the top of the loop: whatever it is, the next round starts from what is written
            log.exception("a round failed; trying again")
            metrics.ROUNDS.labels("failed").inc()
        else:
            metrics.ROUNDS.labels("done").inc()

    def round(self) -> None:
        """One round. The beat comes after the look: who can't see what runs must not let more be granted."""
        with metrics.PLAN_SECONDS.time():
            observed = self._cluster.observe()
            self._beat()
            now_ms = self._books.clock.now_ms()
            leases = self._leases(observed)
            idle = self._idleness.look(leases.values(), now_ms)
            actions = plan(observed, leases, now_ms, self._books.policy, self._warned, idle)
        self._report(leases, actions, now_ms)
        self._report_strays()
        with metrics.APPLY_SECONDS.time():
            self._apply(actions)
        self._remember_warned(leases, actions)
        self._keep_house()

    def _beat(self) -> None:
        trouble = self._cluster.trouble()
        if trouble is None:
            metering.beat(self._books)
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                log.info("leases are granted again")
            else:
                log.error("no leases are granted for now: %s", trouble)

    def _apply(self, actions: Sequence[Action]) -> None:
        """Apply in order, and posts last; once an action on a lease fails, that lease's later ones wait for the next
        round.

        What is still wrong, or fails again, is not told again: nobody reads a line a second.
        """
        failed: set[str] = set()
        posts: dict[Subject, list[Post]] = {}
        for action in actions:
            if action.lease_id in failed or action in self._faults:
                continue
            if isinstance(action, Post):
                posts.setdefault(action.account, []).append(action)
            elif not self._applier.apply(action, again=action.lease_id in self._failing):
                failed.add(action.lease_id)
        for of_account in posts.values():
            for together in (of_account[at : at + TOGETHER] for at in range(0, len(of_account), TOGETHER)):
                leases = {post.lease_id for post in together}
                if not self._applier.post(together, again=leases <= self._failing):
                    failed |= leases
        self._faults = frozenset(action for action in actions if isinstance(action, Fault))
        self._failing = frozenset(failed)

    def _leases(self, observed: Sequence[Observed]) -> dict[str, Lease]:
        with self._books.store.transaction(write=False) as tx:
            leases = {lease.id: lease for lease in tx.open_leases()}
            for each in observed:
                if each.lease_id not in leases and (lease := tx.lease(each.lease_id)) is not None:
                    leases[lease.id] = lease
        return leases

    def _report_strays(self) -> None:
        """Tell, once each, of what holds GPUs without being a lease."""
        strays = {stray.name: stray for stray in self._cluster.strays()}
        for name in strays.keys() - self._strays:
            log.error("%s holds %d GPUs and is no lease; nobody pays for it", name, strays[name].gpus)
        self._strays = frozenset(strays)
        metrics.STRAY_GPUS.set(sum(stray.gpus for stray in strays.values()))

    def _report(self, leases: dict[str, Lease], actions: Sequence[Action], now_ms: int) -> None:
        counts = dict.fromkeys((LeaseState.GRANTED, LeaseState.ACTIVE, LeaseState.ENDING), 0)
        for lease in leases.values():
            if lease.is_open:
                counts[lease.state] += 1
        for state, count in counts.items():
            metrics.LEASES.labels(state.value).set(count)
        moments = [action.at_ms for action in actions if isinstance(action, Start | End)]
        metrics.LAG_SECONDS.set(max(0, now_ms - min(moments)) / 1000 if moments else 0)

    def _remember_warned(self, leases: dict[str, Lease], actions: Sequence[Action]) -> None:
        asked = {
            (action.lease_id, action.lead_seconds, leases[action.lease_id].deadline.at_ms)
            for action in actions
            if isinstance(action, Warn)
        }
        self._warned = frozenset({each for each in self._warned if each[0] in leases} | asked)

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now >= self._next_anchor:
            self._next_anchor = now + ANCHOR_SECONDS
            self._anchors.note(self._books)
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_SECONDS
            metering.drop_old_answers(self._books)
        if now >= self._next_activity:
            self._next_activity = now + ACTIVITY_SECONDS
            activity.drop_old(self._books)
            allowing.drop_old(self._books)
        if now >= self._next_allowances:
            self._next_allowances = now + ALLOWANCES_SECONDS
            metrics.ALLOWANCES_EXPIRED.inc(allowing.void_expired(self._books))
