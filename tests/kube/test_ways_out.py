"""Nothing is lost, whatever ends a lease: in pods as the chart makes them, with the server extension in them.

In each, a document has changes that nobody saved, and a function of `sublet.on_notice` writes a checkpoint. Then the
lease ends, and the server is started again. The two that idleness is about run all the while.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect

from tests.fixtures.browser import Contexts, SignIn, chromium, complaints, contexts, signing_in
from tests.fixtures.kube import Image
from tests.fixtures.lab import in_lab, run_cell
from tests.fixtures.nvml import compile_nvml
from tests.fixtures.site import Session
from tests.kube.installed import Installed, flavor, installed, merged, values
from tests.kube.kubectl import Cluster, Namespace, Object, new_namespace, until
from tests.kube.page import Page, PodServer

__all__ = ["chromium", "complaints", "contexts"]

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]

START_SECONDS = 90
END_SECONDS = 60
GRACE_SECONDS = 12
NOTICE_SECONDS = 16
"""Longer than the grace: what lies no further ahead than a stop takes is a stop at once (decision 014)."""

IDLE_SECONDS = 300
"""A minute that is seen whole, one more where its record came late, a minute's notice; and a busy machine."""

EDIT = "# nobody saved this"
WITH_FIGURES, WITHOUT = "ida", "nils"
"""Both have a GPU that is said to be real, and only the first one's tells how it is used: that it isn't."""

NVML = "/opt/nvml"
SPAWNER = f"""
c.KubeSpawner.volumes = [{{"name": "nvml", "configMap": {{"name": "nvml"}}}}]
c.KubeSpawner.volume_mounts = [{{"name": "nvml", "mountPath": "{NVML}"}}]
c.Spawner.environment = {{
    "NVIDIA_VISIBLE_DEVICES": "GPU-1",
    "NVML_PERCENT": "0",
    "LD_LIBRARY_PATH": lambda spawner: "{NVML}" if spawner.user.name == "{WITH_FIGURES}" else "",
}}
"""

CHECKPOINT = """
import os, time, sublet

@sublet.on_notice
def checkpoint(notice):
    print(notice.sentence)
    if notice.ending:
        with open("checkpoint.new", "w") as file:
            file.write(notice.reason)
        time.sleep(4)
        os.replace("checkpoint.new", "checkpoint")

print("registered")
"""
"""It takes longer than three probes of the kubelet, of which a stop must not make a second SIGTERM."""

