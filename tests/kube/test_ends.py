"""Nothing vanishes unmetered: every way in which a pod can end, on a real cluster, under a real meter.

The ledger must say what the container's own times say, to the millisecond. Those are cut to the second, and must
include what the container did by the clock inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from sublet_hub.domain.lease import EndReason, LeaseState
from sublet_hub.storage import leasing
from tests.fixtures.kube import Image
from tests.kube.evicting import evict
from tests.kube.kubectl import NO_FINALIZERS, Cluster, Namespace, kubectl, new_namespace
from tests.kube.leases import (
    GRACE_SECONDS,
    Platform,
    gpu_seconds,
    offered,
    platform,
    pod_of,
    two_containers,
    until,
)
from tests.kube.silent_node import SilentNode, silent_node
from tests.kube.witness import BEATS, KEEPS_RECORDS, Witness, witness

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(300)]

CUT_MS = 1000
"""The container's own times are cut to the second, an end therefore before the last that it did."""

SLOW_MS = 10_000
"""What a busy node may take to run the first command of a container, and to end one that is to end."""

TOLD_LATE_MS = 20_000
"""How long a busy kubelet of those may take to tell of an end: it says five things a second, of all its pods."""

Act = Callable[["Ends", str, str], object]
"""Given the pod's name and the lease's id."""


@dataclass(frozen=True)
class Way:
    """One way to end."""

    reason: EndReason
    script: str = "exec sleep 1000"
    notebook: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    act: Act | None = None
    """What is done to the pod once it runs."""
    is_heard: bool = False
    """Whether the ledger is also compared with the clock inside."""


def _delete(*words: str) -> Act:
    return lambda ends, pod, _lease: ends.namespace.delete("pod", pod, *words)


FORCE = ("--force", "--grace-period=0")


def _unmark(then: Act) -> Act:
    def act(ends: Ends, pod: str, lease_id: str) -> None:
        ends.namespace.kubectl("patch", "pod", pod, "--type=merge", "-p", NO_FINALIZERS)
        then(ends, pod, lease_id)

    return act


def _evict(ends: Ends, pod: str, _lease_id: str) -> None:
    evict(ends.namespace, pod)


def _preempt(ends: Ends, _pod: str, _lease_id: str) -> None:
    more = two_containers(ends.image, ends.gpu, "exec sleep 1000", {"limits": {ends.seat: "1"}})
    made = {"metadata": {"name": "preemptor"}, "spec": {**more, "priorityClassName": ends.classes["high"]}}
    ends.namespace.apply({"apiVersion": "v1", "kind": "Pod", **made})


def _stop(ends: Ends, pod: str, lease_id: str) -> None:
    """As the hub does."""
    now = ends.platform.books.clock.now_ms()
    leasing.order_end(ends.platform.books, lease_id, at_ms=now, reason=EndReason.USER, actor="alice", why="stop")
    ends.namespace.delete("pod", pod)


