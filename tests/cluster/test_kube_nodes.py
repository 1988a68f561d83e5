"""How far nodes are believed, through all they do: what is asked of the API server for it, and what isn't."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec
import pytest

from sublet_hub.cluster.kube import objects
from sublet_hub.cluster.kube.mirror import Snapshot
from sublet_hub.cluster.kube.nodes import Nodes
from sublet_hub.cluster.kube.objects import Node, micro_time
from sublet_hub.cluster.kube.reading import Vouched
from sublet_hub.cluster.kube.reflector import Reflector
from tests.cluster.kube_server import kube_server
from tests.cluster.kube_state import KubeServer

HEARTBEATS = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
START = 1_795_000_000_000
LOST_MS = 300_000


class Copy:
    """The copy of the nodes, as a test says it is."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.version = 0
        self.at_ms = START

    def put(self, name: str, ready: str, since_ms: int = START) -> None:
        """`ready` as the node's condition has it."""
        condition = {"type": "Ready", "status": ready, "lastTransitionTime": micro_time(since_ms)}
        said = {"metadata": {"name": name, "uid": name}, "status": {"conditions": [condition]}}
        self.nodes = {**self.nodes, name: objects.decoder(Node).decode(msgspec.json.encode(said))}
        self.version += 1

    def remove(self, name: str) -> None:
        self.nodes = {each: node for each, node in self.nodes.items() if each != name}
        self.version += 1

    def snapshot(self) -> Snapshot[Node]:
        return Snapshot(self.version, self.at_ms, self.nodes, {})


class Watched:
    """Nodes, with an API server to ask for heartbeats."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.copy = Copy()
        self._connection = kube.connection()
        self.restart()

    def restart(self) -> None:
        """Forget what was known."""
        self.nodes = Nodes(self._connection, cast("Reflector[Node]", self.copy), LOST_MS)

    def at(self, seconds: int, name: str = "n1", *, nodes_known: int | None = None) -> Vouched:
        """How far a node is believed at a moment; `nodes_known`: up to when nodes are, if not up to now."""
        now = START + seconds * 1000
        self.copy.at_ms = now if nodes_known is None else START + nodes_known * 1000
        self.nodes.refresh(now)
        return self.nodes.vouch(name, now)

    def beat(self, seconds: int, name: str = "n1") -> None:
        spec = {"holderIdentity": name, "renewTime": micro_time(START + seconds * 1000)}
        self.kube.put(HEARTBEATS, {"metadata": {"name": name}, "spec": spec})

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    with kube_server() as kube:
        made = Watched(kube)
        made.copy.put("n1", "True")
        yield made
        made.close()


def until(seconds: int, *, lost: bool = False) -> Vouched:
    return Vouched(START + seconds * 1000, lost)


def test_a_ready_node_is_believed_up_to_now_without_asking(watched: Watched) -> None:
    assert watched.at(10) == until(10)
    assert watched.at(11) == until(11)
    assert watched.at(20, nodes_known=15) == until(15)
    assert watched.kube.requests == []


def test_a_pod_without_a_node_is_known_as_far_as_the_api_server_is(watched: Watched) -> None:
    assert watched.at(7, name="") == until(7)


def test_a_silent_node_is_believed_up_to_its_last_heartbeat_which_is_asked_for_once(watched: Watched) -> None:
    watched.beat(100)
    watched.at(140)
    watched.copy.put("n1", "Unknown")
    assert watched.at(145) == until(100)
    assert watched.at(400) == until(100)
    assert watched.at(401) == until(100, lost=True)
    assert watched.kube.count("GET") == 1


def test_a_node_that_is_back_is_believed_again_and_asked_again_when_it_is_silent_again(watched: Watched) -> None:
    watched.beat(100)
    watched.copy.put("n1", "Unknown")
    assert watched.at(145) == until(100)
    watched.copy.put("n1", "True")
    assert watched.at(150) == until(150)
    watched.beat(200)
    watched.copy.put("n1", "Unknown")
    assert watched.at(250) == until(200)
    assert watched.kube.count("GET") == 2


def test_a_node_that_says_itself_that_it_is_not_ready_is_never_lost(watched: Watched) -> None:
    """Its runtime hangs, say; what runs there may well run on."""
    watched.copy.put("n1", "False", since_ms=START + 50_000)
    assert watched.at(60) == until(50)
    assert watched.at(5000) == until(50)
    assert watched.kube.requests == []


def test_a_node_that_is_gone_without_a_heartbeat_was_last_ready_when_it_was_seen_so(watched: Watched) -> None:
    watched.at(30)
    watched.copy.remove("n1")
    assert watched.at(31) == until(30)
    assert watched.at(330) == until(30)
    assert watched.at(331) == until(30, lost=True)
    assert watched.kube.count("GET") == 1


def test_a_node_that_nobody_knows_anything_of_is_given_time_all_the_same(watched: Watched) -> None:
    """It may be new, or the meter."""
    nobody_knows = Vouched(0)
    assert watched.at(0, name="n2") == nobody_knows
    assert watched.at(300, name="n2") == nobody_knows
    assert watched.at(301, name="n2") == Vouched(0, lost=True)
    watched.copy.put("n2", "True")
    assert watched.at(302, name="n2") == until(302)


def test_while_nodes_are_not_seen_none_is_lost(watched: Watched) -> None:
    watched.beat(100)
    watched.copy.put("n1", "Unknown")
    assert watched.at(1000, nodes_known=150) == until(100)
    assert watched.at(1000, nodes_known=401) == until(100, lost=True)


@pytest.mark.parametrize("status", [500, 429])
def test_while_a_heartbeat_cannot_be_read_the_node_is_not_lost(watched: Watched, status: int) -> None:
    watched.beat(100)
    watched.at(120)
    watched.copy.put("n1", "Unknown")
    watched.kube.fail("GET", status, times=3)  # as often as it is tried at once
    assert watched.at(1000) == until(120)
    assert watched.at(1001) == until(100, lost=True)


def test_without_the_right_to_read_heartbeats_the_last_ready_moment_counts(watched: Watched) -> None:
    watched.at(120)
    watched.copy.put("n1", "Unknown")
    watched.kube.fail("GET", 403)
    assert watched.at(200) == until(120)
    assert watched.at(421) == until(120, lost=True)


def test_a_restart_forgets_nothing_that_the_cluster_knows(watched: Watched) -> None:
    watched.beat(100)
    watched.copy.put("n1", "Unknown")
    watched.at(401)
    watched.restart()
    assert watched.at(402) == until(100, lost=True)


def test_nodes_that_are_gone_take_no_memory(watched: Watched) -> None:
    for number in range(50):
        watched.copy.put(f"x{number}", "True")
        watched.at(number, name=f"x{number}")
        watched.copy.remove(f"x{number}")
    watched.at(60)
    watched.at(61)
    kept = (watched.nodes._ready_at_ms, watched.nodes._last_ms, watched.nodes._silent_since_ms)
    assert [set(each) for each in kept] == [{"n1"}, set(), set()]
