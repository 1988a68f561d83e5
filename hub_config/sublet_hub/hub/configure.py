"""What we set in JupyterHub, and why: proxy, authenticator, spawner, scopes, roles and services.

The proxy, the api and the meter are processes of their own, started beside the hub, so that each can be
restarted without the others; the hub starts none of them and, when it stops, leaves users' servers running.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traitlets.config import Config

from sublet_hub.credentials import Credentials, Secrets, read_credentials, read_secrets
from sublet_hub.hub import pages
from sublet_hub.hub.sign_in import configure_sign_in, load_sign_in
from sublet_hub.settings import Settings

API_PREFIX = "/services/sublet/"
QUOTA_PREFIX = "/hub/api/quotas/"

API_SERVICE = "sublet"
API_OAUTH_CLIENT = "service-sublet"
SPAWNER_SERVICE = "sublet-spawner"
RUNNER_SERVICE = "sublet-up"
ADMIN_SERVICE = "sublet-admin"

QUOTAS_READ = "custom:quotas:read"
QUOTAS_WRITE = "custom:quotas:write"
LEASES_WRITE = "custom:leases:write"
ACCESS_API = f"access:services!service={API_SERVICE}"

CHECKOUT_READABLE = (Path(__file__).parents[3] / "extensions",)
"""What the notebook environment imports from beside the hub's own code when both are run from a checkout."""

CUSTOM_SCOPES = {
    QUOTAS_READ: {"description": "Read the quotas, usage and leases of all users and groups."},
    QUOTAS_WRITE: {
        "description": "Change the quotas of all users and groups, and stop leases.",
        "subscopes": [QUOTAS_READ],
    },
    LEASES_WRITE: {"description": "Ask for leases and report on them on behalf of users. For spawners."},
}


def configure(c: Config, settings: Settings) -> None:
    """Fill JupyterHub's configuration for one machine. Reads the secrets, which `sublet up` has made."""
    secrets = read_secrets(settings.data, settings.secrets_dir)
    credentials = read_credentials(settings.data, settings.secrets_dir)
    _network(c, settings, secrets)
    sign_in = load_sign_in(settings)
    if sign_in.by_oauth:
        configure_sign_in(c, sign_in)
    else:
        _authenticator(c, settings, credentials)
    _spawner(c, settings, secrets)
    _pages(c)
    c.JupyterHub.custom_scopes = CUSTOM_SCOPES
    c.JupyterHub.extra_user_scopes = [ACCESS_API]
    c.JupyterHub.services = services(secrets, credentials)
    # Where a provider says who people are, a name of ours (`admin`) must make nobody an administrator.
    admins = sign_in.admin_users if sign_in.by_oauth else admin_names(settings, credentials)
    c.JupyterHub.load_roles = roles(admins, sign_in.admin_groups)


def admin_names(settings: Settings, credentials: Credentials) -> list[str]:
    """Administrators: those of the settings, and the one whose password was generated."""
    return sorted({*settings.admin_users, credentials.admin_user})


def services(secrets: Secrets, credentials: Credentials) -> list[dict[str, Any]]:
    """The hub's services: names under which our processes show tokens. None is started by the hub."""
    return [
        {
            "name": API_SERVICE,
            "api_token": secrets.api_token,
            "oauth_client_id": API_OAUTH_CLIENT,
            "oauth_redirect_uri": f"{API_PREFIX}oauth_callback",
            # It is part of the platform: asking "may Sublet know who you are" on every visit helps nobody.
            "oauth_no_confirm": True,
            # A page acts with what its user may, and of that only what the pages are for.
            "oauth_client_allowed_scopes": [QUOTAS_READ, QUOTAS_WRITE],
            "display": False,
        },
        {"name": SPAWNER_SERVICE, "api_token": secrets.spawner_token, "display": False},
        {"name": RUNNER_SERVICE, "api_token": secrets.runner_token, "display": False},
        {"name": ADMIN_SERVICE, "api_token": credentials.admin_token, "display": False},
    ]


