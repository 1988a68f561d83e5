"""One of several processes leads: whoever holds a Lease of the API server.

The algorithm is client-go's (https://pkg.go.dev/k8s.io/client-go/tools/leaderelection): a claim is renewed under
optimistic concurrency; another may take it over once it has not seen it change for the claim's duration, on its own
steady clock, so that clocks need not agree; a leader that could not renew in time steps down before that.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread

from msgspec.structs import replace

from sublet_hub.clock import Clock, SystemClock
from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.errors import LEASES, Conflict, KubeError, NotFound
from sublet_hub.cluster.kube.exchange import Patience
from sublet_hub.cluster.kube.objects import Lease, LeaseSpec, Ms, micro_time

log = logging.getLogger(__name__)

_ONCE = Patience(connect_seconds=1.5, answer_seconds=2.5, attempts=1, rest_seconds=0)
"""Retrying is the election's own part, at its own pace. Short, so that a lost lead shows before it is another's."""


def steady_seconds() -> float:
    """Seconds on a clock that is never set, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Timing:
    """client-go's defaults, in seconds."""

    duration: int = 15
    """How long others leave an unrenewed claim alone."""
    renew_within: float = 10
    """A leader that has not renewed for so long steps down: well before others may take over."""
    retry: float = 2


class Leader:
    """One candidate. It leads at most once: one that has lost the lead is best started anew.

    Ask `is_leader` before each piece of work that only a leader may do; `on_lost` may come a few seconds late.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        identity: str,
        *,
        on_lost: Callable[[], None] = lambda: None,
        timing: Timing | None = None,
        clock: Clock | None = None,
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        """Take the Lease's name, a name that no other process has or will have, and whom to tell of a lost lead (in
        the thread that renews).
        """
        self._connection = connection.with_patience(_ONCE)
        self._name = name
        self._identity = identity
        self._on_lost = on_lost
        self._timing = timing or Timing()
        self._clock = clock or SystemClock()
        self._steady = steady
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None
        self._ended = Event()
        self._turn = Lock()
        self._thread: Thread | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this process leads, by the clock: also right after the process was stopped for a while."""
        renewed_at = self._renewed_at
        return renewed_at is not None and self._steady() - renewed_at < self._timing.renew_within

    def wait(self, stop: Event) -> bool:
        """Wait until this process leads, and from then on renew in a thread. False if `stop` was set before."""
        while not stop.is_set():
            if self.attempt():
                self._thread = Thread(target=self._keep, name="leader", daemon=True)
                self._thread.start()
                return True
            stop.wait(self._timing.retry * random.uniform(1, 1.2))  # noqa: S311 - only spreads
        return False

    def attempt(self) -> bool:
        """Try once to take or to renew the lead. Tells whether that succeeded."""
        with self._turn:
            if self._ended.is_set():
                return False
            asked_at = self._steady()
            try:
                held = self._renewed() if self._leads_as_seen() else self._taken()
            except KubeError as error:
                log.warning("can't %s the lead: %s", "renew" if self._renewed_at is not None else "take", error)
                return False
            if held is None:
                return False
            self._see(held)
            if self._renewed_at is None:
                log.info("%s leads now", self._identity)
            self._renewed_at = asked_at
            return True

    def close(self) -> None:
        """Step down, so that another may take over at once. What only a leader may do must be done before."""
        with self._turn:
            led, seen = self.is_leader, self._seen
            self._ended.set()
            self._renewed_at = None
            if led and seen is not None:
                self._release(seen)
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _keep(self) -> None:
        """Renew until that fails for too long, or until closed."""
        while not self._ended.wait(self._timing.retry):
            if not self.attempt() and not self.is_leader and not self._ended.is_set():
                log.error("%s has lost the lead", self._identity)
                self._ended.set()
                self._on_lost()

    def _leads_as_seen(self) -> bool:
        return self._renewed_at is not None and self._seen is not None

    def _renewed(self) -> Lease | None:
        """Renew by what was last seen, without reading it again; whoever changed it meanwhile may have taken over."""
        assert self._seen is not None
        try:
            return self._write(self._seen, self._claim(self._seen.spec))
        except (Conflict, NotFound):
            return self._taken()

    def _taken(self) -> Lease | None:
        """Read the Lease, and claim it if it is free or ours. None if it is another's."""
        try:
            found = self._connection.get(LEASES, self._name, Lease)
        except NotFound:
            return self._created()
        if self._seen is None or found.metadata.resource_version != self._seen.metadata.resource_version:
            self._see(found)
        if self._held_by_another(found.spec):
            return None
        try:
            return self._write(found, self._claim(found.spec))
        except Conflict:  # another was quicker
            return None

    def _held_by_another(self, spec: LeaseSpec) -> bool:
        if not spec.holder_identity or spec.holder_identity == self._identity:
            return False
        duration = spec.lease_duration_seconds or self._timing.duration
        return self._steady() < self._seen_at + duration

    def _see(self, lease: Lease) -> None:
        self._seen = lease
        self._seen_at = self._steady()

    def _claim(self, before: LeaseSpec) -> LeaseSpec:
        now = Ms(self._clock.now_ms())
        ours = before.holder_identity == self._identity
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=self._timing.duration,
            acquire_time=before.acquire_time if ours else now,
            renew_time=now,
            lease_transitions=(before.lease_transitions or 0) + (0 if ours else 1),
        )

    def _created(self) -> Lease | None:
        spec = replace(self._claim(LeaseSpec()), lease_transitions=0)
        try:
            return self._connection.create(LEASES, _body(self._name, spec), Lease)
        except Conflict:
            return None

    def _write(self, before: Lease, spec: LeaseSpec) -> Lease:
        body = _body(self._name, spec, before.metadata.resource_version)
        return self._connection.patch(LEASES, self._name, body, Lease)

    def _release(self, seen: Lease) -> None:
        now = Ms(self._clock.now_ms())
        spec = replace(seen.spec, holder_identity=None, lease_duration_seconds=1, acquire_time=now, renew_time=now)
        try:
            self._write(seen, spec)
        except KubeError as error:  # it lapses by itself
            log.warning("can't give up the lead: %s", error)


def _body(name: str, spec: LeaseSpec, resource_version: str = "") -> dict[str, object]:
    """What makes a Lease, or as a merge patch changes one: only from the given version on."""
    metadata = {"name": name}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": spec.holder_identity,
            "leaseDurationSeconds": spec.lease_duration_seconds,
            "acquireTime": None if spec.acquire_time is None else micro_time(spec.acquire_time),
            "renewTime": None if spec.renew_time is None else micro_time(spec.renew_time),
            "leaseTransitions": spec.lease_transitions,
        },
    }
