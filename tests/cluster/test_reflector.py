"""A copy of what the API server holds: kept by one list and watches, through all that may go wrong with them."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sublet_hub.cluster.kube.currency import SETTLE_SECONDS, SETTLED_SECONDS, Currency
from sublet_hub.cluster.kube.errors import PODS, Gone, Refused
from sublet_hub.cluster.kube.mirror import Snapshot
from sublet_hub.cluster.kube.objects import Pod
from sublet_hub.cluster.kube.reflector import Pace, Reflector
from tests.cluster import kube_state
from tests.cluster.kube_server import kube_server
from tests.cluster.kube_state import CUT, Json, KubeServer

PACE = Pace(silence_seconds=20, first_delay_seconds=0.001, most_delay_seconds=0.01)
LEASE = "sublet.dev/lease"


@pytest.fixture
def kube() -> Iterator[KubeServer]:
    with kube_server() as made:
        yield made


@dataclass
class Copy:
    """A reflector at work on the server's pods."""

    kube: KubeServer
    reflector: Reflector[Pod]
    changes: list[int] = field(default_factory=list)

    def seen(self) -> Snapshot[Pod]:
        return self.reflector.snapshot()

    def phases(self) -> dict[str, str]:
        return {each.metadata.name: each.status.phase for each in self.seen().items.values()}

    def until(self, **phases: str) -> None:
        self.kube.until(lambda: self.phases() == phases)

    def watches(self, number: int) -> None:
        """Wait for the so-many-th watch to be open."""
        self.kube.until(lambda: self.kube.count("WATCH") >= number and self.kube.watching == 1)


@pytest.fixture
def copy(kube: KubeServer) -> Iterator[Copy]:
    yield from _copy(kube, PACE)


def _copy(kube: KubeServer, pace: Pace) -> Iterator[Copy]:
    made: list[Copy] = []
    reflector = Reflector(
        kube.connection(),
        PODS,
        Pod,
        keep_deleted=lambda pod: pod.metadata.label(LEASE) is not None,
        on_change=lambda: made[0].changes.append(1),
        pace=pace,
    )
    made.append(Copy(kube, reflector))
    try:
        yield made[0]
    finally:
        reflector.close()
        assert not reflector._thread.is_alive()


def pod(name: str, phase: str = "Running", **labels: str) -> Json:
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}


def leased(name: str, phase: str = "Running") -> Json:
    made = pod(name, phase)
    made["metadata"]["labels"] = {LEASE: name}
    return made


def test_it_lists_in_pages_then_follows_events(kube: KubeServer, copy: Copy) -> None:
    kube.page_items = 2
    for number in range(5):
        kube.put(kube_state.PODS, pod(f"p{number}"))
    copy.reflector.start()
    assert copy.reflector.wait_synced(10)
    assert len(copy.seen().items) == 5
    kube.put(kube_state.PODS, pod("p0", "Failed"))
    kube.put(kube_state.PODS, pod("new", "Pending"))
    kube.remove(kube_state.PODS, "p1")
    copy.until(p0="Failed", p2="Running", p3="Running", p4="Running", new="Pending")
    assert (kube.count("GET"), kube.count("WATCH")) == (3, 1)
    assert len(copy.changes) == 4


def test_a_snapshot_stays_as_it_was(kube: KubeServer, copy: Copy) -> None:
    kube.put(kube_state.PODS, pod("one"))
    kube.put(kube_state.PODS, pod("two"))
    copy.reflector.start()
    copy.reflector.wait_synced(10)
    before = copy.seen()
    assert copy.seen().items is before.items
    kube.put(kube_state.PODS, pod("one", "Failed"))
    copy.until(one="Failed", two="Running")
    after = copy.seen()
    assert {each.status.phase for each in before.items.values()} == {"Running"}
    assert after.version > before.version
    [two] = [uid for uid, each in before.items.items() if each.metadata.name == "two"]
    assert after.items[two] is before.items[two]


def test_a_normal_end_of_a_watch_leads_to_the_next_one_without_a_list(kube: KubeServer, copy: Copy) -> None:
    copy.reflector.start()
    for number in range(1, 6):
        copy.watches(number)
        kube.put(kube_state.PODS, pod("one", "Pending" if number % 2 else "Running"))
        copy.until(one="Pending" if number % 2 else "Running")
        kube.end_watches(cut=number > 2)
    copy.watches(6)
    assert kube.count("GET") == 1
    assert kube.count("WATCH") == 6


