"""What the meter's cluster asks of the API server, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sublet_hub.cluster.base import LeaseUnknownError, Observed, Stray
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.cluster import BLIND_MS, KubeCluster, KubeOptions
from sublet_hub.cluster.kube.errors import KubeError
from sublet_hub.cluster.kube.reflector import Pace
from tests.cluster.kube_server import kube_server
from tests.cluster.kube_state import NAMESPACE, PODS, Answer, Json, KubeServer

NODES = "/api/v1/nodes"
ID = "0123456789abcdef0123456789abcdef"
DEADLINE = 1_795_000_000_000
PACE = Pace(silence_seconds=20, first_delay_seconds=0.001, most_delay_seconds=0.01)
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
RUNNING = {"running": {"startedAt": "2026-11-23T10:00:05Z"}}
OVER = {
    "terminated": {
        "exitCode": 0,
        "reason": "Completed",
        "startedAt": "2026-11-23T10:00:05Z",
        "finishedAt": "2026-11-23T10:30:00Z",
    }
}
WAITING = {"waiting": {"reason": "ContainerCreating"}}


class SteppedClock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.at_ms = 1_796_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


@dataclass
class Meter:
    """A cluster at work on the server's pods."""

    kube: KubeServer
    cluster: KubeCluster
    clock: SteppedClock

    def put(self, state: Json | None = None, **metadata: object) -> Json:
        """Put a lease's pod there, or change it, and wait until that is known."""
        stored = self.kube.put(PODS, pod(state, **metadata))
        self.until_known(stored["metadata"]["resourceVersion"])
        return stored

    def until_known(self, version: str | None = None) -> None:
        """Wait until all that is there is known, or one pod at this version."""
        wanted = {version} if version else {each["metadata"]["resourceVersion"] for each in self.kube.list(PODS)}

        def is_known() -> bool:
            seen = self.cluster._pods.snapshot().items.values()
            return wanted <= {each.metadata.resource_version for each in seen}

        self.kube.until(is_known)

    def observed(self) -> Observed:
        (only,) = self.cluster.observe()
        return only

    def asked(self) -> list[str]:
        """What was asked for since the beginning, but for lists and watches."""
        return [each.method for each in self.kube.requests if each.method != "GET"]


def pod(state: Json | None = None, **metadata: object) -> Json:
    identity = {
        names.LEASE: ID,
        names.USER: "alice",
        names.ACCOUNT: "user:alice",
        names.FLAVOR: "gpu-1x",
        names.TIER: "surplus",
    }
    statuses = [] if state is None else [{"name": "notebook", "state": state}]
    return {
        "metadata": {
            "name": names.pod_name("alice", "", ID),
            "labels": {key: names.label_value(value) for key, value in identity.items()},
            "annotations": identity,
            "finalizers": [names.FINALIZER],
            **metadata,
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "notebook"}, {"name": "warden"}]},
        "status": {"phase": "Running", "startTime": "2026-11-23T10:00:00Z", "containerStatuses": statuses},
    }


NAME = names.pod_name("alice", "", ID)


@pytest.fixture
def meter() -> Iterator[Meter]:
    with kube_server() as kube:
        kube.put(NODES, {"metadata": {"name": "n1"}, "status": READY})
        clock = SteppedClock()
        cluster = KubeCluster(kube.connection(), KubeOptions(NAMESPACE), pace=PACE, clock=clock)
        cluster.start()
        kube.until(lambda: kube.watching == 2)
        kube.bookmark()  # all is told
        kube.until(lambda: cluster._pods.current_at_ms() == clock.at_ms)
        yield Meter(kube, cluster, clock)
        cluster.close()


def test_observing_asks_nothing(meter: Meter) -> None:
    meter.put(RUNNING)
    before = len(meter.kube.requests)
    for _ in range(20):
        meter.clock.at_ms += 1000
        assert meter.observed().alive_at_ms == meter.clock.at_ms
        assert meter.cluster.trouble() is None
        assert meter.cluster.strays() == ()
    assert len(meter.kube.requests) == before


