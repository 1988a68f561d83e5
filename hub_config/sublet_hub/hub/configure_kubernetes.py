"""What we set in JupyterHub where servers are pods.

What of it is KubeSpawner's stands as KubeSpawner's, so that `hub_extra_config` can say otherwise; what makes a pod a
lease is laid over it later, and can't be (see `pod_fields`).
"""

from __future__ import annotations

import math

from traitlets.config import Config

from sublet_hub.catalog import load_placements, pod_settings
from sublet_hub.hub.pod_volumes import HOME
from sublet_hub.settings import Settings


def configure_kubernetes(c: Config, settings: Settings) -> None:
    """Servers as pods. SettingsError where pools or flavors can't be on Kubernetes."""
    c.JupyterHub.spawner_class = "sublet_hub.hub.kube_spawner.LeaseKubeSpawner"
    c.LeaseKubeSpawner.sublet_pods = pod_settings(settings)
    c.LeaseKubeSpawner.sublet_placements = dict(load_placements(settings))
    c.LeaseKubeSpawner.sublet_grant_ttl = float(settings.grant_ttl_seconds)
    c.Spawner.poll_interval = settings.kube_poll_seconds
    _pods(c, settings)
    _homes(c, settings)


def _pods(c: Config, settings: Settings) -> None:
    pods = c.KubeSpawner
    if settings.kube_namespace is not None:
        pods.namespace = settings.kube_namespace
    # The hub has rights in one namespace.
    pods.enable_user_namespaces = False
    pods.slug_scheme = "safe"
    pods.handle_legacy_names = False
    pods.common_labels = {
        "app.kubernetes.io/name": "sublet",
        "app.kubernetes.io/instance": settings.kube_release,
        "app.kubernetes.io/managed-by": "kubespawner",
    }
    pods.image = settings.kube_notebook_image
    pods.image_pull_policy = settings.kube_image_pull_policy
    pods.image_pull_secrets = list(settings.kube_image_pull_secrets)
    pods.working_dir = HOME
    pods.delete_grace_period = math.ceil(settings.stop_grace_seconds)
    pods.automount_service_account_token = False
    # Our image needs to write to the home and /tmp alone. One that is installed into (conda as a user) needs False.
    pods.container_security_context = {"readOnlyRootFilesystem": True}
    # Users choose among flavors; there is nothing else that a form or an option could set.
    pods.profile_list = []


def _homes(c: Config, settings: Settings) -> None:
    """A user's servers share one home. It is made at the first start, and taken away by nobody but an administrator:
    not with a server, nor with a user of the hub."""
    homes = c.KubeSpawner
    homes.storage_pvc_ensure = settings.kube_home_gib > 0
    homes.pvc_name_template = "home-{username}"
    homes.storage_capacity = f"{settings.kube_home_gib}Gi"
    homes.storage_class = settings.kube_home_storage_class
    homes.delete_pvc = False
    # Else a home that an administrator took away would not be made again.
    homes.remember_pvc_name = False
