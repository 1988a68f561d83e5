"""One of several processes leads: never two at once, and never none for longer than promised."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from sublet_hub.cluster.kube.election import Leader, Timing
from tests.cluster.kube_server import kube_server
from tests.cluster.kube_state import CUT, LEASES, Json, KubeServer

NAME = "sublet-meter"


class Clocks:
    """Both clocks, at one moment."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.25

    def now_ms(self) -> int:
        return int(self.at * 1000)

    def steady(self) -> float:
        return self.at


@pytest.fixture
def kube() -> Iterator[KubeServer]:
    with kube_server() as made:
        yield made


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def candidate(kube: KubeServer, clocks: Clocks, identity: str) -> Leader:
    return Leader(kube.connection(), NAME, identity, clock=clocks, steady=clocks.steady)


def spec(kube: KubeServer) -> Json:
    made: Json = kube.read(LEASES, NAME)["spec"]
    return made


def leads(leader: Leader) -> bool:
    return leader.is_leader


def test_the_first_leads_and_the_second_waits(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    assert not leads(first)
    assert first.attempt()
    assert spec(kube) == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2027-01-15T08:00:00.250000Z",
        "renewTime": "2027-01-15T08:00:00.250000Z",
        "leaseTransitions": 0,
    }
    assert not second.attempt()
    assert (leads(first), leads(second)) == (True, False)


def test_renewing_costs_one_request_and_keeps_the_standby_out(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    first.attempt()
    before = len(kube.requests)
    for _ in range(20):
        clocks.at += 2
        assert first.attempt()
    assert len(kube.requests) - before == 20
    for _ in range(20):
        clocks.at += 2
        assert first.attempt()
        assert not second.attempt()
    assert spec(kube)["acquireTime"] == "2027-01-15T08:00:00.250000Z"
    assert spec(kube)["renewTime"] == "2027-01-15T08:01:20.250000Z"


def test_a_dead_leader_is_followed_after_the_duration_and_not_before(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    first.attempt()
    clocks.at += 1000  # when the standby first looks, however old the claim says it is: clocks need not agree
    assert not second.attempt()
    clocks.at += 14.9
    assert not second.attempt()
    clocks.at += 0.2
    assert second.attempt()
    assert (leads(first), leads(second)) == (False, True)
    assert (spec(kube)["holderIdentity"], spec(kube)["leaseTransitions"]) == ("b", 1)
    assert not first.attempt()
    assert not leads(first)


def test_a_leader_that_cannot_renew_steps_down_before_another_may_lead(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    first.attempt()
    second.attempt()
    kube.fail("PATCH", 503, times=3)
    for _ in range(3):
        clocks.at += 3
        assert not first.attempt()
    assert leads(first)
    clocks.at += 1
    assert not leads(first)
    assert not second.attempt()
    clocks.at += 5.1
    assert second.attempt()


def test_a_leader_can_make_up_for_a_late_renewal_if_nobody_took_over(kube: KubeServer, clocks: Clocks) -> None:
    first = candidate(kube, clocks, "a")
    first.attempt()
    clocks.at += 11
    assert not leads(first)
    assert first.attempt()
    assert leads(first)


def test_a_clean_stop_lets_the_standby_lead_at_once(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    first.attempt()
    assert not second.attempt()
    first.close()
    assert not leads(first)
    assert "holderIdentity" not in spec(kube)
    assert second.attempt()
    assert not first.attempt(), "who was closed stays out"
    assert spec(kube)["leaseTransitions"] == 1


def test_who_does_not_lead_gives_nothing_up(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    first.attempt()
    second.attempt()
    second.close()
    assert spec(kube)["holderIdentity"] == "a"


def test_of_two_that_make_the_lease_at_once_one_leads(kube: KubeServer, clocks: Clocks) -> None:
    first, second = candidate(kube, clocks, "a"), candidate(kube, clocks, "b")
    kube.fail("GET", 404, times=2)
    assert first.attempt()
    assert not second.attempt()
    assert spec(kube)["holderIdentity"] == "a"


def test_of_two_that_take_over_at_once_one_leads(kube: KubeServer, clocks: Clocks) -> None:
    dead, first, second = (candidate(kube, clocks, name) for name in "abc")
    dead.attempt()
    assert not first.attempt()
    assert not second.attempt()
    clocks.at += 16
    kube.fail("PATCH", 409)  # as the server says to whom of the two writes second
    assert not second.attempt()
    assert first.attempt()
    assert not second.attempt()
    assert spec(kube)["holderIdentity"] == "b"


def test_an_answer_that_was_lost_does_not_cost_the_lead(kube: KubeServer, clocks: Clocks) -> None:
    first = candidate(kube, clocks, "a")
    first.attempt()
    # The renewal is carried out, but its answer never arrives: what is held is newer than what was last seen.
    held = kube.read(LEASES, NAME)
    held["spec"]["renewTime"] = "2027-01-15T08:00:02.250000Z"
    kube.put(LEASES, held)
    kube.fail("PATCH", CUT)
    clocks.at += 2
    assert not first.attempt()
    clocks.at += 2
    assert first.attempt()
    assert spec(kube)["leaseTransitions"] == 0


def test_a_lease_that_was_deleted_is_made_again(kube: KubeServer, clocks: Clocks) -> None:
    first = candidate(kube, clocks, "a")
    first.attempt()
    kube.remove(LEASES, NAME)
    clocks.at += 2
    assert first.attempt()
    assert spec(kube)["holderIdentity"] == "a"


def test_what_others_wrote_into_the_lease_stays(kube: KubeServer, clocks: Clocks) -> None:
    kube.put(LEASES, {"kind": "Lease", "metadata": {"name": NAME, "labels": {"app": "x"}}, "spec": {}})
    assert candidate(kube, clocks, "a").attempt()
    assert kube.read(LEASES, NAME)["metadata"]["labels"] == {"app": "x"}


def test_it_waits_renews_in_a_thread_and_tells_when_the_lead_is_lost(kube: KubeServer) -> None:
    lost, stop = Event(), Event()
    timing = Timing(duration=15, renew_within=0.2, retry=0.01)
    leader = Leader(kube.connection(), NAME, "a", on_lost=lost.set, timing=timing)
    kube.fail("GET", 503, times=2)
    assert leader.wait(stop)
    kube.until(lambda: kube.count("PATCH") >= 3)
    assert leads(leader)
    assert not lost.is_set()
    kube.fail("PATCH", 503, times=100_000)
    assert lost.wait(10)
    assert not leads(leader)
    leader.close()
    assert leader._thread is not None
    assert not leader._thread.is_alive()


def test_waiting_ends_when_told_to_stop(kube: KubeServer, clocks: Clocks) -> None:
    candidate(kube, clocks, "a").attempt()
    stop = Event()
    standby = candidate(kube, clocks, "b")
    stop.set()
    assert not standby.wait(stop)