PROBE = {
    "livenessProbe": {
        "exec": {"command": ["false"]},
        "initialDelaySeconds": 4,
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
}
WAYS = {
    "exits": Way(EndReason.EXITED, f"timeout 12 sh -c '{BEATS}'; exit 3", is_heard=True),
    "needs-more-memory": Way(EndReason.OUT_OF_MEMORY, "sleep 3; exec tail /dev/zero", {"limits": {"memory": "48Mi"}}),
    "fills-the-disk": Way(
        EndReason.EVICTED,
        f"(sleep 10; head -c 40000000 /dev/zero > /tmp/much) & {BEATS}",
        {"limits": {"ephemeral-storage": "10Mi"}},
        is_heard=True,
    ),
    "fails-its-probe": Way(EndReason.EXITED, notebook=PROBE),
    "is-deleted": Way(EndReason.EVICTED, act=_delete(), script=BEATS, is_heard=True),
    "is-evicted": Way(EndReason.EVICTED, act=_evict),
    "is-forced": Way(EndReason.EVICTED, act=_delete(*FORCE), script=BEATS, is_heard=True),
    "is-unmarked": Way(EndReason.EVICTED, act=_unmark(_delete())),
    "is-stopped": Way(EndReason.USER, act=_stop),
    "is-preempted": Way(EndReason.EVICTED, act=_preempt, spec={"priorityClassName": "low"}),
}
"""Those whose containers' own times reach the ledger, one way or another."""

OTHERS = {
    "outlives-its-cap": Way(EndReason.LIMIT, spec={"activeDeadlineSeconds": 8}, script=BEATS, is_heard=True),
    "is-made-to-vanish": Way(EndReason.EVICTED, act=_unmark(_delete(*FORCE)), script=BEATS, is_heard=True),
    "is-lost": Way(EndReason.LOST),
    "never-starts": Way(EndReason.NEVER_STARTED, notebook={"image": "sublet-test.invalid/none:1"}),
}


@dataclass
class Ends:
    """All of them, at work."""

    cluster: Cluster
    namespace: Namespace
    platform: Platform
    witness: Witness
    image: str
    gpu: str
    seat: str
    classes: dict[str, str]
    leases: dict[str, str] = field(default_factory=dict)
    """By way."""
    pods: dict[str, str] = field(default_factory=dict)
    lost_at_ms: int = 0

    def create(self, node: SilentNode) -> None:
        pods = []
        for name, way in (WAYS | OTHERS).items():
            lease = self.platform.grant(name)
            spec = two_containers(self.image, self.gpu, way.script, way.notebook, **way.spec)
            if name == "is-preempted":
                spec["containers"][0]["resources"]["limits"][self.seat] = "1"
                spec["priorityClassName"] = self.classes["low"]
            if name == "is-lost":
                spec["nodeName"] = node.name
            pods.append(pod_of(lease, spec))
            self.leases[name], self.pods[name] = lease.id, pods[-1]["metadata"]["name"]
        self.namespace.apply(*pods)
        node.report_running(self.namespace, self.pods["is-lost"])

    def act(self) -> None:
        """Do to each what is to be done to it, once it runs."""
        waiting = {name: way for name, way in (WAYS | OTHERS).items() if way.act or way.is_heard}
        while waiting:
            until(lambda: any(map(self._has_started, waiting)), f"{sorted(waiting)} to run")
            for name in [name for name in waiting if self._has_started(name)]:
                way, pod = waiting.pop(name), self.pods[name]
                if way.is_heard:
                    self.witness.listen(self.namespace, pod)
                if way.act is not None:
                    way.act(self, pod, self.leases[name])

    def _has_started(self, name: str) -> bool:
        return self.pods[name] in self.witness.started

    def wait_for_all(self) -> None:
        until(lambda: not self.platform.leases(), "all leases to be closed", 150)
        until(
            lambda: self.witness.gone.keys() >= set(self.pods.values()) - {self.pods["is-lost"]},
            "all pods to be gone",
        )
        heard = [self.pods[name] for name, way in (WAYS | OTHERS).items() if way.is_heard]
        until(lambda: all(map(self.witness.has_fallen_silent, heard)), "the last containers to end")


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    with new_namespace(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def classes(namespace: Namespace) -> Iterator[dict[str, str]]:
    """Two priority classes, by their short names."""
    named = {short: f"{namespace.name}-{short}" for short in ("low", "high")}
    for value, (short, name) in enumerate(named.items()):
        kubectl("create", "priorityclass", name, f"--value={value * 1000}", f"--description={short}")
    yield named
    kubectl("delete", "priorityclass", *named.values())


@pytest.fixture(scope="module")
def ends(
    cluster: Cluster,
    namespace: Namespace,
    classes: dict[str, str],
    image: Image,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ends]:
    """All ways to end at once, each gone through to its end, and forgotten."""
    with ExitStack() as stack:
        node = stack.enter_context(silent_node())
        resources = stack.enter_context(offered(gpu=len(WAYS | OTHERS) + 1, seat=1))
        made = Ends(
            cluster,
            namespace,
            stack.enter_context(platform(namespace, tmp_path_factory.mktemp("books"))),
            stack.enter_context(witness(namespace)),
            image("notebook"),
            resources["gpu"],
            resources["seat"],
            classes,
        )
        made.create(node)
        with made.platform.metering():
            made.act()
            node.die()
            made.lost_at_ms = round(node.last_beat.timestamp() * 1000)
            until(lambda: _has_waited(made, "never-starts"), "the image not to be found")
            namespace.delete("pod", made.pods["never-starts"])
            made.wait_for_all()
        yield made
        # Else only the control plane does, a minute after its node is gone.
        namespace.delete("pod", made.pods["is-lost"], *FORCE)


def _has_waited(ends: Ends, name: str) -> bool:
    waiting = ends.witness.state(ends.pods[name]).get("waiting", {})
    return waiting.get("reason") in {"ErrImagePull", "ImagePullBackOff"}


@pytest.mark.parametrize("way", WAYS)
def test_the_ledger_has_what_the_container_held(ends: Ends, way: str) -> None:
    lease, held = ends.platform.lease(ends.leases[way]), ends.witness.held_seconds(ends.pods[way])
    assert (lease.state, lease.end_reason) == (LeaseState.ENDED, WAYS[way].reason)
    if held is not None:
        assert gpu_seconds(lease) == held
        return
    assert ends.cluster.version < KEEPS_RECORDS
    assert lease.started_at_ms == ends.witness.started_ms(ends.pods[way])
    assert lease.ended_at_ms is not None
    assert lease.ended_at_ms <= ends.witness.gone[ends.pods[way]].timestamp() * 1000


HEARD = [name for name, way in WAYS.items() if way.is_heard]


@pytest.mark.parametrize("way", HEARD)
def test_the_ledger_covers_what_the_clock_inside_says(ends: Ends, way: str) -> None:
    pod, lease = ends.pods[way], ends.platform.lease(ends.leases[way])
    told_late = TOLD_LATE_MS if ends.witness.held_seconds(pod) is None else 0
    first, last = ends.witness.beats_ms(pod)
    assert lease.started_at_ms is not None
    assert lease.ended_at_ms is not None
    assert lease.started_at_ms <= first <= lease.started_at_ms + SLOW_MS
    assert last - CUT_MS < lease.ended_at_ms <= last + SLOW_MS + told_late


def test_past_its_cap_an_old_kubelet_keeps_the_end_to_itself(ends: Ends) -> None:
    """Since 1.24 the ledger is exact. Before, the pod is said to be over before its containers are, and late."""
    lease = ends.platform.lease(ends.leases["outlives-its-cap"])
    assert (lease.state, lease.end_reason) == (LeaseState.ENDED, EndReason.LIMIT)
    _, last = ends.witness.beats_ms(ends.pods["outlives-its-cap"])
    early, late = (GRACE_SECONDS * 1000 + SLOW_MS, TOLD_LATE_MS) if ends.cluster.version < (1, 24) else (0, 0)
    assert lease.ended_at_ms is not None
    assert last - CUT_MS - early < lease.ended_at_ms <= last + SLOW_MS + late


def test_a_pod_that_is_made_to_vanish_is_metered_until_then(ends: Ends) -> None:
    """The kubelet ends the container a little later than the object; that much may be missing."""
    pod = ends.pods["is-made-to-vanish"]
    lease = ends.platform.lease(ends.leases["is-made-to-vanish"])
    assert (lease.state, lease.end_reason) == (LeaseState.ENDED, EndReason.EVICTED)
    assert lease.started_at_ms == ends.witness.started_ms(pod)
    assert lease.ended_at_ms == pytest.approx(ends.witness.gone[pod].timestamp() * 1000, abs=SLOW_MS)
    _, last = ends.witness.beats_ms(pod)
    assert lease.ended_at_ms is not None
    assert last - CUT_MS - GRACE_SECONDS * 1000 - SLOW_MS < lease.ended_at_ms <= last + SLOW_MS


def test_a_lost_node_ends_its_leases_at_its_last_heartbeat(ends: Ends) -> None:
    lease = ends.platform.lease(ends.leases["is-lost"])
    assert (lease.state, lease.end_reason) == (LeaseState.ENDED, EndReason.LOST)
    assert lease.ended_at_ms == ends.lost_at_ms
    assert lease.started_at_ms is not None
    assert gpu_seconds(lease) == (ends.lost_at_ms - lease.started_at_ms) / 1000


def test_what_never_started_costs_nothing(ends: Ends) -> None:
    lease = ends.platform.lease(ends.leases["never-starts"])
    assert (lease.state, lease.end_reason) == (LeaseState.VOID, EndReason.NEVER_STARTED)
    assert gpu_seconds(lease) == 0


def test_nothing_is_left_and_everything_adds_up(ends: Ends) -> None:
    assert ends.platform.faults() == []
    left = ends.namespace.all("pods", "sublet.dev/lease")
    # The one on the node that is gone waits for the node, but not for us.
    assert [each["metadata"]["name"] for each in left] in ([], [ends.pods["is-lost"]])
    assert all(not each["metadata"].get("finalizers") for each in left)
