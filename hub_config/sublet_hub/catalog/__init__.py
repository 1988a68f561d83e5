"""Pools and flavors, read from `sublet.toml` into the domain's catalog; and the file's first content.

Format: see `starter_toml`, which is what a new platform gets, and docs/settings.md.
"""

from sublet_hub.catalog.model_leases import check_model_leases, model_holder
from sublet_hub.catalog.models import load_models, read_models
from sublet_hub.catalog.pods import pod_settings
from sublet_hub.catalog.reading import load_catalog, load_placements
from sublet_hub.catalog.starter import STARTER_MODELS, FoundDevice, default_quota, starter_toml

__all__ = [
    "STARTER_MODELS",
    "FoundDevice",
    "check_model_leases",
    "default_quota",
    "load_catalog",
    "load_models",
    "load_placements",
    "model_holder",
    "pod_settings",
    "read_models",
    "starter_toml",
]