def roles(admins: Sequence[str], admin_groups: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Who may do what. Each process has the least that it needs; a quota admin is no admin of users."""
    return [
        {
            "name": "quota-admin",
            "description": "Sets quotas, sees all leases and usage, and stops leases",
            "scopes": [QUOTAS_WRITE, ACCESS_API],
            "users": list(admins),
            "groups": list(admin_groups),
            "services": [ADMIN_SERVICE],
        },
        {
            "name": "sublet-api",
            "description": "Looks up whether a user or group exists, and who is in which group",
            "scopes": ["list:users", "read:users:name", "read:users:groups", "list:groups", "read:groups"],
            "services": [API_SERVICE],
        },
        {
            "name": "sublet-spawner",
            "description": "Asks the api for leases on behalf of the users who start servers",
            "scopes": [LEASES_WRITE],
            "services": [SPAWNER_SERVICE],
        },
        {
            "name": "sublet-up",
            "description": "Has the hub put its routes into a proxy that was started anew",
            "scopes": ["proxy"],
            "services": [RUNNER_SERVICE],
        },
    ]


def _network(c: Config, settings: Settings, secrets: Secrets) -> None:
    c.JupyterHub.bind_url = f"http://{_bind_host(settings.host)}:{settings.port}"
    c.JupyterHub.hub_bind_url = f"http://{_bind_host(settings.internal_host)}:{settings.hub_port}"
    c.JupyterHub.db_url = f"sqlite:///{settings.data / 'jupyterhub.sqlite'}"
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.cookie_secret = bytes.fromhex(secrets.cookie_secret)
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = settings.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = secrets.proxy_token
    c.Proxy.extra_routes = {API_PREFIX: settings.api_url, QUOTA_PREFIX: settings.api_url}


def _authenticator(c: Config, settings: Settings, credentials: Credentials) -> None:
    c.JupyterHub.authenticator_class = settings.authenticator
    c.Authenticator.admin_users = set(admin_names(settings, credentials))
    c.Authenticator.allow_all = settings.allow_all_users
    c.SharedPasswordAuthenticator.admin_password = credentials.admin_password
    c.SharedPasswordAuthenticator.user_password = credentials.user_password


def _spawner(c: Config, settings: Settings, secrets: Secrets) -> None:
    c.JupyterHub.spawner_class = "sublet_hub.hub.local_spawner.LocalLeaseSpawner"
    c.LocalLeaseSpawner.sublet_api_url = settings.api_url
    c.LocalLeaseSpawner.sublet_api_token = secrets.spawner_token
    c.LocalLeaseSpawner.sublet_contact = settings.contact
    c.LocalLeaseSpawner.sublet_usage_url = API_PREFIX
    c.LocalLeaseSpawner.sublet_data = str(settings.data)
    c.LocalLeaseSpawner.sublet_notebook_python = str(settings.notebook_python)
    c.LocalLeaseSpawner.sublet_readable = [str(path) for path in CHECKOUT_READABLE if path.is_dir()]
    c.LocalLeaseSpawner.sublet_term_grace = settings.term_grace_seconds
    c.LocalLeaseSpawner.sublet_stop_grace = settings.stop_grace_seconds
    c.LocalLeaseSpawner.sublet_sandbox = settings.sandbox
    c.Spawner.default_url = "/lab"
    # By TCP, whoever else runs code on this machine could listen to what a kernel prints.
    c.Spawner.args = ["--KernelManager.transport=ipc"]
    c.Spawner.http_timeout = settings.spawn_timeout_seconds
    c.Spawner.start_timeout = settings.spawn_timeout_seconds
    # The notebook's own token says who its user is and reaches the api as them; it can do nothing else.
    c.Spawner.server_token_scopes = [
        "users:activity!user",
        "access:servers!server",
        "read:users:name!user",
        "read:users:groups!user",
        ACCESS_API,
    ]
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.named_server_limit_per_user = settings.servers_per_user_max
    c.JupyterHub.concurrent_spawn_limit = settings.concurrent_spawns_max
    # The supervising parents end servers at their deadlines; the hub sees it at its next look, which is one file of
    # /proc. Until then its pages would send the user to a server that is gone.
    c.Spawner.poll_interval = 1


def _pages(c: Config) -> None:
    c.JupyterHub.template_paths = [str(pages.TEMPLATES)]
    c.JupyterHub.template_vars = {"sublet_url": API_PREFIX}
    c.JupyterHub.logo_file = str(pages.LOGO)
    c.JupyterHub.tornado_settings = pages.tornado_settings()


def _bind_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
