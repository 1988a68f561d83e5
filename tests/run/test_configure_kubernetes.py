"""Our configuration of a hub on Kubernetes: what is set, and that all of it is known to who should obey."""

from __future__ import annotations

from pathlib import Path

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.proxy import ConfigurableHTTPProxy, Proxy
from jupyterhub.spawner import Spawner
from kubespawner import KubeSpawner
from traitlets.config import Config

from sublet_hub.catalog import pod_settings
from sublet_hub.credentials import ensure_credentials, ensure_secrets
from sublet_hub.hub.configure import configure
from sublet_hub.hub.kube_spawner import LeaseKubeSpawner
from sublet_hub.hub.lease_mixin import LeaseMixin
from sublet_hub.settings import Settings, SettingsError, load_settings

TOML = """
[[pools]]
name = "h100"
capacity = 8
[pools.kubernetes]
runtime_class = "nvidia"

[[flavors]]
name = "h100-1x"
title = "1 × H100"
pool = "h100"
gpus = 1
cpus = 8
memory_gib = 64
prices = { surplus = 1 }
"""


def settings_in(folder: Path, toml: str = TOML, **env: str) -> Settings:
    (folder / "sublet.toml").write_text(toml, encoding="utf-8")
    named = {f"SUBLET_{name.upper()}": value for name, value in env.items()}
    settings = load_settings({"SUBLET_DATA": str(folder), "SUBLET_CLUSTER": "kubernetes", **named})
    ensure_secrets(folder)
    ensure_credentials(folder, "admin")
    return settings


def configured(settings: Settings) -> Config:
    c = Config()
    configure(c, settings)
    return c


def test_all_that_is_set_is_known_to_who_should_obey(tmp_path: Path) -> None:
    known = {
        each.__name__: each.class_trait_names(config=True)
        for each in (
            *(JupyterHub, Authenticator, Proxy, ConfigurableHTTPProxy, Spawner, KubeSpawner, LeaseMixin),
            LeaseKubeSpawner,
        )
    }
    c = configured(settings_in(tmp_path, kube_namespace="sublet"))
    assert {"JupyterHub", "Spawner", "KubeSpawner", "LeaseMixin", "LeaseKubeSpawner"} <= c.keys()
    for name in c.keys() - {"SharedPasswordAuthenticator"}:
        assert set(c[name]) <= set(known[name]), name


def test_pods_are_made_from_the_settings(tmp_path: Path) -> None:
    c = configured(
        settings_in(
            tmp_path,
            kube_namespace="sublet",
            kube_release="gpus",
            kube_notebook_image="notebook:2",
            kube_image_pull_secrets="one,two",
            kube_home_gib="50",
            kube_home_storage_class="fast",
            stop_grace_seconds="4.2",
            hub_address="http://sublet-hub:8081",
            api_address="http://sublet-api:8082",
            hub_database_url="postgresql+psycopg://h@db/hub",
        )
    )
    pods = c.KubeSpawner
    assert (pods.namespace, pods.image, pods.image_pull_secrets) == ("sublet", "notebook:2", ["one", "two"])
    assert (pods.storage_capacity, pods.storage_class, pods.storage_pvc_ensure) == ("50Gi", "fast", True)
    assert pods.delete_grace_period == 5
    assert pods.common_labels["app.kubernetes.io/instance"] == "gpus"
    assert c.JupyterHub.hub_connect_url == "http://sublet-hub:8081"
    assert c.JupyterHub.db_url == "postgresql+psycopg://h@db/hub"
    assert c.LeaseMixin.sublet_api_url == "http://sublet-api:8082"
    assert c.LeaseKubeSpawner.sublet_placements["h100-1x"].runtime_class == "nvidia"


def test_what_all_pods_have_in_common(tmp_path: Path) -> None:
    made = pod_settings(
        settings_in(
            tmp_path,
            kube_warden_image="warden:2",
            kube_user_id="2000",
            kube_priority_class_surplus="low",
            kube_models_claim="models",
            kube_home_gib="0",
            lease_seconds_max="1000",
            grant_ttl_seconds="100",
        )
    )
    assert (made.warden_image, made.user_id, made.models_claim, made.has_home) == ("warden:2", 2000, "models", False)
    assert made.priority_classes == {"surplus": "low"}
    assert made.stop_grace_seconds == 5
    # Never sooner than the last moment that a deadline may have: a lease begins within its grant's time.
    assert 1100 < made.hard_cap_seconds < 1100 + 60


def test_a_home_of_no_size_is_none(tmp_path: Path) -> None:
    assert configured(settings_in(tmp_path, kube_home_gib="0")).KubeSpawner.storage_pvc_ensure is False


def test_a_pool_that_names_devices_stops_the_hub(tmp_path: Path) -> None:
    toml = TOML.replace("capacity = 8", 'devices = ["GPU-1"]')
    with pytest.raises(SettingsError, match="Give capacity, not devices"):
        configured(settings_in(tmp_path, toml))