def test_a_change_is_seen_though_nothing_else_is_read_again(meter: Meter) -> None:
    meter.put(RUNNING)
    assert meter.observed().running
    meter.put(OVER)
    assert (meter.observed().ended_at_ms, meter.observed().alive_at_ms) == (1_795_429_800_000, None)


def test_arming_is_one_patch_of_both_annotations(meter: Meter) -> None:
    stored = meter.put(RUNNING)
    meter.cluster.observe()
    meter.cluster.arm(ID, DEADLINE, "quota")
    assert meter.asked() == ["PATCH"]
    annotations = {names.DEADLINE: str(DEADLINE), names.DEADLINE_REASON: "quota"}
    wanted = {"metadata": {"uid": stored["metadata"]["uid"], "annotations": annotations}}
    assert meter.kube.requests[-1].body == wanted
    meter.until_known()
    assert meter.observed().armed_deadline_ms == DEADLINE


def test_only_an_order_lowers_what_can_never_be_raised_again(meter: Meter) -> None:
    meter.put(RUNNING)
    meter.cluster.observe()
    meter.cluster.arm(ID, DEADLINE, "quota")
    assert "spec" not in meter.kube.requests[-1].body
    meter.cluster.arm(ID, 1_795_428_000_000 + 60_000, "admin")  # the pod's start and a minute
    assert meter.kube.requests[-1].body["spec"] == {"activeDeadlineSeconds": 75}


