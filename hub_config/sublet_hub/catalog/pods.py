"""What the pods of all leases have in common, from the settings."""

from __future__ import annotations

import math

from sublet_hub.cluster.kube.lease_pods import PodSettings
from sublet_hub.cluster.kube.warden import active_deadline_seconds, end_margin_ms
from sublet_hub.domain.flavors import Tier
from sublet_hub.settings import Settings


def pod_settings(settings: Settings) -> PodSettings:
    """What all pods of leases have in common."""
    classes = {
        Tier.GUARANTEED.value: settings.kube_priority_class_guaranteed,
        Tier.SURPLUS.value: settings.kube_priority_class_surplus,
    }
    grace_seconds = math.ceil(settings.stop_grace_seconds)
    # A lease may begin as late after its pod as its grant is good for.
    longest_ms = (settings.grant_ttl_seconds + settings.lease_seconds_max) * 1000 + end_margin_ms(grace_seconds)
    return PodSettings(
        warden_image=settings.kube_warden_image,
        hard_cap_seconds=active_deadline_seconds(0, longest_ms),
        user_id=settings.kube_user_id,
        stop_grace_seconds=grace_seconds,
        priority_classes={tier: name for tier, name in classes.items() if name is not None},
        has_home=settings.kube_home_gib > 0,
        models_claim=settings.kube_models_claim,
        cpu_reserved_percent=settings.kube_cpu_reserved_percent,
    )
