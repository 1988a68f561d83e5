"""Leases on a real cluster, and a real meter that looks after them: books on SQLite, pods made by kubectl."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sublet_hub import storage
from sublet_hub.clock import SystemClock
from sublet_hub.cluster.base import Cluster
from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.cluster import KubeCluster, KubeOptions
from sublet_hub.cluster.kube.connection import Connection, connect
from sublet_hub.cluster.kube.errors import NODES
from sublet_hub.cluster.kube.objects import Node
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.amounts import GPU_TIME_PER_GPU_SECOND
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.policy import Policy
from sublet_hub.meter.loop import Meter
from sublet_hub.storage import leasing, metering, verification
from sublet_hub.storage.anchors import Anchors
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.books import Books
from tests.fixtures.books import KEY, limit
from tests.fixtures.factories import catalog
from tests.kube.kubectl import Namespace, Object

GRACE_SECONDS = 3
TICK_SECONDS = 0.5
LOST_NODE_SECONDS = 5
POLICY = Policy(
    post_interval_ms=2_000, notice_leads_seconds=(), meter_stale_ms=60_000, grant_ttl_ms=100_000, end_margin_ms=1_000
)
USER = "alice"


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait for a condition that costs nothing to look at."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.05)


@contextmanager
def offered(**amounts: int) -> Iterator[dict[str, str]]:
    """Extended resources that only this test knows of, on one node; gives their full names.

    No device is behind them, and nobody else's GPUs are touched. Source:
    https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    """
    domain = f"t{secrets.token_hex(4)}.test.sublet.dev"
    named = {short: f"{domain}/{short}" for short in amounts}
    connection = connect()
    node = next(each for each in json.loads(_raw("get", "--raw", "/api/v1/nodes"))["items"] if _takes_pods(each))
    name = node["metadata"]["name"]

    def change(op: str) -> None:
        patch = [
            {"op": op, "path": f"/status/{where}/{named[short].replace('/', '~1')}", "value": str(amount)}
            for short, amount in amounts.items()
            for where in ("capacity", "allocatable")
        ]
        connection.patch(NODES, name, patch, Node, how="json", subresource="status")

    change("add")
    try:
        yield named
    finally:
        change("remove")
        connection.close()


def _takes_pods(node: Object) -> bool:
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])
    return ready and not node["spec"].get("unschedulable") and not node["spec"].get("taints")


def _raw(*words: str) -> str:
    return subprocess.run(["kubectl", *words], check=True, capture_output=True, text=True, timeout=30).stdout


@dataclass
class Platform:
    """Books, and meters on them, for one namespace."""

    namespace: Namespace
    books: Books
    connection: Connection
    folder: Path
    _running: list[tuple[Thread, Event, KubeCluster]] = field(default_factory=list)

    def grant(self, server: str = "", user: str = USER) -> Lease:
        """Grant a lease of one GPU, as if a meter were there."""
        metering.beat(self.books)
        wanted = LeaseRequest(user, accounts.user(user), "gpu-1x", Tier.GUARANTEED, server_name=server)
        return leasing.request(self.books, wanted, actor=user)

    def lease(self, lease_id: str) -> Lease:
        with self.books.store.transaction(write=False) as tx:
            return leasing.stored(tx, lease_id)

    def leases(self) -> list[Lease]:
        """All open ones."""
        with self.books.store.transaction(write=False) as tx:
            return list(tx.open_leases())

    @contextmanager
    def cluster(self) -> Iterator[KubeCluster]:
        made = KubeCluster(self.connection, KubeOptions(self.namespace.name, LOST_NODE_SECONDS))
        made.start()
        try:
            yield made
        finally:
            made.close()

    def meter(self, cluster: Cluster, name: str = "meter") -> Meter:
        return Meter(self.books, cluster, Anchors(self.folder / f"{name}-anchors"), TICK_SECONDS)

    @contextmanager
    def metering(self, name: str = "meter") -> Iterator[None]:
        """A meter at work while the block runs."""
        stop = Event()
        with self.cluster() as cluster:
            thread = Thread(target=self.meter(cluster, name).run, args=(stop,), name=name)
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join(timeout=30)
                assert not thread.is_alive()

    def faults(self) -> list[str]:
        """What doesn't hold in ledger and audit chain."""
        found = [
            fault
            for account in verification.accounts(self.books.store)
            for fault in verification.verify_account(self.books.store, account)
        ]
        in_audit = verify_audit(self.books, Anchors(self.folder / "meter-anchors").read())
        return found if in_audit is None else [*found, str(in_audit)]


@contextmanager
def platform(namespace: Namespace, folder: Path, policy: Policy = POLICY) -> Iterator[Platform]:
    url = f"sqlite:///{folder}/sublet.sqlite"
    storage.migrate(url)
    store = storage.open_store(url)
    books = Books(store, catalog(64), policy, SystemClock(), KEY)
    limit(books, gpus=64, leases=64, gpu_seconds=(100_000_000, "day"))
    connection = connect()
    try:
        yield Platform(namespace, books, connection, folder)
    finally:
        connection.close()
        store.close()


def gpu_seconds(lease: Lease) -> float:
    """What the ledger has of a lease."""
    return lease.posted.gpu_time / GPU_TIME_PER_GPU_SECOND


def pod_of(lease: Lease, spec: Mapping[str, Any], *, deadline_ms: int | None = None) -> Object:
    """The pod of a lease, as the hub would make it."""
    made = labelled(names.pod_name(lease.user, lease.server_name, lease.id), lease, spec)
    made["metadata"]["annotations"] |= {
        names.SERVER: lease.server_name,
        names.DEADLINE: str(deadline_ms or lease.deadline.at_ms),
        names.DEADLINE_REASON: lease.deadline.reason.value,
    }
    made["metadata"]["finalizers"] = [names.FINALIZER]
    return made


def labelled(name: str, lease: Lease, spec: Mapping[str, Any]) -> Object:
    """A pod that says of itself that it is this lease."""
    values = (lease.id, lease.user, str(lease.account), lease.flavor, lease.tier.value)
    exact = dict(zip(names.IDENTITY, values, strict=True))
    labels = {key: names.label_value(value) for key, value in exact.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": exact},
        "spec": dict(spec),
    }


def two_containers(
    image: str, gpu: str, script: str, notebook: Mapping[str, Any] | None = None, **spec: Any
) -> Object:
    """What runs in a lease: the notebook, which does this, and something that stays, in the warden's place."""
    changes = dict(notebook or {})
    limits = {gpu: "1", **changes.pop("limits", {})}
    base = {"image": image, "imagePullPolicy": "IfNotPresent"}
    small = {"requests": {"cpu": "1m"}}
    first = {
        "name": names.NOTEBOOK,
        **base,
        "command": ["sh", "-c", script],
        "resources": {**small, "limits": limits},
        **changes,
    }
    second = {"name": names.WARDEN, **base, "command": ["sleep", "1000000"], "resources": small}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [first, second],
        **spec,
    }