TOO_LONG = """
@sublet.on_notice
def never_done(notice):
    time.sleep(600 if notice.ending else 0)
"""


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    with new_namespace(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def release(namespace: Namespace, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    for kind in ("hub", "notebook", "warden"):
        image(kind)
    library = compile_nvml(tmp_path_factory.mktemp("nvml"))
    namespace.apply(config_map("nvml", library))
    with installed(namespace, ways_values()) as release:
        yield release


def config_map(name: str, file: Path) -> Object:
    content = base64.b64encode(file.read_bytes()).decode()
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": {file.name: content},
    }  # fmt: skip


def ways_values() -> dict[str, Any]:
    """A pool whose leases end when they were idle for a minute."""
    settings = values(
        token_cache_seconds=1,
        notice_seconds=[NOTICE_SECONDS, 3],
        stop_grace_seconds=GRACE_SECONDS,
        meter_tick_seconds=0.5,
    )
    pool = {
        "name": "gpu",
        "gpu_model": "Test GPU",
        "gpu_memory_gib": 80,
        "capacity": 4,
        "idle": {"after_minutes": 1, "tiers": ["guaranteed"]},
    }
    return merged(settings, {"pools": [pool], "flavors": [flavor("one", 1)], "hub": {"extraConfig": SPAWNER}})


@pytest.fixture(scope="module")
def idlers(release: Installed) -> dict[str, tuple[PodServer, Page]]:
    """Two who do nothing, from the beginning on."""
    return {user: left_open(start(release, user)) for user in (WITH_FIGURES, WITHOUT)}


@pytest.fixture
def sign_in(release: Installed, contexts: Contexts, complaints: list[str]) -> SignIn:
    return signing_in(release, contexts, complaints)


@pytest.fixture(autouse=True)
def told(release: Installed, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the cluster saw, beside a failing test."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        sys.stdout.write(release.log())


def start(release: Installed, user: str) -> PodServer:
    session = release.sign_in(user)
    start_again(session)
    return PodServer(session)


def start_again(session: Session) -> None:
    session.start_server(flavor="one").raise_for_status()
    until(lambda: (session.server() or {}).get("ready"), f"{session.user}'s server to be ready", START_SECONDS)


def left_open(server: PodServer, more: str = "") -> tuple[PodServer, Page]:
    """A document with changes on a page, and a kernel that writes a checkpoint."""
    server.write("notes.md", "saved")
    page = Page(server, "notes.md", EDIT)
    page.state(lambda state: state["connected"])
    ran = server.run(CHECKPOINT + more)
    assert (ran.printed, ran.error) == ("registered\n", "")
    return server, page


def lease_of(release: Installed, user: str) -> Object:
    """The lease of a user who has had one."""
    (lease,) = release.leases(user=user)
    return lease


def pod_of(release: Installed, user: str) -> str:
    (pod,) = [pod for pod in release.lease_pods() if pod["metadata"]["annotations"]["sublet.dev/user"] == user]
    name: str = pod["metadata"]["name"]
    return name


# ---------------------------------------------------------------- the ways


def delete_the_pod(release: Installed, server: PodServer) -> None:
    release.namespace.delete("pod", pod_of(release, server.session.user))


def stop_as_admin(release: Installed, server: PodServer) -> None:
    lease = lease_of(release, server.session.user)
    with release.admin() as admin:
        stop = admin.post(f"/services/sublet/api/leases/{lease['id']}/stop", json={"why": "the GPUs are sold"})
        stop.raise_for_status()


def stop_at_the_hub(release: Installed, server: PodServer) -> None:
    server.session.stop_server().raise_for_status()


def take_the_quota(release: Installed, server: PodServer) -> None:
    limits = [{"what": "gpu_seconds", "limit": 0, "window": "day"}]
    with release.admin() as admin:
        admin.put(f"/hub/api/quotas/users/{server.session.user}", json={"limits": limits}).raise_for_status()


def give_it_back(release: Installed, user: str) -> None:
    """What of it was taken, if any was."""
    with release.admin() as admin:
        assert admin.delete(f"/hub/api/quotas/users/{user}").status_code in (204, 404)


@dataclass(frozen=True)
class Way:
    """One way out. `heard`: what callbacks are told at the end. `told`: what the user reads after the next start."""

    act: Callable[[Installed, PodServer], None]
    reason: str
    heard: str
    told: str | None
    more: str = ""


IN_A_BROWSER = {
    "dora": Way(delete_the_pod, "evicted", "shutdown", "the cluster took its place back"),
    "anna": Way(stop_as_admin, "admin", "admin", "an administrator stopped it"),
}
WITHOUT_ONE = {
    "hugo": Way(stop_at_the_hub, "user", "user|shutdown", None),
    "quinn": Way(take_the_quota, "quota", "quota", r"a quota was used up\. A function .* cut off", TOO_LONG),
}


def wait_for_end(release: Installed, server: PodServer, reason: str) -> None:
    """Until the lease is closed, for that reason, and the server is known to be gone."""
    user = server.session.user
    until(lambda: lease_of(release, user)["state"] == "ended", f"{user}'s lease to end", END_SECONDS)
    assert lease_of(release, user)["end_reason"] == reason
    until(lambda: server.session.server() is None, "the hub to see that the server is gone", END_SECONDS)


def assert_told(server: PodServer, told: str | None) -> None:
    """How the last lease ended, which the extension asks the platform for."""
    if told is None:
        until(lambda: server.state()["connected"], "the server to follow its lease")
        assert server.state()["previous"] is None
        return
    until(lambda: server.state()["previous"], "the user to be told how the last lease ended")
    assert re.search(told, server.state()["previous"]["sentence"]), server.state()["previous"]


@pytest.mark.usefixtures("idlers")
@pytest.mark.parametrize("user", IN_A_BROWSER)
def test_what_was_edited_in_a_browser_is_there_again(release: Installed, sign_in: SignIn, user: str) -> None:
    way = IN_A_BROWSER[user]
    page = sign_in(user)
    server = start(release, user)
    server.turn_off_autosave()
    page.goto(f"/user/{user}/lab")
    in_lab(page, START_SECONDS)
    run_cell(page, CHECKPOINT, "registered")
    edit(page)
    assert EDIT not in (server.read("Untitled.ipynb") or ""), "it was saved before anything happened"

    way.act(release, server)
    wait_for_end(release, server, way.reason)

    start_again(server.session)
    assert EDIT in (server.read("Untitled.ipynb") or "")
    assert re.fullmatch(way.heard, server.read("checkpoint") or "nothing")
    page.goto(f"/user/{user}/lab")
    expect(page.locator(".jp-NotebookPanel .jp-CodeCell").first).to_contain_text(EDIT, timeout=START_SECONDS * 1000)
    assert way.told
    expect(page.get_by_text("Your last server")).to_contain_text(re.compile(way.told), timeout=60_000)
    page.close()
    server.session.stop_server().raise_for_status()


def edit(page: BrowserPage) -> None:
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(EDIT)
    expect(cell).to_contain_text(EDIT)


@pytest.mark.usefixtures("idlers")
@pytest.mark.parametrize("user", WITHOUT_ONE)
def test_pages_and_callbacks_save_before_the_end(release: Installed, user: str) -> None:
    way = WITHOUT_ONE[user]
    server, _page = left_open(start(release, user), way.more)

    way.act(release, server)
    wait_for_end(release, server, way.reason)

    give_it_back(release, user)
    start_again(server.session)
    assert server.read("notes.md") == EDIT
    assert re.fullmatch(way.heard, server.read("checkpoint") or "nothing")
    assert_told(server, way.told)
    server.session.stop_server().raise_for_status()


def test_an_idle_gpu_ends_its_lease_with_notice_and_an_unknown_one_never(
    release: Installed, idlers: dict[str, tuple[PodServer, Page]]
) -> None:
    (idle, page), (unknown, _) = idlers[WITH_FIGURES], idlers[WITHOUT]
    until(lambda: lease_of(release, WITH_FIGURES)["state"] == "ended", "the idle lease to end", IDLE_SECONDS)
    wait_for_end(release, idle, "idle")
    assert any(notice["reason"] == "idle" for state in page.states for notice in state["notices"])

    records = activity_of(release, unknown)
    assert len(records) >= 2
    assert [(record["gpus"], record["kernels_busy"]) for record in records[1:]] == [([], 0)] * (len(records) - 1)
    assert unknown.state()["notices"] == []
    assert lease_of(release, WITHOUT)["deadline_reason"] != "idle"

    start_again(idle.session)
    assert idle.read("notes.md") == EDIT
    assert idle.read("checkpoint") == "idle"
    assert_told(idle, "nothing had run in it for a while")


def activity_of(release: Installed, server: PodServer) -> list[Object]:
    lease = lease_of(release, server.session.user)
    answer = server.session.client.get(f"/services/sublet/api/leases/{lease['id']}/activity")
    found: list[Object] = answer.raise_for_status().json()
    return found
