"""Leases as pods on a real cluster: what is made, what runs in it, and that nobody waits for the meter."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sublet_hub.cluster.kube.lease_pods import PodSettings
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.hub import pod_wording
from sublet_hub.hub.kube_spawner import LeaseKubeSpawner
from sublet_hub.hub.refusal import LeaseRefusedError
from tests.fixtures.kube import Image
from tests.hub.conftest import make_spawner
from tests.hub.fake_api import FakeApi, serve
from tests.kube.kubectl import Cluster, Namespace, until

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(400)]

MIB = 2**20
SIZED_SHM_SINCE = (1, 22)
"""Earlier kubelets evict a pod whose shared memory grows beyond its limit, and size none."""

END_SECONDS = 60.0
SERVER = ["python", "-m", "http.server", "8888"]
GPU = Placement("sim-1x", "sim", 1, 1000, 1, 256 * MIB, 64 * MIB)
CPU = Placement("cpu", "cpu", 0, 0, 1, 256 * MIB, 64 * MIB)

Make = Callable[..., Any]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serve(FakeApi()) as api:
        yield api


@pytest.fixture
async def make(api: FakeApi, namespace: Namespace, image: Image) -> AsyncIterator[Make]:
    """Makes spawners that run a small web server in the notebook image."""
    settings = PodSettings(image("warden"), 3600, stop_grace_seconds=2, cpu_reserved_percent=5)

    def spawner(user: str = "alice", **traits: Any) -> Any:
        given: dict[str, Any] = {
            "namespace": namespace.name,
            "image": image("notebook"),
            "image_pull_policy": "IfNotPresent",
            "cmd": SERVER,
            "slug_scheme": "safe",
            "pvc_name_template": "home-{username}",
            "storage_pvc_ensure": True,
            "storage_capacity": "1Gi",
            "start_timeout": 90,
            "delete_grace_period": 2,
            "container_security_context": {"readOnlyRootFilesystem": True},
            "sublet_listen_seconds": 0,  # nobody here reaches pods
            "sublet_pods": settings,
            "sublet_placements": {"cpu": CPU, "sim-1x": GPU},
            **traits,
        }
        return make_spawner(LeaseKubeSpawner, api.url, user=user, **given)

    yield spawner
    await LeaseKubeSpawner._stop_all_reflectors()


def pods(namespace: Namespace) -> list[dict[str, Any]]:
    return namespace.all("pods", "sublet.dev/lease")


def missing(wanted: Any, found: Any, at: str = "") -> list[str]:
    """Where an object lacks what was wanted of it; the API server adds, and must change nothing."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return [at]
        # A field that is false or empty need not be told.
        return [
            lack
            for key, value in wanted.items()
            if key in found or value
            for lack in missing(value, found.get(key), f"{at}.{key}")
        ]
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return [at]
        return [lack for n, value in enumerate(wanted) for lack in missing(value, found[n], f"{at}[{n}]")]
    return [] if wanted == found else [f"{at}: {found!r}, not {wanted!r}"]


INSIDE = """
import json, os, pathlib
def writable(path):
    try:
        pathlib.Path(path, "x").write_text("x")
    except OSError as error:
        return type(error).__name__
    return True
shm = os.statvfs("/dev/shm")
print(json.dumps({
    "uid": os.getuid(), "groups": os.getgroups(), "env": dict(os.environ), "cwd": os.getcwd(),
    "root": writable("/"), "home": writable("/home/jovyan"), "tmp": writable("/tmp"),
    "shm": shm.f_frsize * shm.f_blocks,
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "deadline": os.path.exists("/run/sublet"),
    "processes": [pathlib.Path("/proc", pid, "cmdline").read_text() for pid in os.listdir("/proc") if pid.isdigit()],
}))
"""


async def test_a_lease_is_the_pod_that_was_asked_for(make: Make, cluster: Cluster, namespace: Namespace) -> None:
    spawner = make(name="train")
    spawner.user_options = {"flavor": "sim-1x", "tier": "surplus"}
    url = await spawner.start()
    (pod,) = pods(namespace)
    wanted = spawner._lease_pod(await spawner.get_pod_manifest())
    assert missing(wanted, pod) == []
    assert url == f"http://{pod['status']['podIP']}:8888"
    assert pod["metadata"]["finalizers"] == ["sublet.dev/metering"]
    assert await spawner.poll() is None

    inside = json.loads(namespace.execute(pod["metadata"]["name"], "python", "-c", INSIDE, container="notebook"))
    assert (inside["uid"], 1000 in inside["groups"]) == (1000, True)
    assert (inside["root"], inside["home"], inside["tmp"]) == ("OSError", True, True)
    if cluster.version >= SIZED_SHM_SINCE:
        assert inside["shm"] == 64 * MIB
    assert (inside["token"], inside["deadline"]) == (False, False)
    assert not [each for each in inside["processes"] if "warden" in each]
    env = inside["env"]
    assert env["SUBLET_LEASE_ID"] == spawner.lease_id
    assert env["HOME"] == inside["cwd"] == "/home/jovyan"
    assert "CUDA_VISIBLE_DEVICES" not in env
    assert spawner.sublet_api_token not in env.values()
    await spawner.stop()


