"""Models' servers as pods: what is asked of the cluster and of the api, on a stand-in for each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sublet_hub.cluster import records
from sublet_hub.cluster.kube.lease_pods import PodSettings
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.domain import accounts
from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.model_leases import Holder
from sublet_hub.domain.models import Licence, Model, ModelFile, Serving, Upstream
from sublet_hub.gateway import in_pods
from sublet_hub.gateway.errors import ModelAway, NoRoomForModel
from sublet_hub.gateway.in_pods import InPods, PodOptions
from sublet_hub.gateway.lease_api import Granted, LeaseRefused
from sublet_hub.gateway.server_pods import Owner, ServerPodSettings
from tests.cluster.kube_server import kube_server
from tests.cluster.kube_state import CUT, NAMESPACE, PODS, Json, KubeServer

LEASE = "0123456789abcdef0123456789abcdef"
HOUR_MS = 3_600_000
UPSTREAM = Upstream(None, "lid", None, "fasttext", "gpu-1x", Tier.GUARANTEED)
LID = Model(
    *("lid", "Language", "fastText", "Classify", "", Licence("o", "O", "1", "https://example.org/"), "fasttext"),
    files=(ModelFile("lid.ftz", 1, "0" * 64),),
    serving=Serving((UPSTREAM,), 512, 128),
)
ME, NEIGHBOUR = Owner("gateway-1", "uid-1", "run-2"), Owner("gateway-2", "uid-2", "run-n")
OPTIONS = PodOptions(
    ServerPodSettings(PodSettings("warden:1", 700_000), "models", "notebook:1", "vllm:1", "IfNotPresent"),
    {"gpu-1x": Placement("gpu-1x", "gpu", 1, 1000, 4, 2**34, 2**30)},
    start_seconds=600,
)
RUNNING = {"running": {"startedAt": "2026-11-23T10:00:05Z"}}


@dataclass
class FakeLeases:
    """The api, which grants leases of a certain length."""

    refusal: Exception | None = None
    lasts_ms: int = HOUR_MS
    gpus_milli: int = 1000
    asked: list[tuple[str, Tier, str]] = field(default_factory=list)
    given_back: list[tuple[str, bool]] = field(default_factory=list)
    is_away: bool = False

    async def ask(self, flavor: str, tier: Tier, name: str) -> Granted:
        self.asked.append((flavor, tier, name))
        if self.refusal is not None:
            raise self.refusal
        lease_id = f"{len(self.asked):x}{LEASE[1:]}"
        return Granted(lease_id, records.wall_ms() + self.lasts_ms, (), self.gpus_milli, "quota")

    async def held(self) -> Mapping[str, str]:
        raise AssertionError("what is left is found in the cluster")

    async def give_back(self, lease_id: str, why: str, *, shutdown: bool) -> None:
        assert why
        if self.is_away:
            raise Unavailable("away")
        self.given_back.append((lease_id, shutdown))


@pytest.fixture
def kube() -> Iterator[KubeServer]:
    with kube_server() as made:
        yield made


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases()


def place(kube: KubeServer, leases: FakeLeases, owner: Owner = ME) -> InPods:
    return InPods(kube.connection(), leases, Holder("admin", accounts.user("admin")), owner, OPTIONS)


@pytest.fixture
def pods(kube: KubeServer, leases: FakeLeases) -> InPods:
    return place(kube, leases)


def only(kube: KubeServer) -> Json:
    (found,) = kube.list(PODS)
    return found


def becomes(kube: KubeServer, state: Json, phase: str = "Running", **metadata: object) -> None:
    """As a kubelet tells."""
    pod = only(kube)
    status = {"phase": phase, "podIP": "127.0.0.1", "containerStatuses": [{"name": "notebook", "state": state}]}
    kube.put(PODS, {**pod, "metadata": {**pod["metadata"], **metadata}, "status": status})


async def test_a_server_is_a_pod_of_the_lease_that_was_granted(
    pods: InPods, kube: KubeServer, leases: FakeLeases
) -> None:
    running = await pods.start(LID, UPSTREAM, 1_000)
    ((flavor, tier, name),) = leases.asked
    assert (flavor, tier) == ("gpu-1x", Tier.GUARANTEED)
    assert name.startswith("lid-")
    made = only(kube)
    assert made["metadata"]["annotations"]["sublet.dev/server"] == f"model:{name}"
    assert made["metadata"]["annotations"]["sublet.dev/account"] == "user:admin"
    assert made["metadata"]["annotations"]["sublet.dev/deadline-reason"] == "quota"
    assert made["metadata"]["labels"]["sublet.dev/lease"] == f"1{LEASE[1:]}"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert running.is_alive
    assert running.ends_at_ms == int(made["metadata"]["annotations"]["sublet.dev/deadline"])


class Healthy(BaseHTTPRequestHandler):
    """A model's server that is well once it is told to be."""

    status = 503

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Healthy]]:
    handler = type("Handler", (Healthy,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        monkeypatch.setattr(in_pods, "PORT", made.server_address[1])
        monkeypatch.setattr(in_pods, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(in_pods, "HEALTH_SECONDS", 0.0)
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield handler
        made.shutdown()


async def test_it_answers_when_it_runs_and_is_well(pods: InPods, kube: KubeServer, server: type[Healthy]) -> None:
    running = await pods.start(LID, UPSTREAM, 1_000)
    assert not await running.answers(), "no node has it yet"
    becomes(kube, {"waiting": {"reason": "ImagePullBackOff"}}, "Pending")
    assert not await running.answers()
    assert "ImagePullBackOff" in running.printed()
    becomes(kube, RUNNING)
    assert not await running.answers(), "it loads its model"
    server.status = 200
    assert await running.answers()
    assert running.address.startswith("http://127.0.0.1:")


async def test_an_api_server_that_is_away_is_no_answer_and_no_end(
    pods: InPods, kube: KubeServer, server: type[Healthy]
) -> None:
    running = await pods.start(LID, UPSTREAM, 1_000)
    becomes(kube, RUNNING)
    server.status = 200
    before = running.ends_at_ms
    kube.fail("GET", 500, times=100)
    assert not await running.answers()
    with pytest.raises(OSError, match="scripted"):
        await running.look()
    assert running.is_alive
    assert running.ends_at_ms == before


async def test_it_learns_of_its_deadline_and_of_its_end(pods: InPods, kube: KubeServer, leases: FakeLeases) -> None:
    running = await pods.start(LID, UPSTREAM, 1_000)
    annotations = only(kube)["metadata"]["annotations"]
    becomes(kube, RUNNING, annotations={**annotations, "sublet.dev/deadline": "1795000000000"})
    await running.look()
    assert (running.ends_at_ms, running.is_alive) == (1_795_000_000_000, True)
    becomes(kube, {"terminated": {"exitCode": 137, "reason": "Error"}})
    await running.look()
    assert not running.is_alive
    assert "exit code 137" in running.printed()
    await running.end("It has ended.")
    assert leases.given_back == [], "the meter knows better why"


@pytest.mark.parametrize("how", ["removed", "replaced", "deleted"])
async def test_one_that_is_taken_away_is_not_alive(pods: InPods, kube: KubeServer, how: str) -> None:
    running = await pods.start(LID, UPSTREAM, 1_000)
    if how == "deleted":
        becomes(kube, RUNNING, deletionTimestamp="2026-11-23T10:00:00Z")
    elif how == "replaced":
        becomes(kube, RUNNING, uid="another")
    else:
        kube.remove(PODS, only(kube)["metadata"]["name"])
    await running.look()
    assert not running.is_alive


@pytest.mark.parametrize("is_away", [False, True])
async def test_the_end_gives_the_lease_back_and_leaves_the_rest_to_the_meter(
    pods: InPods,
    kube: KubeServer,
    leases: FakeLeases,
    is_away: bool,
) -> None:
    running = await pods.start(LID, UPSTREAM, 1_000)
    leases.is_away = is_away
    await running.end("No call for 900 s.", shutdown=True)
    assert leases.given_back == ([] if is_away else [(f"1{LEASE[1:]}", True)])
    left = only(kube)["metadata"]
    assert "deletionTimestamp" in left
    assert left["finalizers"] == ["sublet.dev/metering"], "its end is yet to be posted"


# ---------------------------------------------------------------- starts that fail


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        (LeaseRefused("no-capacity", "All leased.", None), NoRoomForModel, "all GPUs .* are leased"),
        (Unavailable("away"), NoRoomForModel, "does not answer"),
        (LeaseRefused("not-allowed", "It needs a scope.", None), ModelAway, "the log says why"),
    ],
    ids=lambda value: getattr(value, "type_name", ""),
)
async def test_without_a_lease_there_is_no_pod(
    pods: InPods, kube: KubeServer, leases: FakeLeases, refusal: Exception, error: type[ModelAway], words: str
) -> None:
    leases.refusal = refusal
    with pytest.raises(error, match=words):
        await pods.start(LID, UPSTREAM, 1_000)
    assert kube.requests == []


async def test_a_lease_that_would_be_over_soon_is_given_back(
    pods: InPods, kube: KubeServer, leases: FakeLeases
) -> None:
    leases.lasts_ms = 5_000
    with pytest.raises(NoRoomForModel, match="too little time"):
        await pods.start(LID, UPSTREAM, 60_000)
    assert leases.given_back == [(f"1{LEASE[1:]}", False)]
    assert kube.list(PODS) == []


async def test_a_pod_that_the_cluster_refuses_costs_nothing(
    pods: InPods, kube: KubeServer, leases: FakeLeases
) -> None:
    kube.fail("POST", 403, message="exceeded quota")
    with pytest.raises(ModelAway, match="could not be started in the cluster"):
        await pods.start(LID, UPSTREAM, 1_000)
    assert leases.given_back == [(f"1{LEASE[1:]}", False)]


async def test_a_pod_that_may_have_been_made_is_deleted(pods: InPods, kube: KubeServer, leases: FakeLeases) -> None:
    kube.fail("POST", CUT)
    with pytest.raises(ModelAway):
        await pods.start(LID, UPSTREAM, 1_000)
    assert leases.given_back == [(f"1{LEASE[1:]}", False)]
    (deleted,) = (each.path for each in kube.requests if each.method == "DELETE")
    assert deleted.endswith(f"-{'1' + LEASE[1:12]}")


async def test_a_flavor_that_is_not_what_was_granted_is_not_used(
    pods: InPods, kube: KubeServer, leases: FakeLeases
) -> None:
    leases.gpus_milli = 2000
    with pytest.raises(ModelAway):
        await pods.start(LID, UPSTREAM, 1_000)
    assert leases.given_back == [(f"1{LEASE[1:]}", False)]
    assert kube.list(PODS) == []


async def test_a_start_that_is_cancelled_leaves_no_pod_behind(
    pods: InPods, kube: KubeServer, leases: FakeLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    make = pods._make

    def slowly(*told: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return make(*told)

    monkeypatch.setattr(pods, "_make", slowly)
    starting = asyncio.ensure_future(pods.start(LID, UPSTREAM, 1_000))
    await asyncio.to_thread(begun.wait, 30)
    starting.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert leases.given_back == [(f"1{LEASE[1:]}", False)]
    assert "deletionTimestamp" in only(kube)["metadata"]


# ---------------------------------------------------------------- gateways that are gone


def gateway(kube: KubeServer, owner: Owner, phase: str = "Running") -> None:
    kube.put(PODS, {"metadata": {"name": owner.name, "uid": owner.uid}, "status": {"phase": phase}})


async def ended_by_tidying(kube: KubeServer, leases: FakeLeases) -> set[str]:
    await place(kube, leases).tidy()
    deleted = {
        each["metadata"]["labels"]["sublet.dev/gateway-run"]
        for each in kube.list(PODS)
        if "deletionTimestamp" in each["metadata"] and "labels" in each["metadata"]
    }
    assert len(leases.given_back) == len(deleted)
    assert all(shutdown for _, shutdown in leases.given_back)
    return deleted


async def test_pods_of_gateways_that_are_gone_are_ended_and_no_others(kube: KubeServer, leases: FakeLeases) -> None:
    before = Owner(ME.name, ME.uid, "run-1")
    replaced = Owner(NEIGHBOUR.name, "uid-0", "run-0")
    for owner in (ME, before, NEIGHBOUR, replaced, Owner("gateway-3", "uid-3", "run-3")):
        await place(kube, leases, owner).start(LID, UPSTREAM, 1_000)
    gateway(kube, ME)
    gateway(kube, NEIGHBOUR)
    assert await ended_by_tidying(kube, leases) == {"run-1", "run-0", "run-3"}


async def test_a_gateway_whose_pod_has_ended_is_gone(kube: KubeServer, leases: FakeLeases) -> None:
    await place(kube, leases, Owner("gateway-9", "uid-9", "run-9")).start(LID, UPSTREAM, 1_000)
    kube.put(PODS, {"metadata": {"name": "gateway-9", "uid": "uid-9"}, "status": {"phase": "Failed"}})
    assert await ended_by_tidying(kube, leases) == {"run-9"}


@pytest.mark.parametrize(("ago", "ended"), [(10, set()), (70, {"run-n"})])
async def test_a_gateway_on_a_silent_node_is_gone_when_it_should_have_been(
    kube: KubeServer, leases: FakeLeases, ago: int, ended: set[str]
) -> None:
    await place(kube, leases, NEIGHBOUR).start(LID, UPSTREAM, 1_000)
    deleted_at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    metadata = {"name": NEIGHBOUR.name, "uid": NEIGHBOUR.uid, "deletionTimestamp": deleted_at}
    kube.put(PODS, {"metadata": metadata, "status": {"phase": "Running"}})
    assert await ended_by_tidying(kube, leases) == ended


async def test_notebooks_and_standing_servers_are_left_alone(kube: KubeServer, leases: FakeLeases) -> None:
    for number, labels in enumerate(({"sublet.dev/lease": LEASE}, {"sublet.dev/serves": "lid"}, {})):
        pod = {"metadata": {"name": f"other-{number}", "labels": labels}, "status": {"phase": "Running"}}
        kube.put(PODS, pod)
    await place(kube, leases).tidy()
    assert leases.given_back == []
    assert kube.count("DELETE") == 0
    assert NAMESPACE in kube.requests[0].path
