"""A person's way through Sublet on a real cluster, from signing in to what it came to; and an administrator's.

One release for all of it. A small node has room for one notebook, so the tests run them one after the other.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.browser import Contexts, SignIn, chromium, complaints, contexts, signing_in
from tests.fixtures.kube import Image
from tests.fixtures.lab import in_lab, run_cell
from tests.fixtures.site import Session, wait_until
from tests.kube.installed import COMPONENTS, RELEASE, Installed, flavor, installed, merged, values
from tests.kube.kubectl import Cluster, Object, new_namespace, until
from tests.kube.witness import LATEST_SECONDS, assert_is_what_ran, witness

__all__ = ["chromium", "complaints", "contexts"]

pytestmark = [pytest.mark.kube, pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]

START_SECONDS = 30
"""What a start may take, on a busy machine too; and how long one that can't be is tried."""

NOTICE_SECONDS = 6

PRICE, NEW_PRICE = 2_000_000, 3_000_000
NO_NODE_HAS = 64
HOPELESS = {
    "name": "lots",
    "gpu_model": "Rare GPU",
    "gpu_memory_gib": 80,
    "capacity": NO_NODE_HAS,
    "kubernetes": {"resource": "nvidia.com/gpu"},
}

CELL = """
import json, os, pathlib, socket, sublet
quota = sublet.quota()
pathlib.Path("kept.txt").write_text("from alice")
readable = [path for path in ("/run/sublet", "/var/run/secrets/kubernetes.io") if os.path.exists(path)]
services = [name for name in os.environ if name.endswith("_SERVICE_HOST") and not name.startswith("KUBERNETES_")]
print(json.dumps({"readable": readable, "services": services, "env": dict(os.environ)}), quota)
"""


@pytest.fixture(scope="module")
def release(cluster: Cluster, image: Image) -> Iterator[Installed]:
    for kind in ("hub", "notebook", "warden"):
        image(kind)
    settings = values(
        spawn_timeout_seconds=START_SECONDS,
        token_cache_seconds=1,
        default_gpus=NO_NODE_HAS,
        notice_seconds=[NOTICE_SECONDS, 3],
    )
    given = merged(settings, {"pools": [*settings["pools"], HOPELESS], "flavors": flavors(PRICE)})
    with new_namespace(cluster) as namespace, installed(namespace, given) as release:
        yield release


def flavors(price: int) -> list[dict[str, object]]:
    lots = flavor("lots", NO_NODE_HAS) | {"pool": "lots", "title": "64 rare GPUs"}
    return [flavor("one", 1, price), flavor("two", 2), lots, flavor("cpu", 0, 0)]


@pytest.fixture
def sign_in(release: Installed, contexts: Contexts, complaints: list[str]) -> SignIn:
    return signing_in(release, contexts, complaints)