def test_what_happens_between_two_watches_is_told_by_the_next(kube: KubeServer, copy: Copy) -> None:
    kube.put(kube_state.PODS, leased("one"))
    copy.reflector.start()
    copy.watches(1)
    kube.fail("WATCH", 503, times=2)
    kube.end_watches(cut=True)
    kube.put(kube_state.PODS, leased("one", "Succeeded"))
    kube.remove(kube_state.PODS, "one")
    kube.until(lambda: len(copy.seen().deleted) == 1)
    [gone] = copy.seen().deleted.values()
    assert (gone.last.status.phase, gone.missed) == ("Succeeded", False)
    assert kube.count("GET") == 1
    copy.reflector.drop(gone.last.metadata.uid)
    copy.reflector.drop(gone.last.metadata.uid)
    assert not copy.seen().deleted


def test_a_bookmark_moves_the_version_on(kube: KubeServer, copy: Copy) -> None:
    copy.reflector.start()
    copy.watches(1)
    kube.bookmark()
    at = str(kube.version)
    kube.until(lambda: copy.reflector._version == at)
    kube.end_watches()
    copy.watches(2)
    assert kube.requests[-1].query["resourceVersion"] == at
    assert kube.requests[-1].query["allowWatchBookmarks"] == "true"
    assert not copy.seen().items


@pytest.mark.parametrize("how", ["as a status", "as an event"])
def test_a_version_that_is_too_old_leads_to_a_new_list(kube: KubeServer, copy: Copy, how: str) -> None:
    kube.put(kube_state.PODS, leased("one"))
    kube.put(kube_state.PODS, pod("unleased"))
    kube.put(kube_state.PODS, pod("two"))
    copy.reflector.start()
    copy.watches(1)
    [one] = [each for each in copy.seen().items.values() if each.metadata.name == "one"]
    if how == "as an event":
        kube.silence()
    kube.remove(kube_state.PODS, "one")
    kube.remove(kube_state.PODS, "unleased")
    if how == "as an event":
        kube.history.clear()
        kube.error_event(410)
        kube.silence(is_so=False)
    else:
        kube.end_watches()
        kube.expire()
    kube.until(lambda: kube.count("GET") == 2 and kube.watching == 1)
    copy.until(two="Running")
    if how == "as an event":  # else the deletions may have been told before the watches ended
        [gone] = copy.seen().deleted.values()
        assert (gone.last, gone.missed) == (one, True)


def test_a_deletion_during_a_disconnect_is_noticed(kube: KubeServer, copy: Copy) -> None:
    kube.put(kube_state.PODS, leased("one"))
    copy.reflector.start()
    copy.watches(1)
    [before] = copy.seen().items.values()
    kube.silence()  # so that the deletion is not told
    kube.remove(kube_state.PODS, "one")
    kube.put(kube_state.PODS, leased("one", "Pending"))  # of the same name, but another
    kube.fail("WATCH", CUT)
    kube.expire()
    kube.end_watches(cut=True)
    kube.silence(is_so=False)
    copy.until(one="Pending")
    [gone] = copy.seen().deleted.values()
    assert (gone.last, gone.missed) == (before, True)
    assert gone.last.metadata.uid not in copy.seen().items


def test_a_list_that_takes_too_long_is_begun_again(kube: KubeServer, copy: Copy) -> None:
    kube.page_items = 1
    for number in range(3):
        kube.put(kube_state.PODS, pod(f"p{number}"))
    kube.fail("GET", 410)
    copy.reflector.start()
    copy.watches(1)
    assert len(copy.seen().items) == 3
    assert kube.count("GET") == 4


def test_a_list_that_breaks_off_changes_nothing(kube: KubeServer, copy: Copy) -> None:
    kube.put(kube_state.PODS, leased("one"))
    copy.reflector.start()
    copy.watches(1)
    kube.fail("WATCH", 410)
    kube.fail("GET", 403, times=3)
    kube.end_watches()
    kube.until(lambda: copy.reflector.trouble is not None and "may not list pods" in copy.reflector.trouble)
    assert (copy.phases(), copy.seen().deleted) == ({"one": "Running"}, {})
    kube.until(lambda: copy.reflector.trouble is None)
    assert copy.reflector.failures >= 4


def test_a_silent_watch_is_begun_again(kube: KubeServer) -> None:
    for copy in _copy(kube, Pace(silence_seconds=0.1, first_delay_seconds=0.001, most_delay_seconds=0.01)):
        copy.reflector.start()
        copy.watches(1)
        kube.silence()
        kube.put(kube_state.PODS, pod("one"))
        kube.until(lambda: kube.count("WATCH") >= 2)
        kube.silence(is_so=False)
        copy.until(one="Running")
        assert kube.count("GET") == 1


def test_it_waits_as_long_as_a_busy_server_asks(copy: Copy) -> None:
    error = Gone("x")
    assert copy.reflector._after(error) == 0
    assert 0 < copy.reflector._after(error) <= 0.01
    error.retry_after_seconds = 2
    assert copy.reflector._after(error) == 2
    error.retry_after_seconds = 1e9
    assert copy.reflector._after(error) == 60


