"""A meter that is away blocks no GPU and loses no second; one that is killed, or not alone, counts nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from sublet_hub.cluster.base import Observed, Stray
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.cluster import KubeCluster
from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.domain.ledger import EntryKind
from sublet_hub.storage import audit
from tests.fixtures.kube import Image
from tests.kube.evicting import evict
from tests.kube.kubectl import Namespace, phase
from tests.kube.leases import Platform, gpu_seconds, offered, platform, pod_of, two_containers, until
from tests.kube.witness import KEEPS_RECORDS, Witness, witness

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(300)]

STAYS = "exec sleep 1000"
FILLS = "head -c 40000000 /dev/zero > /tmp/much; exec sleep 1000"
"""More than the pod may have on the node's disk."""

WARDEN_SECONDS = 8
"""How long the second container stays: like a real warden, it leaves by itself when the notebook is gone."""


class Away:
    """Leases in a namespace, seen by nobody but the test."""

    def __init__(self, namespace: Namespace, at_work: Platform, seen: Witness, image: str, gpu: str) -> None:
        self.namespace = namespace
        self.platform = at_work
        self.witness = seen
        self.image = image
        self.gpu = gpu
        self.pods: dict[str, str] = {}
        """By lease."""

    def start(self, **scripts: str) -> dict[str, Lease]:
        """Grant leases that do this, make their pods and wait until they have run."""
        leases = {name: self.platform.grant(name) for name in scripts}
        pods = []
        for name, script in scripts.items():
            limits = {"ephemeral-storage": "10Mi"} if script == FILLS else {}
            spec = two_containers(self.image, self.gpu, script, {"limits": limits})
            spec["containers"][1]["command"] = ["sleep", str(WARDEN_SECONDS)]
            pods.append(pod_of(leases[name], spec))
            self.pods[leases[name].id] = pods[-1]["metadata"]["name"]
        self.namespace.apply(*pods)
        until(lambda: self.witness.started.keys() >= set(self.pods.values()), "all notebooks to run")
        return leases

    def pod(self, lease: Lease) -> str:
        return self.pods[lease.id]

    def has_ended(self, lease: Lease) -> bool:
        pod = self.pod(lease)
        return self.witness.held_seconds(pod) is not None or phase(self.witness.last[pod]) == "Failed"

    def is_gone(self, lease: Lease) -> bool:
        return self.pod(lease) in self.witness.gone

    def metered(self, lease: Lease) -> float:
        return gpu_seconds(self.platform.lease(lease.id))

    def check_metered(self, lease: Lease) -> None:
        """The ledger has what the container's own times say; where an old kubelet threw them away, at least that it
        ran."""
        held = self.witness.held_seconds(self.pod(lease))
        if held is None:
            assert self.namespace.cluster.version < KEEPS_RECORDS
            assert self.metered(lease) > 0
        else:
            assert self.metered(lease) == held

    def ends_written(self) -> int:
        """How many ends the audit chain tells of."""
        with self.platform.books.store.transaction(write=False) as tx:
            return sum(each.action == "lease.ended" for each in audit.records(tx))

    def posted(self, lease: Lease) -> list[tuple[int, int]]:
        """The spans that were posted for a lease, in order."""
        with self.platform.books.store.transaction(write=False) as tx:
            entries = tx.entries(lease.account, after=0, limit=1000)
        return [
            (each.from_ms, each.to_ms)
            for each in entries
            if each.kind is EntryKind.POST and each.lease_id == lease.id
        ]


@pytest.fixture
def away(namespace: Namespace, image: Image, tmp_path: Path) -> Iterator[Away]:
    with ExitStack() as stack:
        at_work = stack.enter_context(platform(namespace, tmp_path))
        seen = stack.enter_context(witness(namespace))
        resources = stack.enter_context(offered(gpu=5))
        yield Away(namespace, at_work, seen, image("notebook"), resources["gpu"])


def test_a_meter_that_was_away_posts_the_true_ends_and_blocked_no_gpu(away: Away) -> None:
    namespace = away.namespace
    leases = away.start(exits="sleep 2; exit 3", deleted=STAYS, evicted=STAYS, fills=FILLS, runs=STAYS)
    exits, deleted, evicted, fills, runs = leases.values()
    ended = (exits, deleted, evicted, fills)
    namespace.delete("pod", away.pod(deleted))
    evict(namespace, away.pod(evicted))
    until(lambda: all(map(away.has_ended, ended)), "four to end")

    # Four of the five GPUs are needed for this, which is no lease.
    next_one = two_containers(away.image, away.gpu, STAYS)
    next_one["containers"] = [{**next_one["containers"][0], "resources": {"limits": {away.gpu: "4"}}}]
    namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "next"}, "spec": next_one})
    namespace.wait_for_pod("next", lambda pod: phase(pod) == "Running", "the GPUs to be free")
    for lease in ended:
        assert namespace.pod(away.pod(lease))["metadata"]["finalizers"] == [names.FINALIZER]

    with away.platform.metering():
        until(lambda: all(map(away.is_gone, ended)), "what has ended to be forgotten")
        until(lambda: away.metered(runs) > 0, "what runs to be metered")
        namespace.delete("pod", away.pod(runs))
        until(lambda: away.is_gone(runs), "the last to be forgotten")

    reasons = [away.platform.lease(lease.id).end_reason for lease in leases.values()]
    assert reasons == [EndReason.EXITED, *[EndReason.EVICTED] * 4]
    for lease in leases.values():
        away.check_metered(lease)
    assert away.platform.faults() == []


class Killed(BaseException):
    """As if by SIGKILL: nothing catches it."""


class Doomed:
    """A cluster under whose meter the end comes before anything is forgotten."""

    def __init__(self, cluster: KubeCluster) -> None:
        self._cluster = cluster

    def observe(self) -> Sequence[Observed]:
        return self._cluster.observe()

    def strays(self) -> Sequence[Stray]:
        return self._cluster.strays()

    def trouble(self) -> str | None:
        return self._cluster.trouble()

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        self._cluster.arm(lease_id, deadline_ms, reason)

    def stop(self, lease_id: str) -> None:
        self._cluster.stop(lease_id)

    def withdraw(self, lease_id: str) -> bool:
        return self._cluster.withdraw(lease_id)

    def forget(self, lease_id: str) -> None:
        raise Killed


def test_meters_that_are_killed_or_two_at_once_count_nothing_twice(away: Away) -> None:
    (killed,) = away.start(killed="sleep 2").values()
    until(lambda: away.has_ended(killed), "the first to end")
    with away.platform.cluster() as cluster:
        meter = away.platform.meter(Doomed(cluster), "doomed")
        with pytest.raises(Killed):
            meter.round()
    assert away.platform.lease(killed.id).state is LeaseState.ENDED
    assert away.namespace.pod(away.pod(killed))["metadata"]["finalizers"] == [names.FINALIZER]

    with away.platform.metering("meter"), away.platform.metering("other"):
        until(lambda: away.is_gone(killed), "the first to be forgotten")
        leases = away.start(one="sleep 7", two="sleep 9")
        until(lambda: all(map(away.is_gone, leases.values())), "all to be forgotten")

    for lease in (killed, *leases.values()):
        away.check_metered(lease)
        assert all(before[1] == after[0] for before, after in pairwise(away.posted(lease)))
    assert away.ends_written() == 3
    assert away.platform.faults() == []