@pytest.fixture(autouse=True)
def told(release: Installed, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the cluster saw, beside a failing test; and no notebook left to the next."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        sys.stdout.write(release.log())
    admin = release.sign_in(release.credentials()["admin_user"]).client
    for user in admin.get("/hub/api/users", params={"state": "active"}).raise_for_status().json():
        admin.delete(f"/hub/api/users/{user['name']}/server").raise_for_status()
    until(lambda: not release.lease_pods(), "the meter to let go of all pods")


def set_quota(release: Installed, subject: str, **limits: int) -> None:
    windows = {"gpu_seconds": {"window": "day"}}
    body = {"limits": [{"what": what, "limit": limit, **windows.get(what, {})} for what, limit in limits.items()]}
    with release.admin() as admin:
        admin.put(f"/hub/api/quotas/{subject}", json=body).raise_for_status()


def pod_of(release: Installed) -> Object:
    """The one that isn't being ended."""
    (pod,) = [each for each in release.lease_pods() if not each["metadata"].get("deletionTimestamp")]
    return pod


def deadline_of(pod: Object) -> int:
    return int(pod["metadata"]["annotations"]["sublet.dev/deadline"])


def is_ready(session: Session) -> bool:
    return bool((session.server() or {}).get("ready"))


def start(release: Installed, user: str, **options: str) -> Session:
    session = release.sign_in(user)
    session.start_server(**options).raise_for_status()
    until(lambda: is_ready(session), f"{user}'s server to be ready", START_SECONDS)  # seldom: the hub has more to do
    return session


def choose(page: Page, name: str) -> None:
    page.goto("/hub/spawn")
    page.get_by_role("radio", name=re.compile(name)).check()
    page.get_by_role("button", name=re.compile("^Start")).click()


def run_in_terminal(page: Page, command: str) -> None:
    page.locator('.jp-LauncherCard[title="Start a new terminal session"]').click()
    page.locator(".jp-Terminal .xterm-screen").click()
    page.keyboard.type(command + "\n")


def price_of(lease: Object) -> float:
    """Of a GPU for an hour, by what it came to; seconds are told without their fractions."""
    return float(lease["cost_microunits"] / lease["gpu_seconds"] * 3600)


def price_shown(session: Session, name: str) -> int:
    """What a flavor is offered at."""
    offers = session.client.get("/services/sublet/api/flavors").raise_for_status().json()
    (found,) = (each for each in offers if each["flavor"] == name)
    prices = {each["tier"]: each["price_microunits_per_gpu_hour"] for each in found["tiers"]}
    price: int = prices["guaranteed"]
    return price


def used_by(release: Installed, user: str) -> int:
    """GPU-seconds of running leases so far."""
    return sum(int(lease["gpu_seconds"]) for lease in release.leases(user=user, state="active"))


def ended_lease(release: Installed, user: str) -> Object:
    """A user's one lease, once the meter has posted its end, which may come after the hub has seen it."""
    wait_until(lambda: release.leases(user=user, state="ended"), 30, f"{user}'s lease has ended")
    (lease,) = release.leases(user=user)
    return lease


def file_of(session: Session, name: str) -> str | None:
    found = session.client.get(f"/user/{session.user}/api/contents/{name}")
    return str(found.json()["content"]) if found.is_success else None


def test_from_sign_in_to_usage(release: Installed, sign_in: SignIn, complaints: list[str]) -> None:
    page = sign_in("alice")
    page.goto("/hub/spawn")
    expect(page.get_by_text("Simulated", exact=True).first).to_be_visible()
    expect(page.get_by_role("radio", name=re.compile("CPU only"))).to_be_enabled()
    with witness(release.namespace) as seen:
        choose(page, "1 GPU")
        steps = page.get_by_role("list", name="What has happened")
        for step in ("Starting 1 GPU", "A machine was found", "The image is there", "Waiting for JupyterLab"):
            expect(steps).to_contain_text(step, timeout=START_SECONDS * 1000)
        in_lab(page, START_SECONDS)
        pod = pod_of(release)
        name = pod["metadata"]["name"]
        alice = release.sign_in("alice")
        run_in_terminal(page, "echo $((6 * 7)) > counted.txt")
        wait_until(lambda: file_of(alice, "counted.txt") == "42\n", 30, "the terminal has written a file")
        page.goto("/user/alice/lab?reset")
        in_lab(page, START_SECONDS)
        printed = run_cell(page, CELL, "Leases at once")
        inside: dict[str, Any] = json.JSONDecoder().raw_decode(printed)[0]
        assert inside["readable"] == inside["services"] == []
        assert inside["env"]["SUBLET_LEASE_ID"] == pod["metadata"]["annotations"]["sublet.dev/lease"]
        assert not set(inside["env"].values()) & set(release.credentials().values())
        assert_is_alices_own(release)

        page.goto("/services/sublet/")
        page.get_by_role("button", name=re.compile("^Stop")).first.click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile("Stop|End")).click()
        wait_until(lambda: release.leases(user="alice", state="ended"), 30, "alice's lease has ended")
        until(lambda: name in seen.gone, "the pod to be gone")
        (lease,) = release.leases(user="alice")
        assert lease["end_reason"] == "user"
        assert_is_what_ran(lease, seen, name, release.namespace.cluster)
        expect(page.get_by_text("1 GPU").first).to_be_visible()

    start(release, "alice", flavor="cpu")
    assert pod_of(release)["metadata"]["name"] != name
    assert file_of(alice, "kept.txt") == "from alice"
    assert complaints == []


