"""Requests to the API server: what is asked, what answers mean, and how often it is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from sublet_hub.cluster.kube.connection import Connection, connect
from sublet_hub.cluster.kube.errors import (
    LEASES,
    NODES,
    PODS,
    Away,
    Busy,
    Conflict,
    Forbidden,
    Gone,
    KubeError,
    NotFound,
    Refused,
    Silent,
)
from sublet_hub.cluster.kube.exchange import Exchange, Patience
from sublet_hub.cluster.kube.objects import Object, Pod
from tests.cluster import kube_state
from tests.cluster.kube_server import kube_server
from tests.cluster.kube_state import CUT, HANG, NAMESPACE, QUICK, KubeServer


@pytest.fixture
def kube() -> Iterator[KubeServer]:
    with kube_server() as made:
        yield made


def pod(name: str) -> kube_state.Json:
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {}, "status": {"phase": "Running"}}


def test_it_connects_as_the_kubeconfig_says(
    kube: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"""
current-context: here
contexts: [{{name: here, context: {{cluster: c, user: u, namespace: {NAMESPACE}}}}}]
clusters: [{{name: c, cluster: {{server: "{kube.url}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
"""
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    kube.put(kube_state.PODS, pod("one"))
    seen: list[tuple[str, int]] = []
    connection = connect(lambda verb, code: seen.append((verb, code)))
    assert connection.namespace == NAMESPACE
    assert connection.get(PODS, "one", Pod).status.phase == "Running"
    assert kube.requests[-1].headers["Authorization"] == "Bearer secret"
    assert seen == [("get", 200)]


def test_without_any_configuration_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(KubeError, match="no way to a Kubernetes API server is configured"):
        connect()


def test_lists_come_in_pages_of_one_version(kube: KubeServer) -> None:
    kube.page_items = 3
    for number in range(7):
        kube.put(kube_state.PODS, pod(f"p{number}"))
    pages = list(kube.connection().pages(PODS, Pod))
    assert [[each.metadata.name for each in page.items or ()] for page in pages] == [
        ["p0", "p1", "p2"],
        ["p3", "p4", "p5"],
        ["p6"],
    ]
    assert len({page.metadata.resource_version for page in pages}) == 1


def test_an_empty_list_may_be_null(kube: KubeServer) -> None:
    [page] = kube.connection().pages(PODS, Pod)
    assert not page.items


def test_objects_are_made_changed_and_deleted(kube: KubeServer) -> None:
    connection = kube.connection()
    made = connection.create(PODS, pod("one"), Pod)
    changed = connection.patch(PODS, "one", {"metadata": {"annotations": {"sublet.dev/deadline": "7"}}}, Pod)
    assert changed.metadata.annotation("sublet.dev/deadline") == "7"
    operations = [{"op": "add", "path": "/metadata/finalizers", "value": ["a"]}]
    assert connection.patch(PODS, "one", operations, Pod, how="json").metadata.finalizers == ("a",)
    with pytest.raises(Conflict):
        connection.create(PODS, pod("one"), Pod)
    with pytest.raises(Conflict):
        connection.delete(PODS, "one", uid="of another")
    connection.delete(PODS, "one", uid=made.metadata.uid, grace_seconds=0)
    assert connection.get(PODS, "one", Pod).metadata.deletion_timestamp is not None
    connection.patch(PODS, "one", [{"op": "remove", "path": "/metadata/finalizers/0"}], Pod, how="json")
    with pytest.raises(NotFound):
        connection.get(PODS, "one", Pod)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (422, Refused),
    ],
)
def test_a_refusal_is_told_at_once_and_fails_one_action_only(
    kube: KubeServer, status: int, error: type[KubeError]
) -> None:
    kube.fail("GET", status)
    with pytest.raises(error, match="scripted") as caught:
        kube.connection().get(PODS, "one", Pod)
    assert isinstance(caught.value, OSError)  # what the meter's `Applier` catches
    assert kube.count("GET") == 1


def test_a_missing_right_is_named(kube: KubeServer) -> None:
    kube.fail("GET", 403)
    with pytest.raises(Forbidden) as caught:
        kube.connection().get(LEASES, "node1", Object, namespace="kube-node-lease")
    assert (
        'verb "get" on resource "leases" of API group "coordination.k8s.io", by a Role in namespace kube-node-lease'
        in str(caught.value)
    )
    kube.fail("GET", 403)
    with pytest.raises(Forbidden, match='verb "list" on resource "nodes" of API group "", by a ClusterRole'):
        list(kube.connection().pages(NODES, Object))


def test_a_server_that_is_busy_is_asked_again_when_it_says(kube: KubeServer) -> None:
    slept: list[float] = []
    client = httpx.Client(base_url=kube.url)
    connection = kube_connection(client, slept)
    kube.fail("GET", 429, Retry_After="1")
    kube.put(kube_state.PODS, pod("one"))
    connection.get(PODS, "one", Pod)
    assert slept == [1.0]
    kube.fail("GET", 429, Retry_After="3600")
    with pytest.raises(Busy) as caught:
        connection.get(PODS, "one", Pod)
    assert caught.value.retry_after_seconds == 3600
    assert slept == [1.0]


def kube_connection(client: httpx.Client, slept: list[float]) -> Connection:
    return Connection(Exchange(client, None, QUICK, slept.append), NAMESPACE)


def test_failures_are_repeated_with_longer_waits_and_not_for_ever(kube: KubeServer) -> None:
    slept: list[float] = []
    connection = kube_connection(httpx.Client(base_url=kube.url), slept)
    kube.put(kube_state.PODS, pod("one"))
    kube.fail("GET", 500)
    kube.fail("GET", CUT)
    assert connection.get(PODS, "one", Pod).metadata.name == "one"
    assert 0.0005 <= slept[0] <= 0.001 <= slept[1] <= 0.002
    kube.fail("GET", 503, times=3)
    with pytest.raises(Away):
        connection.get(PODS, "one", Pod)
    assert kube.count("GET") == 6


def test_what_may_have_been_created_is_not_created_again(kube: KubeServer) -> None:
    kube.fail("POST", CUT)
    with pytest.raises(Away):
        kube.connection().create(PODS, pod("one"), Pod)
    assert kube.count("POST") == 1
    kube.fail("POST", 429)
    kube.connection().create(PODS, pod("one"), Pod)
    assert kube.count("POST") == 3


def test_a_server_that_says_nothing_is_not_waited_for(kube: KubeServer) -> None:
    kube.fail("GET", HANG)
    with pytest.raises(Silent):
        kube.connection(patience=Patience(answer_seconds=0.02, attempts=1)).get(PODS, "one", Pod)


def test_while_the_server_is_away_further_requests_fail_at_once(kube: KubeServer) -> None:
    connection = kube.connection(patience=Patience(first_delay_seconds=0.001, rest_seconds=60))
    kube.fail("PATCH", 503, times=9)
    for _ in range(5):
        with pytest.raises(Away):
            connection.patch(PODS, "one", {}, Pod)
    assert kube.count("PATCH") == 3
    kube.put(kube_state.PODS, pod("one"))
    # A watcher's own patience is its own.
    assert connection.with_patience(QUICK).get(PODS, "one", Pod).metadata.name == "one"


def test_an_unreachable_server_is_away() -> None:
    client = httpx.Client(base_url="http://127.0.0.1:9")  # discard: nobody listens
    counted: list[tuple[str, int]] = []
    connection = Connection(Exchange(client, lambda verb, code: counted.append((verb, code)), QUICK), "test")
    with pytest.raises(Busy, match="can't get pods one in namespace test"):
        connection.get(PODS, "one", Pod)
    assert counted == [("get", 0)] * 3


def test_an_answer_that_makes_no_sense_is_an_error(kube: KubeServer) -> None:
    kube.put(kube_state.PODS, {**pod("one"), "status": {"phase": 5}})
    with pytest.raises(KubeError, match="can't be understood"):
        kube.connection().get(PODS, "one", Pod)


def test_the_version_is_read_where_it_is_decorated(kube: KubeServer) -> None:
    assert kube.connection().server_version() == (1, 30)
