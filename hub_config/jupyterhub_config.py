"""JupyterHub's configuration, on one machine and on Kubernetes. All of it is in sublet_hub.hub.configure, tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet_hub.hub.configure import configure
from sublet_hub.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from traitlets.config import Config

    get_config: Callable[[], Config]
    load_subconfig: Callable[[str], None]

settings = load_settings()
configure(get_config(), settings)  # noqa: F821 — JupyterHub defines it for this file
if settings.hub_extra_config:
    load_subconfig(str(settings.hub_extra_config))  # noqa: F821 — the same