def test_what_was_made_past_us_is_kept_from_vanishing_and_limited_without_a_warden(meter: Meter) -> None:
    by_hand = pod(RUNNING, finalizers=["example.org/other"])
    by_hand["spec"]["containers"] = [{"name": "notebook"}]
    stored = meter.kube.put(PODS, by_hand)
    meter.until_known()
    meter.cluster.observe()
    meter.cluster.arm(ID, 1_795_428_000_000 + 60_000, "quota")
    assert meter.asked() == ["PATCH"]
    body = meter.kube.requests[-1].body
    assert body["metadata"]["finalizers"] == ["example.org/other", names.FINALIZER]
    assert body["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
    assert body["spec"] == {"activeDeadlineSeconds": 75}
    assert not meter.observed().guarded


@pytest.mark.parametrize("reason", ["user", "idle"])
def test_what_can_be_taken_back_is_not_made_to_last_without_a_warden(meter: Meter, reason: str) -> None:
    by_hand = pod(RUNNING)
    by_hand["spec"]["containers"] = [{"name": "notebook"}]
    meter.kube.put(PODS, by_hand)
    meter.until_known()
    meter.cluster.observe()
    meter.cluster.arm(ID, 1_795_428_000_000 + 60_000, reason)
    assert "spec" not in meter.kube.requests[-1].body


def test_no_finalizer_is_put_on_what_is_being_deleted(meter: Meter) -> None:
    """The API server refuses that, and with it the deadline."""
    meter.put(RUNNING, finalizers=["example.org/other"], deletionTimestamp="2026-11-23T10:10:00Z")
    meter.cluster.observe()
    meter.cluster.arm(ID, DEADLINE, "quota")
    assert "finalizers" not in meter.kube.requests[-1].body["metadata"]


def test_arming_or_stopping_what_is_gone_says_so(meter: Meter) -> None:
    with pytest.raises(LeaseUnknownError):
        meter.cluster.arm(ID, DEADLINE, "quota")
    with pytest.raises(LeaseUnknownError):
        meter.cluster.stop(ID)
    meter.put(RUNNING)
    meter.cluster.observe()
    meter.kube.fail("PATCH", 404)
    with pytest.raises(LeaseUnknownError):
        meter.cluster.arm(ID, DEADLINE, "quota")


def test_another_pod_of_the_name_is_not_armed(meter: Meter) -> None:
    meter.put(RUNNING)
    meter.cluster.observe()
    meter.kube.silence()
    meter.kube.put(PODS, pod(RUNNING, uid="another"))
    with pytest.raises(KubeError, match="uid"):
        meter.cluster.arm(ID, DEADLINE, "quota")
    assert names.DEADLINE not in meter.kube.read(PODS, NAME)["metadata"]["annotations"]


def test_stopping_asks_once(meter: Meter) -> None:
    meter.put(RUNNING)
    meter.cluster.observe()
    meter.cluster.stop(ID)
    meter.until_known()
    meter.cluster.observe()
    meter.cluster.stop(ID)
    assert meter.asked() == ["DELETE"]
    assert meter.kube.read(PODS, NAME)["metadata"]["deletionTimestamp"]


def test_forgetting_takes_our_finalizer_off_and_deletes(meter: Meter) -> None:
    meter.put(OVER)
    meter.cluster.observe()
    meter.cluster.forget(ID)
    assert meter.asked() == ["PATCH", "DELETE"]
    meter.kube.until(lambda: not meter.cluster._pods.snapshot().items)
    assert meter.observed().ended_at_ms == 1_795_429_800_000  # it is told until it is forgotten
    meter.cluster.forget(ID)
    assert meter.cluster.observe() == []
    meter.cluster.forget(ID)
    assert meter.asked() == ["PATCH", "DELETE"]


def test_forgetting_leaves_the_finalizers_of_others(meter: Meter) -> None:
    meter.put(OVER, finalizers=["example.org/one", names.FINALIZER, "example.org/two"])
    meter.cluster.observe()
    meter.cluster.forget(ID)
    assert meter.kube.read(PODS, NAME)["metadata"]["finalizers"] == ["example.org/one", "example.org/two"]


def test_a_finalizer_that_somebody_else_takes_off_at_the_same_time_does_not_come_back(meter: Meter) -> None:
    meter.put(OVER, finalizers=["example.org/one", names.FINALIZER])
    meter.cluster.observe()
    meter.kube.silence()
    meter.kube.put(PODS, pod(OVER, finalizers=[names.FINALIZER]))
    with pytest.raises(KubeError, match="test failed"):
        meter.cluster.forget(ID)
    meter.kube.silence(is_so=False)
    meter.until_known()
    meter.cluster.observe()
    meter.cluster.forget(ID)
    with pytest.raises(Answer, match="not found"):
        meter.kube.read(PODS, NAME)


@pytest.mark.parametrize(("verb", "status"), [("PATCH", 404), ("DELETE", 404), ("DELETE", 409)])
def test_forgetting_what_is_gone_already_is_harmless(meter: Meter, verb: str, status: int) -> None:
    meter.put(OVER)
    meter.cluster.observe()
    meter.kube.fail(verb, status)
    meter.cluster.forget(ID)


def test_forgetting_again_while_the_kubelet_takes_its_time_asks_nothing(meter: Meter) -> None:
    meter.put(OVER, finalizers=[], deletionTimestamp="2026-11-23T10:30:10Z")
    for _ in range(5):
        meter.cluster.observe()
        meter.cluster.forget(ID)
    assert meter.asked() == []


def test_what_was_never_made_is_withdrawn(meter: Meter) -> None:
    meter.cluster.observe()
    assert meter.cluster.withdraw(ID)
    assert meter.asked() == []


def test_what_runs_is_not_withdrawn(meter: Meter) -> None:
    meter.put(RUNNING)
    meter.cluster.observe()
    assert not meter.cluster.withdraw(ID)
    meter.put(OVER)
    meter.cluster.observe()
    assert not meter.cluster.withdraw(ID)
    assert meter.asked() == []


def test_what_waits_is_withdrawn_once_it_is_known_never_to_start(meter: Meter) -> None:
    meter.put(WAITING)
    meter.cluster.observe()
    assert not meter.cluster.withdraw(ID)
    assert meter.asked() == ["DELETE"]
    meter.put(WAITING, deletionTimestamp="2026-11-23T10:10:00Z", deletionGracePeriodSeconds=30)
    meter.cluster.observe()
    assert not meter.cluster.withdraw(ID)
    meter.put(WAITING, deletionTimestamp="2026-11-23T10:10:00Z", deletionGracePeriodSeconds=0)
    meter.cluster.observe()
    assert meter.cluster.withdraw(ID)
    assert meter.asked() == ["DELETE"]


def test_what_went_before_it_started_is_withdrawn_and_what_ran_is_not(meter: Meter) -> None:
    for state, never_started in ((WAITING, True), (RUNNING, False)):
        meter.put(state, uid=str(never_started))
        meter.kube.remove(PODS, NAME)
        meter.kube.until(lambda: not meter.cluster._pods.snapshot().items)
        meter.cluster.observe()
        assert meter.cluster.withdraw(ID) is never_started
        meter.cluster.forget(ID)
        assert meter.cluster.observe() == []


def test_a_pod_that_vanishes_ended_when_it_went(meter: Meter) -> None:
    meter.put(RUNNING)
    meter.cluster.observe()
    meter.clock.at_ms += 5000
    meter.kube.remove(PODS, NAME)
    meter.kube.until(lambda: not meter.cluster._pods.snapshot().items)
    seen = meter.observed()
    assert (seen.ended_at_ms, seen.cause) == (meter.clock.at_ms, "evicted")


def test_a_pod_that_vanishes_unseen_ended_when_it_was_last_there(meter: Meter) -> None:
    meter.put(RUNNING)
    meter.clock.at_ms += 5000
    last_there = meter.observed().alive_at_ms
    assert last_there == meter.clock.at_ms
    meter.kube.silence()
    meter.kube.remove(PODS, NAME)
    meter.clock.at_ms += 60_000
    meter.kube.expire()
    meter.kube.silence(is_so=False)
    meter.kube.end_watches(cut=True)
    meter.kube.until(lambda: not meter.cluster._pods.snapshot().items)
    for _ in range(3):
        seen = meter.observed()
        assert (seen.ended_at_ms, seen.cause) == (last_there, "lost")


def test_nothing_is_withdrawn_while_nothing_is_seen(meter: Meter) -> None:
    meter.cluster.observe()
    meter.kube.fail("WATCH", 500, times=1000)
    meter.kube.end_watches(cut=True)
    meter.kube.until(lambda: meter.cluster._pods.trouble is not None)
    assert meter.cluster.trouble() is None
    meter.clock.at_ms += BLIND_MS + 1
    assert "can't be seen" in str(meter.cluster.trouble())
    assert not meter.cluster.withdraw(ID)


def test_a_stray_is_told_of_until_it_says_who_pays(meter: Meter) -> None:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    bare = pod(RUNNING, name="miner", labels={}, annotations={})
    bare["spec"]["containers"] = [{"name": "c", **limits}]
    meter.kube.put(PODS, bare)
    meter.until_known()
    assert meter.cluster.observe() == []
    assert meter.cluster.strays() == (Stray("miner", 2),)
    meter.kube.put(PODS, {**bare, "metadata": pod(RUNNING, name="miner")["metadata"]})
    meter.until_known()
    assert meter.observed().running
    assert meter.cluster.strays() == ()


def test_labels_taken_off_free_nobody(meter: Meter) -> None:
    meter.put(RUNNING)
    assert meter.observed().running
    meter.put(RUNNING, labels={}, annotations={})
    assert meter.observed().lease_id == ID


def test_a_cluster_that_may_not_be_seen_does_not_start() -> None:
    with kube_server() as kube:
        kube.fail("GET", 403, times=1000)
        cluster = KubeCluster(kube.connection(), KubeOptions(NAMESPACE), pace=PACE)
        with pytest.raises(KubeError, match="grant verb"):
            cluster.start(wait_seconds=0.2)
        cluster.close()
