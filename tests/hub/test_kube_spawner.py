"""The spawner of pods, against a stand-in for the API server."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from jupyterhub.orm import Server
from kubespawner.clients import load_config

from sublet_hub.hub import pod_wording, wording
from sublet_hub.hub.kube_spawner import LeaseKubeSpawner
from sublet_hub.hub.pod_spawner import ANOTHER_CATALOG, TOO_LATE, PodSpawner
from sublet_hub.hub.refusal import LeaseRefusedError
from tests.hub.conftest import DEADLINE_SECONDS, make_spawner
from tests.hub.fake_api import FakeApi
from tests.hub.fake_kube import NAMESPACE, FakeKube, Json, fake_kube
from tests.hub.pods import SETTINGS, placement

Make = Callable[..., Any]

PLACEMENTS = {
    "cpu": placement(flavor="cpu", gpus=0, gpus_milli=0),
    "sim-1x": placement(flavor="sim-1x", gpus=1, gpus_milli=1000),
}
RUNNING = {"name": "notebook", "ready": True, "state": {"running": {}}}
RUNS: Json = {"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [RUNNING]}


def ended(code: int = 0, reason: str = "") -> Json:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    return {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "containerStatuses": [{**RUNNING, "ready": False, "state": state}],
    }


def runs(pod: Json, address: str = "10.1.2.3") -> None:
    pod["spec"]["nodeName"] = "node"
    pod["status"] = RUNS | {"podIP": address}


def waits(pod: Json, said: str) -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    pod["status"]["conditions"] = [unscheduled]


@pytest.fixture
async def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeKube]:
    async with fake_kube(tmp_path) as kube:
        kube.on_create = runs
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
        )
        load_config.cache_clear()
        PodSpawner._capabilities = None
        yield kube
        await LeaseKubeSpawner._stop_all_reflectors()
    load_config.cache_clear()
    PodSpawner._capabilities = None


@pytest.fixture
def make(api: FakeApi, kube: FakeKube) -> Make:
    def spawner(**traits: Any) -> Any:
        given: dict[str, Any] = {
            "namespace": NAMESPACE,
            "pvc_name_template": "home-{username}",
            "storage_pvc_ensure": True,
            "storage_capacity": "1Gi",
            "start_timeout": 30,
            "delete_grace_period": 7,
            "sublet_listen_seconds": 0,
            "sublet_pods": SETTINGS,
            "sublet_placements": PLACEMENTS,
            **traits,
        }
        return make_spawner(LeaseKubeSpawner, api.url, **given)

    return spawner


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()) or (isinstance(found, Awaitable) and not await found):
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.01)


async def refusal_of(spawner: Any) -> LeaseRefusedError:
    with pytest.raises(LeaseRefusedError) as refused:
        await spawner.start()
    return refused.value


def given_back(api: FakeApi) -> int:
    return len(api.asked("POST", "/stop"))


async def test_a_start_makes_a_home_and_a_pod_that_is_named_after_the_lease(
    make: Make, api: FakeApi, kube: FakeKube
) -> None:
    spawner = make(name="big one")
    assert await spawner.start() == "http://10.1.2.3:8888"
    (lease,) = api.leases
    ((name, pod),) = kube.pods.items()
    assert name == spawner.pod_name == f"jupyter-alice-big-one-{lease[:12]}"
    assert pod["metadata"]["annotations"]["sublet.dev/lease"] == lease
    assert pod["spec"]["initContainers"][0]["restartPolicy"] == "Always"
    (notebook,) = pod["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in notebook["env"]}
    assert env["SUBLET_LEASE_ID"] == lease
    assert env["SUBLET_STOP_GRACE_SECONDS"] == "7"
    assert env["SUBLET_MODELS_DIR"] == "/models"
    assert env["SUBLET_API_URL"] == f"{api.url}/services/sublet/api"
    assert (env["NVIDIA_VISIBLE_DEVICES"], env["HOME"]) == ("void", "/home/jovyan")
    assert list(kube.objects["persistentvolumeclaims"]) == ["home-alice"]
    assert await spawner.poll() is None
    assert spawner.get_state() | {"pod_name": name, "lease_id": lease} == spawner.get_state()


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "large"},
        {"gpus": -10, "image": "evil", "profile-option-x--image": "evil"},
        {"flavor": "cpu", "kubespawner_override": {"image": "evil"}},
    ],
)
async def test_no_option_of_a_user_reaches_the_pod(make: Make, api: FakeApi, kube: FakeKube, options: Json) -> None:
    spawner = make()
    spawner.user_options = options
    assert (await refusal_of(spawner)).reason == "choice"
    assert not kube.calls

    # Even if they came past the choice: what KubeSpawner knows of options is never asked.
    honest, hostile = (
        make(),
        make(profile_list=[{"display_name": "Large", "slug": "large", "kubespawner_override": {"image": "x"}}]),
    )
    for each in (honest, hostile):
        each.user_options = {}
        await each.start()
        each.user_options = options if each is hostile else {}
        await each.load_user_options()
    specs = [each._lease_pod(await each.get_pod_manifest())["spec"] for each in (honest, hostile)]
    for spec in specs:
        spec["containers"][0]["env"] = [e for e in spec["containers"][0]["env"] if e["name"] != "SUBLET_LEASE_ID"]
    assert specs[0] == specs[1]


async def test_a_user_called_like_a_template_is_only_a_name(make: Make, api: FakeApi, kube: FakeKube) -> None:
    await make(user="{userid}$(HOME)").start()
    (pod,) = kube.pods.values()
    assert pod["metadata"]["annotations"]["sublet.dev/user"] == "{userid}$(HOME)"


async def test_a_stop_waits_for_the_notebook_and_not_for_the_object(make: Make, api: FakeApi, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    stopping = asyncio.ensure_future(spawner.stop())
    await until(lambda: kube.asked("DELETE", "pods"), "the deletion")
    assert kube.asked("DELETE", "pods") == [{"gracePeriodSeconds": 7}]
    await asyncio.wait([stopping], timeout=0.3)
    assert not stopping.done()
    await kube.change(spawner.pod_name, ended(143))
    await stopping
    assert spawner.pod_name in kube.pods
    assert await spawner.poll() == 143
    assert given_back(api) == 1


async def test_a_stop_in_a_hurry_still_has_the_node_say_when(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    stopping = asyncio.ensure_future(spawner.stop(now=True))
    await until(lambda: kube.asked("DELETE", "pods"), "the deletion")
    assert kube.asked("DELETE", "pods") == [{"gracePeriodSeconds": 1}]
    await kube.remove(spawner.pod_name)
    await stopping


async def test_a_stop_gives_up_waiting_for_a_lost_node(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sublet_hub.hub.pod_watch.END_SECONDS", -6.9)
    spawner = make()
    await spawner.start()
    await spawner.stop()


async def test_the_next_start_has_a_pod_of_its_own(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    first = spawner.pod_name
    await kube.change(first, ended())
    spawner.clear_state()
    await spawner.start()
    assert spawner.pod_name != first
    assert set(kube.pods) == {first, spawner.pod_name}
    assert len(kube.asked("POST", "persistentvolumeclaims")) == 1


async def test_a_server_that_ended_by_itself_is_cleaned_away_and_nobody_is_said_to_have_stopped_it(
    make: Make, api: FakeApi, kube: FakeKube
) -> None:
    spawner = make()
    await spawner.start()
    await kube.change(spawner.pod_name, ended(137, "OOMKilled"))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (code := await spawner.poll()) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert code == 137
    assert len(kube.asked("DELETE", "pods")) == 1
    await until(lambda: spawner._seen().deleting, "the deletion to be seen")
    assert await spawner.poll() == 137
    assert len(kube.asked("DELETE", "pods")) == 1
    assert given_back(api) == 0


async def test_a_pod_that_the_watch_lost_sight_of_is_asked_for(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    spawner.pod_reflector.resources = {}
    assert await spawner.poll() is None
    await kube.remove(spawner.pod_name)
    spawner.pod_reflector.resources = {}
    assert await spawner.poll() == 1


async def test_while_the_cluster_does_not_answer_nothing_has_ended(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    state = json.loads(json.dumps(spawner.get_state()))
    await LeaseKubeSpawner._stop_all_reflectors()
    again = make()
    again.load_state(state)
    kube.refusals.append(("GET", "pods", 500, "away"))
    assert await again.poll() is None
    # The watch that could not begin is begun anew.
    assert await again.poll() is None
    assert again.pod_reflector.pods.keys() == {f"{NAMESPACE}/{again.pod_name}"}


def taken_up(make: Make, state: Json) -> Any:
    """The spawner as a hub makes it from its database, where an address stands that is no longer right."""
    again = make()
    again.load_state(state)
    again.orm_spawner.server = Server(proto="http", ip="10.9.9.9", port=1, base_url="/user/alice/", cookie_name="c")
    again.db = Mock()
    return again


async def test_a_hub_that_comes_back_waits_for_the_address_of_a_pod_on_its_way(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    state = json.loads(json.dumps(spawner.get_state()))
    await kube.change(spawner.pod_name, {"phase": "Pending"})
    await LeaseKubeSpawner._stop_all_reflectors()
    again = taken_up(make, state)
    asked = asyncio.ensure_future(again.get_url())
    await asyncio.wait([asked], timeout=0.3)
    assert not asked.done()
    await kube.change(spawner.pod_name, RUNS)
    assert await asked == "http://10.1.2.3:8888/user/alice/"


async def test_a_hub_that_comes_back_does_not_wait_for_a_pod_that_is_gone(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    state = json.loads(json.dumps(spawner.get_state()))
    await kube.remove(spawner.pod_name)
    await LeaseKubeSpawner._stop_all_reflectors()
    again = taken_up(make, state)
    assert await again.get_url() == "http://10.9.9.9:1/user/alice/"


async def test_a_watch_that_gave_up_is_begun_anew(make: Make, kube: FakeKube) -> None:
    spawner = make()
    await spawner.start()
    before = spawner.pod_reflector
    before.watch_task.cancel()
    await asyncio.wait([before.watch_task])
    assert await spawner.poll() is None
    assert spawner.pod_reflector is not before


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_api_server_is_asked_again(make: Make, kube: FakeKube, status: int) -> None:
    kube.refusals.append(("POST", "pods", status, "busy"))
    await make().start()
    assert len(kube.asked("POST", "pods")) == 2


async def test_an_answer_that_got_lost_makes_no_second_pod_and_kills_none(
    make: Make, api: FakeApi, kube: FakeKube
) -> None:
    kube.lost.append(("POST", "pods"))
    await make().start()
    assert len(kube.asked("POST", "pods")) == 2
    assert len(kube.pods) == 1
    assert not kube.asked("DELETE", "pods")


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        (403, "exceeded quota: q, requested: pods=1", pod_wording.FULL),
        (403, 'admission webhook "w" denied the request: secret name', pod_wording.WRONG_POD),
        (422, "Pod is invalid", pod_wording.WRONG_POD),
    ],
)
async def test_a_refusal_is_told_in_words_and_its_details_go_to_the_log(
    make: Make, api: FakeApi, kube: FakeKube, status: int, said: str, sentence: str
) -> None:
    kube.refusals.append(("POST", "pods", status, said))
    refused = await refusal_of(make())
    assert (refused.reason, refused.message, refused.status_code) == ("not-admitted", sentence, 503)
    assert said in refused.log_message.replace('\\"', '"')
    assert said not in refused.message_html
    assert given_back(api) == 1


async def test_a_home_that_can_not_be_made_is_told(make: Make, api: FakeApi, kube: FakeKube) -> None:
    kube.refusals.append(("POST", "persistentvolumeclaims", 403, "exceeded quota: homes"))
    assert (await refusal_of(make())).message == pod_wording.FULL
    assert not kube.asked("POST", "pods")
    assert given_back(api) == 1


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("0/9 nodes are available: 9 Insufficient nvidia.com/gpu.", pod_wording.NO_ROOM),
        ("0/9 nodes are available: 9 node(s) had volume node affinity conflict.", pod_wording.NO_HOME),
    ],
)
async def test_a_start_that_takes_too_long_says_why_and_leaves_nothing(
    make: Make, api: FakeApi, kube: FakeKube, said: str, sentence: str
) -> None:
    kube.on_create = partial(waits, said=said)
    refused = await refusal_of(make(start_timeout=8))
    assert refused.reason == "start-timeout"
    assert refused.message == f"Your server did not start within {wording.duration(3)}. {sentence}"
    assert said in refused.log_message
    assert (given_back(api), len(kube.asked("DELETE", "pods"))) == (1, 1)


async def test_a_start_that_is_cancelled_leaves_nothing(make: Make, api: FakeApi, kube: FakeKube) -> None:
    kube.on_create = lambda _pod: None
    starting = asyncio.ensure_future(make().start())
    await until(lambda: kube.pods, "the pod")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (given_back(api), len(kube.asked("DELETE", "pods"))) == (1, 1)


async def test_a_pod_that_ends_while_it_starts_is_not_waited_for(make: Make, api: FakeApi, kube: FakeKube) -> None:
    def evicted(pod: Json) -> None:
        pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}

    kube.on_create = evicted
    refused = await refusal_of(make())
    assert (refused.reason, refused.message) == ("ended-early", pod_wording.TAKEN_AWAY)
    assert given_back(api) == 1


async def test_a_start_is_over_as_soon_as_the_server_listens(make: Make, kube: FakeKube) -> None:
    # A port that refuses until somebody listens.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        kube.on_create = lambda pod: runs(pod, "127.0.0.1")
        starting = asyncio.ensure_future(make(sublet_listen_seconds=30.0, port=port).start())
        await asyncio.wait([starting], timeout=0.5)
        assert not starting.done()
        held.listen()
        assert await starting == f"http://127.0.0.1:{port}"


async def test_a_server_that_ends_before_it_listens_is_not_waited_for(
    make: Make, api: FakeApi, kube: FakeKube
) -> None:
    kube.on_create = lambda pod: runs(pod, "127.0.0.1")
    spawner = make(sublet_listen_seconds=30.0, port=1)
    starting = asyncio.ensure_future(spawner.start())
    await until(lambda: spawner.pod_name in kube.pods, "the pod")
    await kube.change(spawner.pod_name, ended(1, "OOMKilled"))
    with pytest.raises(LeaseRefusedError) as refused:
        await starting
    assert refused.value.message == pod_wording.NO_MEMORY
    assert given_back(api) == 1


async def test_a_server_that_nobody_can_reach_is_left_to_the_hub(make: Make) -> None:
    assert await make(sublet_listen_seconds=0.2).start() == "http://10.1.2.3:8888"


async def test_a_grant_that_has_become_too_old_starts_nothing(make: Make, api: FakeApi, kube: FakeKube) -> None:
    kube.refusals += [("POST", "pods", 503, "busy")] * 1000
    refused = await refusal_of(make(sublet_grant_ttl=1.0))
    assert (refused.reason, refused.message) == ("too-late", TOO_LATE)
    assert not kube.pods
    assert given_back(api) == 1


@pytest.mark.parametrize("placements", [{}, {"cpu": placement(flavor="cpu", gpus=1, gpus_milli=1000)}])
async def test_what_another_catalog_granted_is_not_started(
    make: Make, api: FakeApi, kube: FakeKube, placements: Json
) -> None:
    refused = await refusal_of(make(sublet_placements=placements))
    assert (refused.reason, refused.message) == ("placement", ANOTHER_CATALOG)
    assert not kube.calls
    assert given_back(api) == 1


async def test_a_hook_that_would_let_user_code_escape_starts_nothing(make: Make, kube: FakeKube) -> None:
    def shares(_spawner: Any, pod: Any) -> Any:
        pod.spec.share_process_namespace = True
        return pod

    assert (await refusal_of(make(modify_pod_hook=shares))).reason == "unguarded"
    assert not kube.pods


async def test_a_hook_takes_nothing_off_a_lease(make: Make, kube: FakeKube) -> None:
    def undoes(_spawner: Any, pod: Any) -> Any:
        pod.metadata.finalizers = []
        pod.metadata.labels = {"mine": "too", "component": "singleuser-server"}
        pod.spec.restart_policy = "Always"
        return pod

    await make(modify_pod_hook=undoes).start()
    (pod,) = kube.pods.values()
    assert pod["metadata"]["finalizers"] == ["sublet.dev/metering"]
    assert pod["metadata"]["labels"].keys() >= {"mine", "sublet.dev/lease"}
    assert pod["spec"]["restartPolicy"] == "Never"


async def test_progress_tells_steps_not_events(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        ("Scheduled", {}),
        ("Pulled", {"fieldPath": "spec.initContainers{warden}"}),
        ("Pulling", {}),
        ("Pulling", {}),
        ("SomethingElse", {}),
        ("Started", {"fieldPath": "spec.containers{notebook}"}),
    ]

    async def events(_self: Any) -> AsyncIterator[Json]:
        for number, (reason, about) in enumerate(said):
            raw = {"reason": reason, "involvedObject": about, "message": "10.0.0.7 node secret"}
            yield {"progress": 10 * number, "raw_event": raw, "message": "…"}

    monkeypatch.setattr("kubespawner.KubeSpawner.progress", events)
    spawner = make()
    spawner.lease_progress.close()
    told = [event async for event in spawner.progress()]
    assert told == [
        {"progress": 45, "message": "A machine was found"},
        {"progress": 55, "message": "Fetching the image that servers run"},
        {"progress": 70, "message": "Waiting for JupyterLab to answer"},
    ]


async def test_progress_tells_what_the_pod_waits_for_when_no_event_does(make: Make, kube: FakeKube) -> None:
    kube.on_create = partial(waits, said="0/9 nodes are available: 9 Insufficient nvidia.com/gpu.")
    spawner = make(start_timeout=9)
    starting = asyncio.ensure_future(refusal_of(spawner))
    told = [event["message"] async for event in spawner.progress()]
    assert told.count(pod_wording.ROOM_STEP) == 1
    assert not [message for message in told if "patient" in message]
    await starting


async def test_the_home_stays_when_the_user_goes(make: Make, kube: FakeKube) -> None:
    spawner = make(delete_pvc=False)
    await spawner.start()
    await spawner.delete_forever()
    assert list(kube.objects["persistentvolumeclaims"]) == ["home-alice"]
