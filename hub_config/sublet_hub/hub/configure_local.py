"""What we set in JupyterHub where servers run on its own machine."""

from __future__ import annotations

import math
from pathlib import Path

from traitlets.config import Config

from sublet_hub.settings import Settings

CHECKOUT_READABLE = (Path(__file__).parents[3] / "extensions",)
"""What the notebook environment imports from beside the hub's own code when both are run from a checkout."""

PARENT_SECONDS = 5
"""What a supervising parent may take beyond the grace, on a busy machine."""


def configure_local(c: Config, settings: Settings) -> None:
    """Servers under supervising parents."""
    c.JupyterHub.spawner_class = "sublet_hub.hub.local_spawner.LocalLeaseSpawner"
    c.LocalLeaseSpawner.sublet_data = str(settings.data)
    c.LocalLeaseSpawner.sublet_notebook_python = str(settings.notebook_python)
    c.LocalLeaseSpawner.sublet_readable = [str(path) for path in CHECKOUT_READABLE if path.is_dir()]
    c.LocalLeaseSpawner.sublet_models = str(settings.models_dir)
    c.LocalLeaseSpawner.sublet_term_grace = settings.term_grace_seconds
    c.LocalLeaseSpawner.sublet_stop_grace = settings.stop_grace_seconds
    c.LocalLeaseSpawner.sublet_sandbox = settings.sandbox
    # So long JupyterHub waits before it kills the supervising parent, which ends the server at the grace.
    c.LocalLeaseSpawner.interrupt_timeout = math.ceil(settings.stop_grace_seconds) + PARENT_SECONDS
    # By TCP, whoever else runs code on this machine could listen to what a kernel prints.
    c.Spawner.args = ["--KernelManager.transport=ipc"]
    # The supervising parents end servers at their deadlines; the hub sees it at its next look, which is one file of
    # /proc. Until then its pages would send the user to a server that is gone.
    c.Spawner.poll_interval = 1
