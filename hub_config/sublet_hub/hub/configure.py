"""What we set in JupyterHub wherever it runs, and why: proxy, sign-in, scopes, roles, services, pages.

The proxy, the api and the meter are processes of their own, started beside the hub, so that each can be
restarted without the others; the hub starts none of them and, when it stops, leaves users' servers running.
"""

from __future__ import annotations

from traitlets.config import Config

from sublet_hub.catalog import load_models
from sublet_hub.credentials import Credentials, Secrets, read_credentials, read_secrets
from sublet_hub.hub import pages
from sublet_hub.hub.access import (
    ACCESS_API,
    ACCESS_DASK,
    API_PREFIX,
    CUSTOM_SCOPES,
    DASK_PREFIX,
    MODELS_PREFIX,
    SERVER_SCOPES,
    roles,
    routes,
    services,
)
from sublet_hub.hub.sign_in import configure_sign_in, load_sign_in
from sublet_hub.settings import Settings


def configure(c: Config, settings: Settings) -> None:
    """Fill JupyterHub's configuration. Reads the secrets, which `sublet up` or the Helm chart has made.

    Raises CredentialsError and SettingsError.
    """
    secrets = read_secrets(settings.data, settings.secrets_dir)
    credentials = read_credentials(settings.data, settings.secrets_dir)
    _network(c, settings, secrets)
    sign_in = load_sign_in(settings)
    if sign_in.by_oauth:
        configure_sign_in(c, sign_in)
    else:
        _authenticator(c, settings, credentials)
    configure_servers(c, settings, secrets)
    configure_pages(c)
    c.JupyterHub.custom_scopes = CUSTOM_SCOPES
    c.JupyterHub.extra_user_scopes = [ACCESS_API, *([ACCESS_DASK] if settings.dask else [])]
    c.JupyterHub.services = services(secrets, credentials, with_dask=settings.dask)
    # Where a provider says who people are, a name of ours (`admin`) must make nobody an administrator.
    admins = sign_in.admin_users if sign_in.by_oauth else admin_names(settings, credentials)
    c.JupyterHub.load_roles = roles(
        admins,
        sign_in.admin_groups,
        with_gateway=secrets.has("gateway_token"),
        with_model_leases=settings.model_account is not None,
        with_dask=settings.dask,
    )


def admin_names(settings: Settings, credentials: Credentials) -> list[str]:
    """Administrators: those of the settings, and the one whose password was generated."""
    return sorted({*settings.admin_users, credentials.admin_user})


def _network(c: Config, settings: Settings, secrets: Secrets) -> None:
    c.JupyterHub.bind_url = f"http://{_bind_host(settings.host)}:{settings.port}"
    c.JupyterHub.hub_bind_url = f"http://{_bind_host(settings.internal_host)}:{settings.hub_port}"
    # Else it would be this host's own name, which in a cluster nobody else can look up.
    c.JupyterHub.hub_connect_url = settings.hub_address
    c.JupyterHub.db_url = settings.hub_database_url
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.cookie_secret = bytes.fromhex(secrets.cookie_secret)
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = settings.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = secrets.proxy_token
    c.Proxy.extra_routes = routes(
        settings.api_url, gateway_url(settings), settings.dask_url if settings.dask else None
    )


def _authenticator(c: Config, settings: Settings, credentials: Credentials) -> None:
    c.JupyterHub.authenticator_class = settings.authenticator
    c.Authenticator.admin_users = set(admin_names(settings, credentials))
    c.Authenticator.allow_all = settings.allow_all_users
    c.SharedPasswordAuthenticator.admin_password = credentials.admin_password
    c.SharedPasswordAuthenticator.user_password = credentials.user_password


def configure_servers(c: Config, settings: Settings, secrets: Secrets) -> None:
    """Make leases of servers; what differs by where they run stands in a module of its own, and imports what only it
    needs."""
    c.LeaseMixin.sublet_api_url = settings.api_url
    c.LeaseMixin.sublet_api_token = secrets.spawner_token
    c.LeaseMixin.sublet_contact = settings.contact
    c.LeaseMixin.sublet_usage_url = API_PREFIX
    if "proxy_class" not in c.JupyterHub:  # else somebody runs another proxy, whose ways we don't know
        c.JupyterHub.proxy_class = "sublet_hub.hub.lease_proxy.LeaseProxy"
    if gateway := gateway_url(settings):
        c.LeaseMixin.sublet_models_url = f"{gateway}{MODELS_PREFIX}v1"
    if settings.dask:
        c.LeaseMixin.sublet_dask_url = f"{settings.dask_url}{DASK_PREFIX.rstrip('/')}"
    c.Spawner.default_url = "/lab"
    c.Spawner.http_timeout = settings.spawn_timeout_seconds
    c.Spawner.start_timeout = settings.spawn_timeout_seconds
    c.Spawner.server_token_scopes = [*SERVER_SCOPES, *([ACCESS_DASK] if settings.dask else [])]
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.named_server_limit_per_user = settings.servers_per_user_max
    c.JupyterHub.concurrent_spawn_limit = settings.concurrent_spawns_max
    if settings.cluster == "kubernetes":
        from sublet_hub.hub.configure_kubernetes import configure_kubernetes

        configure_kubernetes(c, settings)
    else:
        from sublet_hub.hub.configure_local import configure_local

        configure_local(c, settings)


def gateway_url(settings: Settings) -> str | None:
    """Where models are called; None where the catalogue has none that is served. SettingsError where it is wrong."""
    return settings.gateway_url if load_models(settings).served else None


def configure_pages(c: Config) -> None:
    """Our templates, and what they need."""
    c.JupyterHub.template_paths = [str(pages.TEMPLATES)]
    c.JupyterHub.template_vars = {"sublet_url": API_PREFIX}
    c.JupyterHub.logo_file = str(pages.LOGO)
    c.JupyterHub.tornado_settings = pages.tornado_settings(c.JupyterHub.get("base_url", "/"))


def _bind_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
