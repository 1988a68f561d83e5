"""What we set in Dask-Gateway, and why: where it listens, who may come in, what is kept, how often it looks."""

from __future__ import annotations

import base64
import math

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from traitlets.config import Config

from sublet_hub.credentials import read_secrets
from sublet_hub.hub.access import DASK_PREFIX, DASK_SERVICE
from sublet_hub.settings import Settings

FOLDER = "dask"
"""In the data folder: the gateway's database, and what its schedulers leave."""

HEARTBEAT_SECONDS = 5
HEARTBEAT_TIMEOUT_SECONDS = 45.0
"""A scheduler's end is observed; this is for one that lives and says nothing, such as behind a long computation."""

START_SECONDS = 120.0
LOOK_SECONDS = 1.0


def configure(c: Config, settings: Settings) -> None:
    """Fill Dask-Gateway's configuration. Raises CredentialsError."""
    secrets = read_secrets(settings.data, settings.secrets_dir)
    token = secrets.dask_token
    c.DaskGateway.address = f"127.0.0.1:{settings.dask_api_port}"
    c.DaskGateway.backend_class = "sublet_hub.dask.backend.LeasedBackend"
    c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"
    c.Proxy.address = f"127.0.0.1:{settings.dask_port}"
    c.Proxy.prefix = DASK_PREFIX.rstrip("/")
    _authenticator(c, settings, token)
    backend = c.LeasedBackend
    backend.sublet_settings = settings
    backend.sublet_api_token = token
    backend.db_url = f"sqlite:///{settings.data / FOLDER / 'gateway.sqlite'}"
    backend.db_encrypt_keys = [database_key(token)]
    backend.api_url = f"http://127.0.0.1:{settings.dask_api_port}/api"
    backend.cluster_heartbeat_period = HEARTBEAT_SECONDS
    backend.cluster_heartbeat_timeout = HEARTBEAT_TIMEOUT_SECONDS
    backend.cluster_start_timeout = START_SECONDS
    backend.worker_start_timeout = START_SECONDS
    backend.check_timeouts_period = LOOK_SECONDS
    backend.cluster_status_period = LOOK_SECONDS
    backend.worker_status_period = LOOK_SECONDS
    backend.backoff_max_delay = 30.0
    # Only `sublet up` that stops sends SIGTERM; a gateway that was killed finds its clusters again.
    backend.stop_clusters_on_shutdown = True


def _authenticator(c: Config, settings: Settings, token: str) -> None:
    c.JupyterHubAuthenticator.jupyterhub_api_token = token
    c.JupyterHubAuthenticator.jupyterhub_api_url = settings.hub_api_url
    c.JupyterHubAuthenticator.jupyterhub_service_name = DASK_SERVICE
    c.JupyterHubAuthenticator.use_service_access_scopes = True
    # For so long a token works that was revoked.
    c.JupyterHubAuthenticator.cache_max_age = math.ceil(settings.token_cache_seconds)


def database_key(token: str) -> str:
    """What encrypts keys and tokens of clusters in the gateway's database: made from the one secret it is given."""
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"sublet dask database").derive(bytes.fromhex(token))
    return base64.urlsafe_b64encode(derived).decode()
