"""Keeping a copy of one kind of object: one list, then watches, in a thread.

The list asks for the newest state (no resource version), so it is never older than what is known; watches go on from
the version of the last event or bookmark, which is handed back as it came. A version that the server no longer
remembers (410 Gone) leads to a new list. Source of the protocol:
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from threading import Event, Lock, Thread
from typing import Any, Generic

import msgspec

from sublet_hub.clock import Clock, SystemClock
from sublet_hub.cluster.kube import objects
from sublet_hub.cluster.kube.connection import BREAK_SECONDS, Connection
from sublet_hub.cluster.kube.currency import Currency
from sublet_hub.cluster.kube.errors import Away, Gone, KubeError, Refused, Resource, Silent
from sublet_hub.cluster.kube.exchange import Patience
from sublet_hub.cluster.kube.mirror import Mirror, Snapshot
from sublet_hub.cluster.kube.objects import Object, ObjectT, Status
from sublet_hub.cluster.kube.watching import Watch

log = logging.getLogger(__name__)

_LASTED_SECONDS = 1.0
"""A watch that ends sooner counts as a failure: else a server that ends them at once would be asked without end."""

_TRIES_OF_A_VERSION = 10
"""After so many failures in a row, list anew: it may be our version that the server fails on."""

_MOST_ASKED_SECONDS = 60.0
"""The longest wait that a server can ask for."""

_DECODE_BOOKMARK = objects.decoder(Object)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the API server is asked."""

    watch_seconds: int = 300
    """How long a watch lasts, up to a fifth less at random."""
    silence_seconds: float = 75
    """Without a word for so long a watch is begun again: somewhat more than a minute, the time between bookmarks."""
    first_delay_seconds: float = 0.5
    """After a failure; doubled with each further one, and up to half of it less, at random."""
    most_delay_seconds: float = 10


