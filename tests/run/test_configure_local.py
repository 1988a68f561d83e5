"""How servers of one machine are stopped: what JupyterHub is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from traitlets.config import Config

from sublet_hub.hub.configure import configure_servers
from sublet_hub.run.first_start import make_folders, prepare
from sublet_hub.settings import load_settings

OURS = "sublet_hub.hub.lease_proxy.LeaseProxy"


def configured(data: Path, c: Config, **settings: str) -> Config:
    given = load_settings({"SUBLET_DATA": str(data), **settings})
    make_folders(given)
    secrets, _ = prepare(given)
    configure_servers(c, given, secrets)
    return c


def test_a_stop_has_as_long_as_its_grace_is(tmp_path: Path) -> None:
    """Else JupyterHub kills the supervising parent, and the server with it."""
    c = configured(tmp_path / "data", Config(), SUBLET_STOP_GRACE_SECONDS="29.5")
    assert c.LocalLeaseSpawner.interrupt_timeout > 30
    assert c.LocalLeaseSpawner.sublet_stop_grace == 29.5


@pytest.mark.parametrize(("before", "after"), [(None, OURS), ("traefik_file", "traefik_file")])
def test_another_proxy_is_left_alone(tmp_path: Path, before: str | None, after: str) -> None:
    c = Config()
    if before is not None:
        c.JupyterHub.proxy_class = before
    assert configured(tmp_path / "data", c).JupyterHub.proxy_class == after