def test_it_is_closed_while_it_waits_for_news_or_for_the_server(kube: KubeServer) -> None:
    for copy in _copy(kube, Pace()):  # _copy sees to it that the thread ends
        copy.reflector.start()
        copy.watches(1)
    kube.fail("GET", 403)
    for copy in _copy(kube, Pace(first_delay_seconds=300)):
        copy.reflector.start()
        kube.until(lambda: copy.reflector.failures == 1)  # noqa: B023 - called before the next one


def test_requests_do_not_grow_with_events(kube: KubeServer, copy: Copy) -> None:
    copy.reflector.start()
    copy.watches(1)
    for number in range(200):
        kube.put(kube_state.PODS, pod("one", "Pending" if number % 2 else "Running"))
    copy.until(one="Pending")
    assert len(kube.requests) == 2


def test_memory_does_not_grow_with_events(copy: Copy) -> None:
    def churn(times: int) -> int:
        for number in range(times):
            for kind in ("ADDED", "MODIFIED", "DELETED"):
                item = pod(f"p{number}")
                item["metadata"] |= {"uid": str(number), "resourceVersion": str(number)}
                copy.reflector._hear(json.dumps({"type": kind, "object": item}).encode())
                copy.seen()
        return sys.getallocatedblocks()

    copy.changes = _Uncounted()
    before = churn(100)
    assert churn(1000) - before < 500


class _Uncounted(list[int]):
    def append(self, _: int) -> None:
        pass


def test_an_event_that_makes_no_sense_leads_to_a_new_list(copy: Copy) -> None:
    with pytest.raises(Refused, match="can't be understood"):
        copy.reflector._hear(b'{"type": "ADDED", "object": {"metadata": 5}}')
    copy.reflector._version = "5"
    copy.reflector._after(Refused("x"))
    assert copy.reflector._version is None


class Clocks:
    """Both clocks, at one moment."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now_ms(self) -> int:
        return int(self.at * 1000)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def currency(clocks: Clocks) -> Currency:
    return Currency(75, clocks, lambda: clocks.at)


def test_nothing_is_known_before_the_first_list(clocks: Clocks, currency: Currency) -> None:
    assert currency.at_ms() is None
    currency.listed(999_000)
    assert currency.at_ms() == 999_000
    clocks.at += 100
    assert currency.at_ms() == 999_000


def test_what_is_known_is_current_while_a_watch_is_open_and_heard(clocks: Clocks, currency: Currency) -> None:
    currency.listed(999_000)
    currency.opened()
    assert currency.at_ms() == 999_000, "what happened before has still to be told"
    clocks.at += SETTLE_SECONDS
    assert currency.at_ms() == clocks.now_ms()
    clocks.at += 74
    assert currency.at_ms() == clocks.now_ms()
    clocks.at += 1
    assert currency.at_ms() == 1_000_000, "too long without a word: true up to when it was last heard"
    currency.heard()
    assert currency.at_ms() == clocks.now_ms()


def test_while_the_past_is_told_nothing_is_current(clocks: Clocks, currency: Currency) -> None:
    currency.listed(999_000)
    currency.opened()
    for _ in range(int(SETTLED_SECONDS / 0.25) - 1):
        clocks.at += 0.25
        currency.heard()
        assert currency.at_ms() == 999_000
    clocks.at += 0.25
    assert currency.at_ms() == clocks.now_ms(), "something may happen all the time"


def test_a_bookmark_says_that_all_was_told(clocks: Clocks, currency: Currency) -> None:
    currency.listed(999_000)
    currency.opened()
    currency.heard(all_told=True)
    assert currency.at_ms() == 1_000_000


@pytest.mark.parametrize(
    ("doubt_seconds", "frozen_at"), [(0, 1_060_000), (3, 1_057_000), (15, 1_050_000), (math.inf, 1_050_000)]
)
def test_it_freezes_when_the_watch_ends(
    clocks: Clocks, currency: Currency, doubt_seconds: float, frozen_at: int
) -> None:
    currency.listed(999_000)
    currency.opened()
    clocks.at += 50
    currency.heard()
    clocks.at += 10
    currency.closed(doubt_seconds)
    clocks.at += 100
    assert currency.at_ms() == frozen_at
    currency.opened()
    assert currency.at_ms() == frozen_at
    clocks.at += 1
    assert currency.at_ms() == clocks.now_ms()


def test_a_reflector_tells_how_current_it_is(kube: KubeServer, copy: Copy) -> None:
    assert copy.seen().current_at_ms is None
    copy.reflector.start()
    copy.watches(1)
    kube.bookmark()
    kube.until(lambda: _moves(copy))
    kube.fail("WATCH", 503, times=10_000)
    kube.end_watches()
    kube.until(lambda: copy.reflector.trouble is not None)
    assert not _moves(copy)


def _moves(copy: Copy) -> bool:
    before = copy.reflector.current_at_ms()
    threading.Event().wait(0.005)
    return copy.reflector.current_at_ms() != before
