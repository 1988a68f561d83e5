"""The chart on a real cluster: taken by its API server, installed, upgraded, removed, and installed again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.site import Session, wait_until
from tests.helm.rendering import CHART, EVERYTHING, MINIMAL, Object, helm, parse
from tests.kube.installed import RELEASE, Installed, flavor, installed, values
from tests.kube.kubectl import Namespace, kubectl

pytestmark = [pytest.mark.helm, pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(900)]

PREVIOUS = sorted(Path(__file__).with_name("previous").glob("*.tgz"))
"""Charts as they were published, packed by `helm package`; people upgrade from them."""

TAKEN_BY_ALL = {"image", "notebook", "keepOnUninstall", "hub", "proxy", "api", "meter"}

COMPONENTS = ("hub", "proxy", "api", "meter")


@pytest.mark.parametrize("file", [None, EVERYTHING, MINIMAL], ids=["default", "everything", "minimal"])
def test_the_api_server_takes_every_object(namespace: Namespace, file: Path | None) -> None:
    """Rendered with what this very cluster is capable of, and checked by it down to admission. Nothing is made."""
    files: list[str | Path] = ["-f", file] if file else []
    # HTTPRoute belongs to an API that not every cluster has.
    without = ["--set", "httpRoute.enabled=false"]
    said = helm_in(namespace, "install", RELEASE, CHART, "--dry-run=server", "-o", "json", *files, *without)
    given = json.loads(said)
    objects = parse(given["manifest"])
    assert len(objects) >= 13
    for each in objects:
        each["metadata"].setdefault("namespace", namespace.name)
    together = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    taken = kubectl("apply", "--dry-run=server", "-f", "-", text=together)
    assert taken.count("(server dry run)") == len(objects)
    assert not namespace.all("pods")


def helm_in(namespace: Namespace, *args: str | Path) -> str:
    done = helm("-n", namespace.name, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def release(namespace: Namespace, image: Any) -> Iterator[Installed]:
    for kind in ("hub", "notebook", "warden"):
        image(kind)
    with installed(namespace) as release:
        yield release


def pods_of(release: Installed) -> dict[str, set[str]]:
    """Which pods each component has, by their unique ids."""
    found = {name: release.namespace.all("pods", f"app.kubernetes.io/component={name}") for name in COMPONENTS}
    return {
        name: {pod["metadata"]["uid"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}
        for name, pods in found.items()
    }


def secrets_of(namespace: Namespace) -> Object:
    secret = namespace.get("secret", f"{RELEASE}-secrets")
    assert secret is not None
    data: Object = secret["data"]
    return data


def price_of(session: Session, name: str) -> int:
    offers = session.client.get("/services/sublet/api/flavors").raise_for_status().json()
    (found,) = (each for each in offers if each["flavor"] == name)
    prices = {each["tier"]: each["price_microunits_per_gpu_hour"] for each in found["tiers"]}
    price: int = prices["guaranteed"]
    return price


def test_a_new_price_restarts_ours_and_no_notebook(release: Installed) -> None:
    """`helm test` passes before and after; secrets stay; the proxy, which holds all connections, stays as well."""
    helm_in(release.namespace, "test", RELEASE, "--timeout", "180s")
    session = release.sign_in("anna")
    session.start_server(flavor="cpu").raise_for_status()
    wait_until(lambda: (session.server() or {}).get("ready"), 120, "anna's server is ready")
    (notebook,) = release.lease_pods()
    before, secrets = pods_of(release), secrets_of(release.namespace)

    release.upgrade(flavors=[flavor("one", 1, 3_000_000), flavor("cpu", 0, 0)])

    after = pods_of(release)
    assert {name for name in COMPONENTS if before[name] != after[name]} == {"hub", "api", "meter"}
    assert secrets_of(release.namespace) == secrets
    (same,) = release.lease_pods()
    assert same["metadata"]["uid"] == notebook["metadata"]["uid"]
    assert restarts(same) == restarts(notebook) == 0
    wait_until(release.answers, 60, "the platform answers again")
    assert price_of(session, "one") == 3_000_000
    wait_until(lambda: (session.server() or {}).get("ready"), 60, "the hub knows anna's server still")
    helm_in(release.namespace, "test", RELEASE, "--timeout", "180s")
    session.stop_server().raise_for_status()
    wait_until(lambda: not release.lease_pods(), 90, "the meter has let go of anna's pod")


def restarts(pod: Object) -> int:
    return sum(each["restartCount"] for each in pod["status"]["containerStatuses"])


def test_an_upgrade_of_nothing_restarts_nothing(release: Installed) -> None:
    before = pods_of(release)
    release.upgrade()
    assert pods_of(release) == before


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "removed"])
def test_what_stays_after_an_uninstall(namespace: Namespace, image: Any, *, keep: bool) -> None:
    image("hub")
    release = Installed(namespace, values() | {"keepOnUninstall": keep}).start()
    try:
        secrets = secrets_of(namespace)
        with release.admin() as client:
            body = {"limits": [{"what": "leases", "limit": 7}]}
            client.put("/hub/api/quotas/default", json=body).raise_for_status()
        helm_in(namespace, "uninstall", RELEASE, "--wait")
        claims = {each["metadata"]["name"] for each in namespace.all("pvc")}
        assert claims == ({f"{RELEASE}-data", f"{RELEASE}-hub"} if keep else set())
        assert (namespace.get("secret", f"{RELEASE}-secrets") is not None) == keep
        for kind in ("deployments", "services", "roles", "networkpolicies", "ingresses"):
            assert [each for each in namespace.all(kind) if each["metadata"]["name"].startswith(RELEASE)] == []
        left = kubectl("get", "clusterroles,clusterrolebindings,priorityclasses", "-o", "name")
        assert namespace.name not in left
        if keep:
            release.start()
            assert secrets_of(namespace) == secrets
            with release.admin() as client:
                quota = client.get("/hub/api/quotas/default").raise_for_status().json()
            assert [each["limit"] for each in quota["limits"] if each["what"] == "leases"] == [7]
    finally:
        release.stop()


@pytest.mark.parametrize("chart", PREVIOUS, ids=lambda path: path.stem)
def test_an_upgrade_from_a_previous_chart(namespace: Namespace, image: Any, chart: Path) -> None:
    """The platform goes on: its secrets, its claims, and with them its books."""
    image("hub")
    # What every chart so far has taken: its schema is closed.
    release = Installed(namespace, {key: value for key, value in values().items() if key in TAKEN_BY_ALL})
    given = json.dumps(release.values)
    try:
        done = helm(
            "-n", namespace.name, "install", RELEASE, chart, "-f", "-", "--wait", "--timeout", "90s", stdin=given
        )
        assert done.returncode == 0, done.stderr
        secrets = secrets_of(namespace)
        claims = {each["metadata"]["uid"] for each in namespace.all("pvc")}
        release.helm("upgrade", RELEASE, str(CHART), "-f", "-", "--wait", "--timeout", "240s")
        assert secrets_of(namespace).items() >= secrets.items()
        assert {each["metadata"]["uid"] for each in namespace.all("pvc")} >= claims
        helm_in(namespace, "test", RELEASE, "--timeout", "180s")
    finally:
        release.stop()


def test_there_is_a_previous_chart_to_upgrade_from() -> None:
    assert PREVIOUS