def assert_is_alices_own(release: Installed) -> None:
    bob = release.sign_in("bob").client
    assert bob.get("/user/alice/api/contents").status_code in (403, 404)
    (lease,) = release.leases(user="alice", state="active")
    for path in ("leases?user=alice", f"leases/{lease['id']}", "usage?account=user:alice"):
        answer = bob.get(f"/services/sublet/api/{path}")
        assert answer.status_code in (403, 404) or answer.json() == [], path
    assert bob.post(f"/services/sublet/api/leases/{lease['id']}/stop", json={}).status_code in (403, 404)
    assert bob.delete("/hub/api/users/alice/server").status_code in (403, 404)


def test_what_is_not_left_is_refused_in_words(release: Installed, sign_in: SignIn) -> None:
    page = sign_in("carol")
    page.goto("/hub/spawn")
    page.get_by_role("radio", name=re.compile("2 GPU")).check()
    set_quota(release, "users/carol", gpus=1)
    page.get_by_role("button", name=re.compile("^Start")).click()
    said = page.get_by_role("main")
    expect(said).to_contain_text("limit of 1 GPU at once")
    expect(said).to_contain_text("the people who test this")
    page.goto("/hub/spawn")
    expect(page.get_by_role("radio", name=re.compile("2 GPU"))).to_be_disabled()
    assert release.lease_pods() == release.leases(user="carol", state="active") == []


def test_what_no_node_has_is_given_up_in_words_and_costs_nothing(release: Installed, sign_in: SignIn) -> None:
    page = sign_in("dora")
    choose(page, "64 rare GPUs")
    steps = page.get_by_role("list", name="What has happened")
    expect(steps).to_contain_text("Waiting for a machine with room for this flavor", timeout=START_SECONDS * 1000)
    expect(page.get_by_role("main")).to_contain_text(
        "No machine of the cluster has room for this flavor", timeout=START_SECONDS * 1000
    )
    until(lambda: not release.lease_pods(), "the pod to be gone")
    (lease,) = release.leases(user="dora")
    assert (lease["state"], lease["gpu_seconds"], lease["cost_microunits"]) == ("void", 0, 0)


@pytest.fixture
def group(release: Installed) -> str:
    """Of ada@example.org, with an account of its own."""
    admin = release.sign_in(release.credentials()["admin_user"]).client
    admin.post("/hub/api/users/ada@example.org").raise_for_status()
    admin.post("/hub/api/groups/Lab 1").raise_for_status()
    admin.post("/hub/api/groups/Lab 1/users", json={"users": ["ada@example.org"]}).raise_for_status()
    return "group:Lab 1"


