"""What is started past the hub: with our labels it is metered, limited and flagged; without, it is only flagged."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import pytest

from sublet_hub.cluster.kube import names
from sublet_hub.domain import accounts
from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.meter import metrics
from tests.fixtures.books import limit
from tests.fixtures.kube import Image
from tests.kube.kubectl import Namespace, Object
from tests.kube.leases import Platform, gpu_seconds, offered, platform, pod_of, two_containers, until
from tests.kube.witness import Witness, witness

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(300)]

QUOTA_SECONDS = 15
STAYS = "exec sleep 1000"


class Past:
    """A namespace in which people make pods themselves."""

    def __init__(self, namespace: Namespace, at_work: Platform, seen: Witness, image: str, gpu: str) -> None:
        self.namespace = namespace
        self.platform = at_work
        self.witness = seen
        self.image = image
        self.gpu = gpu

    def pod(self, name: str, labels: Mapping[str, str], gpus: int = 1) -> Object:
        """One container, as somebody would write it."""
        spec = two_containers(self.image, self.gpu, STAYS)
        limits = {self.gpu: str(gpus)} if gpus else {}
        spec["containers"] = [{**spec["containers"][0], "name": "train", "resources": {"limits": limits}}]
        labelled = {f"{names.PREFIX}{key}": value for key, value in labels.items()}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labelled}, "spec": spec}

    def leases_of(self, user: str) -> list[Lease]:
        return [lease for lease in self.platform.leases() if lease.user == user]

    def wait_for_lease(self, user: str) -> Lease:
        """The lease that the meter makes for somebody's only pod."""
        until(lambda: any(each.state is LeaseState.ACTIVE for each in self.leases_of(user)), f"a lease of {user}'s")
        (only,) = self.leases_of(user)
        return only

    def started_ms(self, name: str, container: str = "train") -> int:
        """When a container was started, by its own time."""
        statuses = self.namespace.pod(name)["status"]["containerStatuses"]
        (state,) = [each["state"] for each in statuses if each["name"] == container]
        return self.witness.ms(state["running"]["startedAt"])


@pytest.fixture
def past(namespace: Namespace, image: Image, tmp_path: Path) -> Iterator[Past]:
    with ExitStack() as stack:
        at_work = stack.enter_context(platform(namespace, tmp_path))
        seen = stack.enter_context(witness(namespace))
        resources = stack.enter_context(offered(gpu=8))
        yield Past(namespace, at_work, seen, image("notebook"), resources["gpu"])


def flagged() -> float:
    return float(metrics.FAULTS.labels("past_the_hub")._value.get())


def test_a_pod_made_by_hand_is_metered_flagged_and_ends_with_its_quota(
    past: Past, caplog: pytest.LogCaptureFixture
) -> None:
    limit(past.platform.books, accounts.user("bob"), gpus=2, leases=2, gpu_seconds=(QUOTA_SECONDS, "day"))
    before = flagged()
    bobs = {"lease": "mine", "user": "bob", "account": "user.bob", "flavor": "gpu-1x", "tier": "surplus"}
    past.namespace.apply(past.pod("mine", bobs))
    with past.platform.metering():
        lease = past.wait_for_lease("bob")
        assert (lease.account, lease.started_at_ms) == (accounts.user("bob"), past.started_ms("mine"))
        armed = past.namespace.wait_for_pod("mine", lambda pod: bool(_finalizers(pod)), "it to be kept")
        assert armed["metadata"]["finalizers"] == [names.FINALIZER]
        assert armed["metadata"]["annotations"][names.DEADLINE_REASON] == EndReason.QUOTA
        assert QUOTA_SECONDS <= armed["spec"]["activeDeadlineSeconds"] <= 3 * QUOTA_SECONDS
        until(lambda: "mine" in past.witness.gone, "the pod to be stopped and forgotten")
    ended = past.platform.lease(lease.id)
    assert (ended.state, ended.end_reason) == (LeaseState.ENDED, EndReason.QUOTA)
    assert gpu_seconds(ended) >= QUOTA_SECONDS - 2
    held = past.witness.held_seconds("mine", "train")
    assert held is None or gpu_seconds(ended) == held
    assert flagged() == before + 1
    assert caplog.text.count("was started past the hub") == 1
    assert past.platform.faults() == []


def test_a_copy_of_a_leases_pod_is_a_lease_of_its_own(past: Past) -> None:
    original = past.platform.grant("server")
    pod = pod_of(original, two_containers(past.image, past.gpu, STAYS))
    copy = deepcopy(pod)
    copy["metadata"]["name"] = "copy"
    past.namespace.apply(pod, copy)
    with past.platform.metering():
        until(lambda: len(past.leases_of("alice")) == 2, "two leases")
        until(lambda: all(each.state is LeaseState.ACTIVE for each in past.leases_of("alice")), "both to be active")
        (other,) = [each for each in past.leases_of("alice") if each.id != original.id]
        assert (other.account, other.flavor, other.tier) == (original.account, original.flavor, original.tier)
        assert other.started_at_ms == past.started_ms("copy", names.NOTEBOOK)
        for name in ("copy", pod["metadata"]["name"]):
            past.namespace.delete("pod", name)
        until(lambda: not past.leases_of("alice"), "both to end")
        until(lambda: len(past.witness.gone) == 2, "both to be forgotten")
    for lease_id, name in ((other.id, "copy"), (original.id, pod["metadata"]["name"])):
        assert gpu_seconds(past.platform.lease(lease_id)) > 0
        held = past.witness.held_seconds(name)
        assert held is None or gpu_seconds(past.platform.lease(lease_id)) == pytest.approx(held, abs=1)
    assert past.platform.faults() == []


def test_what_says_nothing_or_nonsense_is_flagged_and_never_touched(
    past: Past, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = flagged()
    nonsense = {"lease": "x", "user": "bob", "account": "user.bob", "flavor": "no-such", "tier": "surplus"}
    past.namespace.apply(
        past.pod("miner", {}, gpus=2), past.pod("nonsense", nonsense), past.pod("no-gpu", {}, gpus=0)
    )
    pods = ("miner", "nonsense", "no-gpu")
    for name in pods:
        past.namespace.wait_for_pod(name, _runs, f"{name} to run")
    untouched = {name: _made_of(past.namespace.pod(name)) for name in pods}
    rounds = metrics.ROUNDS.labels("done")._value
    with past.platform.metering():
        done = rounds.get()
        until(lambda: rounds.get() > done + 5, "some rounds of the meter")
        assert metrics.STRAY_GPUS._value.get() == 2
    assert flagged() == before + 1
    assert caplog.text.count("miner holds 2 GPUs and is no lease") == 1
    assert caplog.text.count("could not adopt") == 1
    assert past.platform.leases() == []
    assert {name: _made_of(past.namespace.pod(name)) for name in pods} == untouched


def _finalizers(pod: Object) -> list[str]:
    return list(pod["metadata"].get("finalizers", ()))


def _runs(pod: Object) -> bool:
    return all("running" in each["state"] for each in pod["status"].get("containerStatuses", [{"state": {}}]))


def _made_of(pod: Object) -> Object:
    """What somebody could change: all but the status, and who wrote when."""
    dropped = ("resourceVersion", "managedFields")
    return {
        "metadata": {key: value for key, value in pod["metadata"].items() if key not in dropped},
        "spec": pod["spec"],
    }
