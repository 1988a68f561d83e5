"""Who may do what at the hub: our scopes and roles, and the services under whose names our processes show tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet_hub.credentials import Credentials, Secrets

API_PREFIX = "/services/sublet/"
QUOTA_PREFIX = "/hub/api/quotas/"
MODELS_PREFIX = "/services/models/"
DASK_PREFIX = "/services/dask/"

API_SERVICE = "sublet"
API_OAUTH_CLIENT = "service-sublet"
DASK_OAUTH_CLIENT = "service-sublet-dask"
SPAWNER_SERVICE = "sublet-spawner"
GATEWAY_SERVICE = "sublet-gateway"
DASK_SERVICE = "sublet-dask"
RUNNER_SERVICE = "sublet-up"
ADMIN_SERVICE = "sublet-admin"

QUOTAS_READ = "custom:quotas:read"
QUOTAS_WRITE = "custom:quotas:write"
LEASES_WRITE = "custom:leases:write"
MODELS_SERVE = "custom:models:serve"
MODELS_LEASE = "custom:models:lease"
LICENCES_WRITE = "custom:licences:write"
ACCESS_API = f"access:services!service={API_SERVICE}"
ACCESS_DASK = f"access:services!service={DASK_SERVICE}"

SERVER_SCOPES = (
    "users:activity!user",
    "access:servers!server",
    "read:users:name!user",
    "read:users:groups!user",
    ACCESS_API,
)
"""A server's own token says who its user is and reaches the api as them; it can do nothing else."""

CUSTOM_SCOPES = {
    QUOTAS_READ: {"description": "Read the quotas, usage and leases of all users and groups."},
    QUOTAS_WRITE: {
        "description": "Change the quotas of all users and groups, and stop leases.",
        "subscopes": [QUOTAS_READ],
    },
    LEASES_WRITE: {"description": "Ask for leases and report on them on behalf of users. For spawners."},
    MODELS_SERVE: {
        "description": "Look up who calls a model, hold tokens and money, and book what was used. For the gateway."
    },
    MODELS_LEASE: {
        "description": "Ask for, list and end leases of models' servers, of the one user and account that the "
        "settings name. For the gateway."
    },
    LICENCES_WRITE: {"description": "Accept licences of models for groups; with !group=NAME for that one."},
}


def services(secrets: Secrets, credentials: Credentials, *, with_dask: bool = False) -> list[dict[str, Any]]:
    """The hub's services: names under which our processes show tokens. None is started by the hub."""
    dask = {
        "name": DASK_SERVICE,
        "api_token": secrets.dask_token if with_dask else "",
        "oauth_client_id": DASK_OAUTH_CLIENT,
        "oauth_redirect_uri": f"{DASK_PREFIX}oauth_callback",
        "oauth_no_confirm": True,
        "display": False,
    }
    return [
        {
            "name": API_SERVICE,
            "api_token": secrets.api_token,
            "oauth_client_id": API_OAUTH_CLIENT,
            "oauth_redirect_uri": f"{API_PREFIX}oauth_callback",
            # It is part of the platform: asking "may Sublet know who you are" on every visit helps nobody.
            "oauth_no_confirm": True,
            # A page acts with what its user may, and of that only what the pages are for.
            "oauth_client_allowed_scopes": [QUOTAS_READ, QUOTAS_WRITE, LICENCES_WRITE],
            "display": False,
        },
        {"name": SPAWNER_SERVICE, "api_token": secrets.spawner_token, "display": False},
        *_gateway_service(secrets),
        *([dask] if with_dask else []),
        {"name": RUNNER_SERVICE, "api_token": secrets.runner_token, "display": False},
        {"name": ADMIN_SERVICE, "api_token": credentials.admin_token, "display": False},
    ]


def _gateway_service(secrets: Secrets) -> list[dict[str, Any]]:
    """None where no gateway was given a token: a Secret that an operator made before there were models has none."""
    if not secrets.has("gateway_token"):
        return []
    return [{"name": GATEWAY_SERVICE, "api_token": secrets.gateway_token, "display": False}]


def roles(
    admins: Sequence[str],
    admin_groups: Sequence[str] = (),
    *,
    with_gateway: bool = True,
    with_model_leases: bool = False,
    with_dask: bool = False,
) -> list[dict[str, Any]]:
    """Who may do what. Each process has the least that it needs; a quota admin is no admin of users."""
    gateway = {
        "name": "sublet-gateway",
        "description": "Looks up who calls a model, and books what they used",
        "scopes": [MODELS_SERVE, MODELS_LEASE] if with_model_leases else [MODELS_SERVE],
        "services": [GATEWAY_SERVICE],
    }
    dask = {
        "name": "sublet-dask",
        "description": "Asks for leases of Dask workers, on behalf of the users who start clusters",
        "scopes": [LEASES_WRITE, "read:users:name", "read:users:groups"],
        "services": [DASK_SERVICE],
    }
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
        *([gateway] if with_gateway else []),
        *([dask] if with_dask else []),
        {
            "name": "sublet-up",
            "description": "Has the hub put its routes into a proxy that was started anew",
            "scopes": ["proxy"],
            "services": [RUNNER_SERVICE],
        },
    ]


def routes(api_url: str, gateway_url: str | None, dask_url: str | None = None) -> dict[str, str]:
    """What the proxy sends to the api and, where there are such, to the gateway and to Dask's, beside what the hub
    tells it of itself."""
    models = {} if gateway_url is None else {MODELS_PREFIX: gateway_url}
    dask = {} if dask_url is None else {DASK_PREFIX: dask_url}
    return {API_PREFIX: api_url, QUOTA_PREFIX: api_url, **models, **dask}
