"""Adding Sublet to a hub that others configure, such as one by Zero to JupyterHub (docs/zero-to-jupyterhub.md).

Such a hub keeps its own address, database, proxy and authenticator. It is given what makes leases of its servers.
"""

from __future__ import annotations

from typing import Any

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from sublet_hub.credentials import read_credentials, read_secrets
from sublet_hub.hub import access as ours
from sublet_hub.hub.configure import configure_pages, configure_servers, gateway_url
from sublet_hub.settings import Settings


def add_to(c: Config, settings: Settings) -> None:
    """Fill in our part of a hub's configuration, beside the services, roles, scopes and routes that it has.

    To be called last: what is set of the spawner later is not looked after by leases.
    """
    secrets = read_secrets(settings.data, settings.secrets_dir)
    credentials = read_credentials(settings.data, settings.secrets_dir)
    configure_servers(c, settings, secrets)
    configure_pages(c)
    hub = c.JupyterHub
    hub.services = [*_there(hub, "services", []), *ours.services(secrets, credentials)]
    hub.load_roles = [
        *_there(hub, "load_roles", []),
        *ours.roles(
            settings.admin_users,
            with_gateway=secrets.has("gateway_token"),
            with_model_leases=settings.model_account is not None,
        ),
    ]
    hub.custom_scopes = {**_there(hub, "custom_scopes", {}), **ours.CUSTOM_SCOPES}
    hub.extra_user_scopes = [*_there(hub, "extra_user_scopes", []), ours.ACCESS_API]
    c.Proxy.extra_routes = {
        **_there(c.Proxy, "extra_routes", {}),
        **ours.routes(settings.api_url, gateway_url(settings)),
    }


def _there(section: Config, name: str, otherwise: Any) -> Any:
    """What a configuration before us has set, or has added to what will be the default."""
    value = section.get(name, otherwise)
    return value.get_value(otherwise) if isinstance(value, LazyConfigValue) else value
