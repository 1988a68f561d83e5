"""The copy of pods, and the election, on a real API server. The pods are objects only: no scheduler places them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Event

import pytest

from sublet_hub.cluster.kube.connection import Connection, connect
from sublet_hub.cluster.kube.election import Leader, Timing
from sublet_hub.cluster.kube.errors import LEASES, PODS, Conflict, Forbidden, NotFound, Refused
from sublet_hub.cluster.kube.mirror import Deleted
from sublet_hub.cluster.kube.names import FINALIZER, LEASE
from sublet_hub.cluster.kube.objects import Lease, Pod
from sublet_hub.cluster.kube.reflector import Pace, Reflector
from tests.kube.kubectl import Namespace

pytestmark = [pytest.mark.kube, pytest.mark.slow]

PATIENCE_SECONDS = 20.0
UNPLACED = {
    "schedulerName": "nobody",
    "containers": [{"name": "notebook", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
}


@pytest.fixture
def counted() -> Counter[tuple[str, int]]:
    return Counter()


@pytest.fixture
def connection(namespace: Namespace, counted: Counter[tuple[str, int]]) -> Iterator[Connection]:
    made = connect(lambda verb, code: counted.update([(verb, code)]))
    made.namespace = namespace.name
    yield made
    made.close()


def reflector_of(connection: Connection, **pace: float) -> Reflector[Pod]:
    made = Reflector(
        connection, PODS, Pod, keep_deleted=lambda pod: True, pace=Pace(**pace)  # type: ignore[arg-type]
    )  # fmt: skip
    made.start()
    return made


@pytest.fixture
def reflector(connection: Connection) -> Iterator[Reflector[Pod]]:
    made = reflector_of(connection)
    assert made.wait_synced(PATIENCE_SECONDS), made.trouble
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not come to be so"
        time.sleep(0.01)


def create(connection: Connection, name: str, *finalizers: str) -> Pod:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {LEASE: name, "other": "x"}, "finalizers": finalizers},
        "spec": UNPLACED,
    }
    return connection.create(PODS, body, Pod)


def test_a_pod_is_seen_made_changed_and_deleted(connection: Connection, reflector: Reflector[Pod]) -> None:
    made = create(connection, "one", FINALIZER)
    uid = made.metadata.uid
    until(lambda: uid in reflector.snapshot().items)
    seen = reflector.snapshot().items[uid]
    assert seen.metadata.labels == {LEASE: "one"}
    assert seen.spec.containers[0].resources is not None
    assert seen.spec.containers[0].resources.limits == {"nvidia.com/gpu": "1"}
    status = {
        "phase": "Running",
        "containerStatuses": [
            {
                "name": "notebook",
                "image": "none",
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-23T10:00:00Z"}},
            }
        ],
    }
    connection.patch(PODS, "one", {"status": status}, Pod, subresource="status")
    until(lambda: reflector.snapshot().items[uid].status.phase == "Running")
    [container] = reflector.snapshot().items[uid].status.container_statuses
    assert container.state.running is not None
    assert container.state.running.started_at == 1_795_428_000_000
    connection.delete(PODS, "one", uid=uid, grace_seconds=0)
    until(lambda: reflector.snapshot().items[uid].metadata.deletion_timestamp is not None)
    with pytest.raises((Conflict, Refused)):
        connection.patch(PODS, "one", {"metadata": {"uid": "another", "finalizers": None}}, Pod)
    test = {"op": "test", "path": "/metadata/finalizers/0", "value": "another"}
    with pytest.raises(Refused):
        connection.patch(PODS, "one", [test], Pod, how="json")
    connection.patch(PODS, "one", {"metadata": {"uid": uid, "finalizers": None}}, Pod)
    until(lambda: uid in reflector.snapshot().deleted)
    gone: Deleted[Pod] = reflector.snapshot().deleted[uid]
    assert (gone.last.status.phase, gone.missed) == ("Running", False)
    assert uid not in reflector.snapshot().items
    with pytest.raises(NotFound):
        connection.get(PODS, "one", Pod)


def test_requests_do_not_grow_with_time_or_events(connection: Connection, counted: Counter[tuple[str, int]]) -> None:
    reflector = reflector_of(connection, watch_seconds=2)
    try:
        assert reflector.wait_synced(PATIENCE_SECONDS)
        for number in range(10):
            create(connection, f"p{number}")
        until(lambda: len(reflector.snapshot().items) == 10)
        assert counted["watch", 200] <= 2
        until(lambda: counted["watch", 200] == 4)
        assert counted["list", 200] == 1
        assert reflector.failures == 0
    finally:
        reflector.close()


def test_it_is_current_while_it_watches(connection: Connection, reflector: Reflector[Pod]) -> None:
    until(lambda: abs((reflector.current_at_ms() or 0) - time.time_ns() // 1_000_000) <= 100)
    reflector.close()
    before = reflector.current_at_ms()
    time.sleep(0.2)
    assert reflector.current_at_ms() == before


def test_a_version_that_the_server_has_forgotten_leads_to_a_list(
    connection: Connection, counted: Counter[tuple[str, int]]
) -> None:
    made = create(connection, "one")
    reflector = Reflector(connection, PODS, Pod)
    reflector._version = "1"
    reflector.start()
    try:
        assert reflector.wait_synced(PATIENCE_SECONDS), reflector.trouble
        assert list(reflector.snapshot().items) == [made.metadata.uid]
        assert reflector.failures == 1
        assert counted["list", 200] == 1
    finally:
        reflector.close()


def test_a_missing_right_is_named(connection: Connection) -> None:
    connection._exchange._client.headers["Impersonate-User"] = "nobody"
    with pytest.raises(Forbidden, match=r'may not list pods in namespace .*: grant verb "list" on resource "pods"'):
        next(connection.pages(PODS, Pod))


def test_one_leads_and_the_other_follows_at_once(connection: Connection) -> None:
    timing = Timing(duration=5, renew_within=3, retry=0.1)
    first, second = (Leader(connection, "meter", name, timing=timing) for name in ("a", "b"))
    stop = Event()
    try:
        assert first.wait(stop)
        assert not second.attempt()
        version = connection.get(LEASES, "meter", Lease).metadata.resource_version
        until(lambda: connection.get(LEASES, "meter", Lease).metadata.resource_version != version)
        assert not second.attempt()
        first.close()
        assert second.attempt()
        assert connection.get(LEASES, "meter", Lease).spec.holder_identity == "b"
        assert not first.is_leader
    finally:
        first.close()
        second.close()
