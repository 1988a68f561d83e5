"""From settings to models' servers as pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.model_leases import Holder
from sublet_hub.gateway.pod_place import in_pods_of, owner_of, pod_options
from sublet_hub.settings import Settings, SettingsError, load_settings
from tests.gateway.test_in_pods import FakeLeases

SUBLET_TOML = """
cluster = "kubernetes"
kube_models_claim = "models"
kube_notebook_image = "notebook:2"
kube_vllm_image = "vllm:3"
kube_image_pull_secrets = ["pull"]
kube_namespace = "leases"

[[pools]]
name = "gpu"
gpu_model = "H100"
gpu_memory_gib = 80
capacity = 4

[[flavors]]
name = "gpu-1x"
title = "One"
pool = "gpu"
gpus = 1
cpus = 4
memory_gib = 16
prices = { surplus = 1 }
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "sublet.toml").write_text(SUBLET_TOML)
    return load_settings({"SUBLET_DATA": str(tmp_path)})


def test_the_settings_say_what_its_pods_are(settings: Settings) -> None:
    options = pod_options(settings)
    assert options.namespace == "leases"
    assert options.start_seconds == 900
    assert options.placements["gpu-1x"].gpus_milli == 1000
    made = options.settings
    assert (made.models_claim, made.notebook_image, made.vllm_image) == ("models", "notebook:2", "vllm:3")
    assert made.image_pull_secrets == ("pull",)
    assert made.pods.hard_cap_seconds > settings.lease_seconds_max


def test_a_gateway_must_know_which_pod_it_is() -> None:
    told = {"POD_NAME": "gateway-1", "POD_UID": "uid-1"}
    first, second = owner_of(told), owner_of(told)
    assert (first.name, first.uid) == ("gateway-1", "uid-1")
    assert first.run != second.run, "each run of its process is another"
    for missing in told:
        with pytest.raises(SettingsError, match="POD_NAME and POD_UID"):
            owner_of({**told, missing: ""})


def test_nothing_is_asked_of_the_cluster_before_a_server_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        """
current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {token: secret}}]
"""
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    holder = Holder("ann", accounts.user("ann"))
    place = in_pods_of(settings, FakeLeases(), holder, {"POD_NAME": "gateway-1", "POD_UID": "uid-1"})
    assert place.start_seconds == 900