def test_a_quota_is_lowered_raised_and_lowered(release: Installed, group: str, sign_in: SignIn) -> None:
    ada = start(release, "ada@example.org", flavor="one", account=group)
    columns = "sublet.dev/user,sublet.dev/account,sublet.dev/flavor,sublet.dev/tier"
    shown = release.namespace.kubectl("get", "pods", "-L", columns, "-l", "sublet.dev/lease", "--no-headers")
    assert re.search(r"ada-example\.org\S*\s+group\S*Lab\S*\s+one\s+guaranteed", shown), shown
    pod = pod_of(release)
    assert pod["metadata"]["annotations"]["sublet.dev/account"] == group

    set_quota(release, "groups/Lab 1", gpu_seconds=0)
    until(lambda: deadline_of(pod_of(release)) < deadline_of(pod), "a deadline moved near")
    near = pod_of(release)
    (notice,) = ada.client.get("/services/sublet/api/notices").raise_for_status().json()[:1]
    assert notice["reason"] == "quota"
    set_quota(release, "groups/Lab 1", gpu_seconds=36_000)
    until(lambda: deadline_of(pod_of(release)) > deadline_of(near) + 600_000, "a deadline moved out")
    assert is_ready(ada)

    set_quota(release, "groups/Lab 1", gpu_seconds=0)
    wait_until(lambda: ada.server() is None, 60, "the hub has seen that the server is gone")
    lease = ended_lease(release, "ada@example.org")
    assert lease["end_reason"] == "quota"
    ended, deadline = (datetime.fromisoformat(lease[name]) for name in ("ended_at", "deadline_at"))
    assert -1 <= (ended - deadline).total_seconds() <= LATEST_SECONDS
    page = sign_in("ada@example.org")
    page.goto("/hub/home")
    expect(page.get_by_role("main")).to_contain_text("Group Lab 1’s quota allows no GPU time")
    expect(page.get_by_role("main")).to_contain_text("the people who test this")


def test_an_upgrade_of_nothing_restarts_nothing(release: Installed) -> None:
    before = release.parts()
    release.upgrade()
    assert release.parts() == before


def test_an_upgrade_changes_prices_and_no_lease(release: Installed) -> None:
    """Nor a notebook, a secret, or the proxy, which holds all connections. `helm test` passes before and after."""
    release.helm("test", RELEASE, "--timeout", "180s")
    eve = start(release, "eve", flavor="one")
    set_quota(release, "users/eve", leases=3)
    (old,) = release.leases(user="eve")
    before, parts, secrets = pod_of(release), release.parts(), release.secrets()

    release.upgrade(flavors=flavors(NEW_PRICE))

    after = release.parts()
    assert {name for name in COMPONENTS if parts[name] != after[name]} == {"hub", "api", "meter"}
    assert release.secrets() == secrets
    same = pod_of(release)
    assert same["metadata"]["uid"] == before["metadata"]["uid"]
    assert [each["restartCount"] for each in same["status"]["containerStatuses"]] == [0, 0]
    wait_until(release.answers, 60, "the platform answers again")
    assert price_shown(eve, "one") == NEW_PRICE
    with release.admin() as admin:
        kept = admin.get("/hub/api/quotas/users/eve").raise_for_status().json()
        assert [(each["what"], each["limit"]) for each in kept["limits"] if each["what"] == "leases"] == [
            ("leases", 3)
        ]
        wait_until(lambda: is_ready(eve), 60, "the hub knows eve's server still")
        stop = admin.post(f"/services/sublet/api/leases/{old['id']}/stop", json={"why": "a test"})
        stop.raise_for_status()
    warned = datetime.now().astimezone()
    wait_until(lambda: eve.server() is None, 60, "the hub has seen that the server is gone")
    old = ended_lease(release, "eve")
    assert old["end_reason"] == "admin"
    assert (datetime.fromisoformat(old["ended_at"]) - warned).total_seconds() >= NOTICE_SECONDS - 2
    assert price_of(old) == pytest.approx(PRICE, rel=0.2)

    start(release, "eve", flavor="one")
    wait_until(lambda: used_by(release, "eve") > 4, 30, "something of the new lease is posted")
    eve.stop_server().raise_for_status()
    wait_until(lambda: not release.leases(user="eve", state="active"), 30, "the new lease has ended")
    new, _old = sorted(release.leases(user="eve"), key=lambda lease: lease["requested_at"], reverse=True)
    assert price_of(new) == pytest.approx(NEW_PRICE, rel=0.2)
    release.helm("test", RELEASE, "--timeout", "180s")
