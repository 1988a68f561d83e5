"""The chart on a real cluster: taken by its API server, installed, upgraded, removed, and installed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helm.rendering import CHART, EVERYTHING, MINIMAL, helm, parse
from tests.kube.installed import RELEASE, Installed, values
from tests.kube.kubectl import Namespace, kubectl

pytestmark = [pytest.mark.helm, pytest.mark.kube, pytest.mark.slow, pytest.mark.timeout(900)]

PREVIOUS = sorted(Path(__file__).with_name("previous").glob("*.tgz"))
"""Charts as they were published, packed by `helm package`; people upgrade from them."""

TAKEN_BY_ALL = {"image", "notebook", "keepOnUninstall", "hub", "proxy", "api", "meter"}


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


def test_what_stays_after_an_uninstall(namespace: Namespace, image: Any) -> None:
    """All that is kept, or nothing; and what was kept is taken up again."""
    image("hub")
    release = Installed(namespace, values() | {"keepOnUninstall": True}).start()
    try:
        secrets = release.secrets()
        with release.admin() as client:
            body = {"limits": [{"what": "leases", "limit": 7}]}
            client.put("/hub/api/quotas/default", json=body).raise_for_status()
        uninstall(release)
        assert {each["metadata"]["name"] for each in namespace.all("pvc")} == {f"{RELEASE}-data", f"{RELEASE}-hub"}
        assert release.secrets() == secrets

        release.values["keepOnUninstall"] = False
        release.start()
        assert release.secrets() == secrets
        with release.admin() as client:
            quota = client.get("/hub/api/quotas/default").raise_for_status().json()
        assert [each["limit"] for each in quota["limits"] if each["what"] == "leases"] == [7]
        uninstall(release)
        assert namespace.all("pvc") == []
        assert namespace.get("secret", f"{RELEASE}-secrets") is None
    finally:
        release.stop()


def uninstall(release: Installed) -> None:
    """Take it away; of what is not data, nothing stays."""
    helm_in(release.namespace, "uninstall", RELEASE, "--wait")
    for kind in ("deployments", "services", "roles", "networkpolicies", "ingresses"):
        found = [each["metadata"]["name"] for each in release.namespace.all(kind)]
        assert not [name for name in found if name.startswith(RELEASE)], kind
    left = kubectl("get", "clusterroles,clusterrolebindings,priorityclasses", "-o", "name")
    assert release.namespace.name not in left


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
        secrets = release.secrets()
        claims = {each["metadata"]["uid"] for each in namespace.all("pvc")}
        release.helm("upgrade", RELEASE, str(CHART), "-f", "-", "--wait", "--timeout", "240s")
        assert release.secrets().items() >= secrets.items()
        assert {each["metadata"]["uid"] for each in namespace.all("pvc")} >= claims
        helm_in(namespace, "test", RELEASE, "--timeout", "180s")
    finally:
        release.stop()


def test_there_is_a_previous_chart_to_upgrade_from() -> None:
    assert PREVIOUS
