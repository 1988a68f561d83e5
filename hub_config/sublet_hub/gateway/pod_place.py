"""Models' servers as pods, as the settings have them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from sublet_hub.catalog import load_placements, pod_settings
from sublet_hub.cluster.kube.connection import connect
from sublet_hub.domain.model_leases import Holder
from sublet_hub.gateway.in_pods import PATIENCE, InPods, PodOptions
from sublet_hub.gateway.lease_api import Leases
from sublet_hub.gateway.server_pods import Owner, ServerPodSettings
from sublet_hub.settings import Settings, SettingsError

POD_NAME, POD_UID = "POD_NAME", "POD_UID"
"""Variables with which the pod of a gateway is told which one it is."""


def in_pods_of(settings: Settings, leases: Leases, holder: Holder, environment: Mapping[str, str]) -> InPods:
    """The place. SettingsError where we aren't told which pod we are, KubeError where there is no way to a cluster.
    Nothing is asked of it yet."""
    return InPods(connect(patience=PATIENCE), leases, holder, owner_of(environment), pod_options(settings))


def pod_options(settings: Settings) -> PodOptions:
    """What is the same for all servers."""
    assert settings.kube_models_claim is not None, "the catalogue was checked"
    common = ServerPodSettings(
        pods=pod_settings(settings),
        models_claim=settings.kube_models_claim,
        notebook_image=settings.kube_notebook_image,
        vllm_image=settings.kube_vllm_image,
        image_pull_policy=settings.kube_image_pull_policy,
        image_pull_secrets=tuple(settings.kube_image_pull_secrets),
        release=settings.kube_release,
    )
    return PodOptions(
        common, load_placements(settings), float(settings.kube_model_start_seconds), settings.kube_namespace or ""
    )


def owner_of(environment: Mapping[str, str]) -> Owner:
    """Which gateway this is: without it, its servers would outlive it."""
    name, uid = environment.get(POD_NAME, ""), environment.get(POD_UID, "")
    if not name or not uid:
        raise SettingsError(
            f"Models' servers are leases in pods: the gateway must be told its own pod, by {POD_NAME} and {POD_UID}."
        )
    return Owner(name, uid, secrets.token_hex(4))
