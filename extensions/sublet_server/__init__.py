"""The part of Sublet that runs in a user's Jupyter server: it shows, warns, saves, and refuses early.

It is convenience and courtesy. The platform meters, decides and stops without it, and trusts nothing that it says.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """What Jupyter Server asks an extension's package for."""
    from sublet_server.app import SubletServer

    return [{"module": "sublet_server", "app": SubletServer}]
