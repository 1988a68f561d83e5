"""All settings of a platform.

A setting is taken from the environment (`SUBLET_` and its name in capitals), else from `sublet.toml` (its name as a
top-level key), else from its default. `data` and `config_file` come from the environment only, since they say where
the file is. Where None is allowed, an empty string or "none" says None.

Pools, flavors and prices stand in the same file and are read by `sublet_hub.catalog`.
"""

from sublet_hub.settings.model import Settings
from sublet_hub.settings.reading import (
    CATALOG_KEYS,
    ENV_OF_OTHERS,
    SettingDoc,
    SettingsError,
    as_environment,
    describe,
    env_name,
    load_settings,
    unknown_environment,
)

__all__ = [
    "CATALOG_KEYS",
    "ENV_OF_OTHERS",
    "SettingDoc",
    "Settings",
    "SettingsError",
    "as_environment",
    "describe",
    "env_name",
    "load_settings",
    "unknown_environment",
]