class Reflector(Generic[ObjectT]):
    """A copy of all objects of a kind in a namespace (or the cluster), kept current by a thread of its own."""

    def __init__(
        self,
        connection: Connection,
        resource: Resource,
        kind: type[ObjectT],
        *,
        namespace: str = "",
        keep_deleted: Callable[[ObjectT], bool] = lambda _: False,
        on_change: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Take which deleted objects to keep until they are dropped, and whom to tell of every change (in the thread
        of the reflector: only to be woken).
        """
        self._connection = connection.with_patience(Patience(rest_seconds=0))
        self._resource = resource
        self._kind = kind
        self._namespace = namespace
        self._on_change = on_change
        self._pace = pace or Pace()
        self._clock = clock or SystemClock()
        self._mirror: Mirror[ObjectT] = Mirror(keep_deleted)
        self._lock = Lock()
        self._currency = Currency(self._pace.silence_seconds, self._clock)
        self._version: str | None = None
        self._failures_in_row = 0
        self._decode_event = msgspec.json.Decoder(objects.Event)
        self._decode_item: msgspec.json.Decoder[Any] = objects.decoder(kind)
        self._synced = Event()
        self._stop = Event()
        self._watch: Watch | None = None
        self._thread = Thread(target=self._run, name=f"reflector of {resource.plural}", daemon=True)
        self.trouble: str | None = None
        """A sentence, while the copy can't be kept current."""
        self.failures = 0
        """How often that happened."""

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End, also in the midst of waiting for news."""
        self._stop.set()
        with self._lock:
            if self._watch is not None:
                self._watch.cut()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def wait_synced(self, timeout_seconds: float) -> bool:
        """Wait for the first whole list. False if it did not come in time."""
        return self._synced.wait(timeout_seconds)

    def snapshot(self) -> Snapshot[ObjectT]:
        """Look at the copy. Cheap, however many objects there are."""
        return self._mirror.snapshot(self.current_at_ms())

    def current_at_ms(self) -> int | None:
        """Up to when the copy is known to be true; see `Currency`."""
        with self._lock:
            return self._currency.at_ms()

    def drop(self, uid: str) -> None:
        """Forget a deleted object."""
        self._mirror.drop(uid)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._round()
                wait = 0.0
            except KubeError as error:
                if not self._stop.is_set():
                    log.warning("the copy of %s is not current: %s", self._resource.plural, error)
                wait = self._after(error)
            except Exception as error:  # the top of the loop: whatever it is, a new list makes the copy right
                log.exception("the copy of %s is not current", self._resource.plural)
                wait = self._after(error)
            self._stop.wait(wait)

    def _round(self) -> None:
        """List if there is nothing to go on from, then watch until that ends."""
        if self._version is None:
            self._list()
        begun = time.monotonic()
        doubt_seconds = 0.0
        try:
            self._follow()
        except Silent as error:
            doubt_seconds = math.inf
            log.info("a watch of %s fell silent: %s", self._resource.plural, error)
        except Away:
            doubt_seconds = BREAK_SECONDS
            raise
        finally:
            with self._lock:
                self._currency.closed(doubt_seconds)
            lasted = time.monotonic() - begun >= _LASTED_SECONDS
            if lasted:
                self._failures_in_row = 0
        if not lasted:
            raise Away("a watch ended at once")

    def _list(self) -> None:
        asked_at_ms = self._clock.now_ms()
        self._mirror.replace(self._listed(), asked_at_ms)
        with self._lock:
            self._currency.listed(asked_at_ms)
        self._synced.set()
        self._on_change()

    def _listed(self) -> Iterator[ObjectT]:
        version = None
        for page in self._connection.pages(self._resource, self._kind, namespace=self._namespace):
            version = page.metadata.resource_version
            yield from page.items or ()
        self._version = version

    def _follow(self) -> None:
        """One watch, from its beginning to its end."""
        assert self._version is not None
        pace = self._pace
        watch = self._connection.watch(
            self._resource,
            self._version,
            namespace=self._namespace,
            seconds=max(1, round(pace.watch_seconds * random.uniform(0.8, 1))),  # noqa: S311 - only spreads
            silence_seconds=pace.silence_seconds,
        )
        with self._lock:
            self._watch = watch
        if self._stop.is_set():
            return
        with watch:
            with self._lock:
                self._currency.opened()
            self.trouble = None
            for line in watch:
                if line:
                    self._hear(line)

    def _hear(self, line: bytes) -> None:
        """Take over one event."""
        try:
            event = self._decode_event.decode(line)
            if event.type == "ERROR":
                raise _meant(msgspec.json.decode(event.object, type=Status), self._resource)
            if event.type == "BOOKMARK":
                self._version = _DECODE_BOOKMARK.decode(event.object).metadata.resource_version
            else:
                self._take(event.type, self._decode_item.decode(event.object))
        except msgspec.MsgspecError as error:
            raise Refused(f"an event of a watch can't be understood: {error}") from error
        with self._lock:
            self._currency.heard(all_told=event.type == "BOOKMARK")
        if event.type != "BOOKMARK":
            self._on_change()

    def _take(self, kind: str, item: ObjectT) -> None:
        if kind == "DELETED":
            self._mirror.remove(item, self._clock.now_ms())
        else:
            self._mirror.put(item)
        self._version = item.metadata.resource_version

    def _after(self, error: Exception) -> float:
        """Note a failure; tell for how long to wait."""
        self.failures += 1
        self._failures_in_row += 1
        self.trouble = str(error)
        if not isinstance(error, Away) or self._failures_in_row % _TRIES_OF_A_VERSION == 0:
            self._version = None
        if isinstance(error, Gone) and self._failures_in_row == 1:
            return 0.0
        pace = self._pace
        doubled = pace.first_delay_seconds * 2 ** min(self._failures_in_row - 1, 16)
        wait: float = min(doubled, pace.most_delay_seconds) * random.uniform(0.5, 1)  # noqa: S311 - only spreads
        asked_for = error.retry_after_seconds if isinstance(error, KubeError) else None
        return max(wait, min(asked_for or 0.0, _MOST_ASKED_SECONDS))


def _meant(status: Status, resource: Resource) -> KubeError:
    """Say what an event of the type ERROR means."""
    message = f"the watch of {resource.plural} ended: {status.message or status.reason}"
    return Gone(message) if status.code == HTTPStatus.GONE else Refused(message)
