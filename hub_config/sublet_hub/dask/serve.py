"""The gateway of Dask clusters as a process: `sublet dask`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sublet_hub.dask.configure import FOLDER
from sublet_hub.settings import Settings

CONFIG = Path(__file__).with_name("gateway_config.py")


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, then stop all clusters. Exits in words where Dask-Gateway isn't installed, or where the
    setting `dask` is off."""
    if not settings.dask:
        sys.exit("sublet dask: Dask clusters are switched off (setting `dask`).")
    try:
        from dask_gateway_server.app import DaskGateway
    except ImportError:
        sys.exit("sublet dask: dask-gateway-server is not installed here; run: pip install dask-gateway-server")
    os.umask(0o077)
    folder = settings.data / FOLDER
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.chmod(0o711)
    DaskGateway.launch_instance(["-f", str(CONFIG)])