async def test_a_stop_waits_for_no_meter_and_neither_does_the_next_start(
    make: Make, api: FakeApi, namespace: Namespace
) -> None:
    spawner = make()
    await spawner.start()
    first = spawner.pod_name
    env = json.loads(namespace.execute(first, "python", "-c", INSIDE, container="notebook"))["env"]
    assert (env["NVIDIA_VISIBLE_DEVICES"], env["CUDA_VISIBLE_DEVICES"]) == ("void", "")
    namespace.execute(first, "sh", "-c", "echo kept > ~/mine", container="notebook")
    begun = time.monotonic()
    await spawner.stop()
    assert time.monotonic() - begun < 25
    held = namespace.pod(first)
    assert held["metadata"]["finalizers"] == ["sublet.dev/metering"]
    assert held["metadata"]["deletionTimestamp"]
    assert await spawner.poll() is not None

    (home,) = namespace.all("pvc")
    spawner.clear_state()
    await spawner.start()
    assert spawner.pod_name != first
    assert namespace.execute(spawner.pod_name, "cat", "mine", container="notebook") == "kept\n"
    assert [each["metadata"]["uid"] for each in namespace.all("pvc")] == [home["metadata"]["uid"]]
    assert home["metadata"]["name"] == "home-alice"
    await spawner.stop(now=True)
    await spawner.delete_forever()
    assert namespace.all("pvc")


async def test_a_hub_that_is_started_again_knows_the_pod(make: Make, api: FakeApi, namespace: Namespace) -> None:
    before = make()
    await before.start()
    state = json.loads(json.dumps(before.get_state()))
    await LeaseKubeSpawner._stop_all_reflectors()
    after = make()
    after.load_state(state)
    assert (after.pod_name, after.lease_id) == (before.pod_name, before.lease_id)
    assert await after.poll() is None
    # A moment later: what kills process 1 goes with it.
    namespace.execute(after.pod_name, "sh", "-c", "(sleep 1; kill 1) >/dev/null 2>&1 &", container="notebook")

    assert await ended(after) == 143
    # Of no use any more; the object waits for the meter. Who ended it is not for the hub to say.
    assert namespace.pod(after.pod_name)["metadata"]["deletionTimestamp"]
    assert not api.asked("POST", "/stop")


async def refusal_of(spawner: Any) -> LeaseRefusedError:
    with pytest.raises(LeaseRefusedError) as refused:
        await spawner.start()
    return refused.value


async def ended(spawner: Any) -> int:
    """The exit code of a server, once its end is seen."""
    deadline = time.monotonic() + END_SECONDS
    while (code := await spawner.poll()) is None:
        assert time.monotonic() < deadline, "the end was not seen"
        await asyncio.sleep(0.1)
    return int(code)


async def test_without_room_the_user_is_told_so_and_nothing_stays(
    make: Make, api: FakeApi, namespace: Namespace, image: Image
) -> None:
    nowhere = Placement("cpu", "cpu", 0, 0, 1, 64 * MIB, 0, node_selector={"no-such": "label"})
    homeless = PodSettings(image("warden"), 3600, has_home=False)
    spawner = make(
        start_timeout=9, sublet_placements={"cpu": nowhere}, sublet_pods=homeless, storage_pvc_ensure=False
    )
    refused = await refusal_of(spawner)
    assert refused.reason == "start-timeout"
    assert refused.message.endswith(pod_wording.NO_ROOM)
    assert "node(s)" in refused.log_message
    (lease,) = api.leases
    assert [call.path.split("/")[-2] for call in api.asked("POST", "/stop")] == [lease]
    (pod,) = pods(namespace)
    assert pod["metadata"]["deletionTimestamp"]
    assert await ended(spawner) == 1


async def test_an_image_that_is_not_there_is_told(make: Make, namespace: Namespace) -> None:
    spawner = make(start_timeout=10, image="no.such/image:1", image_pull_policy="Never")
    assert (await refusal_of(spawner)).message.endswith(pod_wording.NO_IMAGE)


async def test_a_server_that_ends_at_once_is_not_waited_for(make: Make) -> None:
    refused = await refusal_of(make(cmd=["false"]))
    assert (refused.reason, refused.message) == ("ended-early", pod_wording.ENDED_EARLY)


async def test_a_full_namespace_is_told_in_words(make: Make, api: FakeApi, namespace: Namespace) -> None:
    namespace.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    )
    until(lambda: (namespace.get("resourcequota", "q") or {}).get("status", {}).get("hard"), "the quota to hold")
    refused = await refusal_of(make())
    assert (refused.reason, refused.message) == ("not-admitted", pod_wording.FULL)
    assert "exceeded quota" in refused.log_message
    assert api.asked("POST", "/stop")


async def test_a_pod_is_refused_in_words_for_people(make: Make, image: Image) -> None:
    classes = {"guaranteed": "no-such-class"}
    refused = await refusal_of(make(sublet_pods=PodSettings(image("warden"), 3600, priority_classes=classes)))
    assert (refused.reason, refused.message) == ("not-admitted", pod_wording.WRONG_POD)
    assert "no-such-class" in refused.log_message
