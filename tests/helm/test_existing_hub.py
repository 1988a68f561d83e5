"""Adding Sublet to a hub that is there already: what the chart leaves out, and what the hub is told."""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from tests.helm.network import Pod, allows
from tests.helm.rendering import CHART, EVERYTHING, Object, named, of_kind, pods, render

pytestmark = pytest.mark.helm

Z2JH = CHART.parent / "z2jh-values.yaml"
VALUES: Object = {
    "existingHub": {"enabled": True},
    "settings": {"admin_users": ["lena"]},
    "api": {"labels": {"hub.jupyter.org/network-access-hub": "true"}},
}


def test_no_hub_and_no_way_to_one_is_installed() -> None:
    for objects, more in ((render(values=VALUES), set()), (render(EVERYTHING, values=VALUES), {"sublet-gateway"})):
        there = {name for name in pods(objects) if not name.startswith(("sublet-models-", "sublet-model-"))}
        assert there == {"sublet-api", "sublet-meter", "sublet-check"} | more
        assert not of_kind(objects, "Ingress")
        assert not of_kind(objects, "HTTPRoute")
        services = {each["metadata"]["name"] for each in of_kind(objects, "Service")}
        assert {name for name in services if not name.startswith("sublet-model-")} == {"sublet-api"} | more
        assert {each["metadata"]["name"] for each in of_kind(objects, "Role")} == {"sublet-meter"} | more
        (container,) = pods(objects)["sublet-api"]["spec"]["containers"]
        assert {"name": "SUBLET_HUB_ADDRESS", "value": "http://hub:8081"} in container["env"]
        assert "--url=http://proxy-public" in pods(objects)["sublet-check"]["spec"]["containers"][0]["args"]


def test_network_policies_know_that_hub() -> None:
    policies = of_kind(render(values=VALUES), "NetworkPolicy")
    hub, proxy = (Pod({"app": "jupyterhub", "component": each}) for each in ("hub", "proxy"))
    api = Pod({f"app.kubernetes.io/{key}": value for key, value in _labels("api").items()})
    user = Pod({"sublet.dev/lease": "x", "app": "jupyterhub", "component": "singleuser-server"})
    assert allows(policies, proxy, api, 8082)
    assert allows(policies, hub, api, 8082)
    assert allows(policies, api, hub, 8081)
    assert allows(policies, user, api, 8082)
    assert allows(policies, hub, user, 8888)
    assert allows(policies, proxy, user, 8888)
    assert not allows(policies, user, Pod({"sublet.dev/lease": "y"}), 8888)
    assert not allows(policies, Pod({"app": "other"}), api, 8082)


def _labels(component: str) -> dict[str, str]:
    return {"name": "sublet", "instance": "sublet", "component": component}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The configuration of a hub by Zero to JupyterHub, after the values file's piece of it has run."""
    given = yaml.safe_load(Z2JH.read_text(encoding="utf-8"))["hub"]
    objects = render(values=VALUES)
    for source in given["extraVolumes"][0]["projected"]["sources"]:
        kind, found = ("ConfigMap", source["configMap"]) if "configMap" in source else ("Secret", source["secret"])
        data = named(objects, kind, found["name"])["data"]
        for item in found["items"]:
            text = data[item["key"]] if kind == "ConfigMap" else b64decode(data[item["key"]]).decode()
            (tmp_path / item["path"]).parent.mkdir(exist_ok=True)
            (tmp_path / item["path"]).write_text(text, encoding="utf-8")
    assert given["extraVolumeMounts"] == [{"name": "sublet", "mountPath": "/etc/sublet", "readOnly": True}]
    for name in [name for name in os.environ if name.startswith("SUBLET_")]:
        monkeypatch.delenv(name)
    for name, value in given["extraEnv"].items():
        monkeypatch.setenv(name, value.replace("/etc/sublet", str(tmp_path)))
    c = Config()
    c.JupyterHub.services = [{"name": "theirs", "api_token": "t" * 32}]
    c.JupyterHub.load_roles = [{"name": "theirs"}]
    c.JupyterHub.authenticator_class = "theirs"
    c.JupyterHub.db_url = "theirs"
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    namespace: dict[str, Any] = {"c": c}
    exec(given["extraConfig"]["zz-sublet"], namespace)
    return c


def test_the_hub_is_given_our_part_and_keeps_its_own(told: Config) -> None:
    services = {each["name"]: each for each in told.JupyterHub.services}
    assert services.keys() == {"theirs", "sublet", "sublet-spawner", "sublet-up", "sublet-admin", "sublet-gateway"}
    assert all(each["api_token"] for each in services.values())
    assert told.JupyterHub.load_roles[0] == {"name": "theirs"}
    (admins,) = (each for each in told.JupyterHub.load_roles if each["name"] == "quota-admin")
    assert admins["users"] == ["lena"]
    assert (told.JupyterHub.authenticator_class, told.JupyterHub.db_url) == ("theirs", "theirs")
    assert set(told.Proxy.extra_routes.values()) == {"http://sublet-api:8082"}
    assert "cookie_secret" not in told.JupyterHub


def test_its_servers_are_leases_in_pods(told: Config) -> None:
    assert told.JupyterHub.spawner_class == "sublet_hub.hub.kube_spawner.LeaseKubeSpawner"
    assert told.LeaseMixin.sublet_api_url == "http://sublet-api:8082"
    assert len(told.LeaseMixin.sublet_api_token) == 64
    assert set(told.LeaseKubeSpawner.sublet_placements) == {"cpu"}
