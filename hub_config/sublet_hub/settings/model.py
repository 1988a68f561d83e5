"""All settings of a platform, each with its unit, its default, what None means, and why it is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from sublet_hub.settings.kinds import (
    AbsolutePath,
    Names,
    NoticeTimes,
    Number,
    OptionalAccount,
    OptionalCount,
    OptionalName,
    OptionalPath,
    Port,
    PreciseSeconds,
    Seconds,
    existing_zone,
)
from sublet_hub.settings.kubernetes import KubernetesSettings


def _offset(offset: int) -> Any:
    """Default of a port: so far above the public one. Several platforms on one machine then need one setting
    each."""

    def from_port(values: dict[str, Any]) -> int:
        return int(values.get("port", 8000)) + offset

    return Field(default_factory=from_port)


def _beside(port: str) -> Any:
    """Default of an address: that port on this machine."""
    return Field(default_factory=lambda values: f"http://127.0.0.1:{values.get(port, 0)}")


def _default_database(values: dict[str, Any]) -> str:
    return f"sqlite:///{values.get('data', Path('.sublet')) / 'sublet.sqlite'}"


def _default_hub_database(values: dict[str, Any]) -> str:
    return f"sqlite:///{values.get('data', Path('.sublet')) / 'jupyterhub.sqlite'}"


def _default_notebook_python(_values: dict[str, Any]) -> Path:
    """The notebook environment beside the platform's own, as `make run` lays them; else the platform's
    own."""
    beside = Path(sys.prefix).parent / ".venv-notebook" / "bin" / "python"
    return beside if beside.exists() else Path(sys.executable)


def _default_proxy_script(_values: dict[str, Any]) -> Path:
    relative = Path("node_modules/configurable-http-proxy/bin/configurable-http-proxy")
    return Path(sys.prefix).parent / "proxy" / relative


def _default_gateway_dir(values: dict[str, Any]) -> Path:
    return Path(values.get("data", Path(".sublet"))) / "gateway"


def _default_models_dir(values: dict[str, Any]) -> Path:
    return Path(values.get("data", Path(".sublet"))) / "models"


def _default_starter_models(_values: dict[str, Any]) -> Path | None:
    """The models that setup has made beside the platform's environment."""
    beside = Path(sys.prefix).parent / ".setup" / "models"
    return beside if beside.is_dir() else None


class Settings(KubernetesSettings):
    """One platform's settings; never changed after they are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    # ------------------------------------------------------------ where things are

    data: AbsolutePath = Path(".sublet")
    """Folder for all that the platform keeps: databases, secrets, logs, homes, leases. Relative to where the
    command is run. Only from the environment."""

    config_file: OptionalPath = None
    """File with settings, pools and flavors. None: `sublet.toml` in the data folder. Only from the environment."""

    secrets_dir: OptionalPath = None
    """Folder with a file for each secret and credential, as Kubernetes mounts a Secret. None: `secrets.json` and
    `credentials` in the data folder, which `sublet up` makes."""

    database_url: str = Field(default_factory=_default_database)
    """SQLAlchemy URL of Sublet's database. Default: SQLite, `sublet.sqlite` in the data folder. For
    PostgreSQL `postgresql+psycopg://user:password@host/name`, with the extra `postgresql` installed."""

    hub_database_url: str = Field(default_factory=_default_hub_database)
    """SQLAlchemy URL of JupyterHub's own database: users, groups, tokens, which servers there are. Default: SQLite,
    `jupyterhub.sqlite` in the data folder."""

    notebook_python: AbsolutePath = Field(default_factory=_default_notebook_python)
    """Python that users' servers run on; JupyterLab and jupyterhub-singleuser must be installed there.
    Default: `.venv-notebook` beside the platform's own environment, else the platform's own Python."""

    proxy_script: AbsolutePath = Field(default_factory=_default_proxy_script)
    """The configurable-http-proxy to start. Default: the one `make run` installs under
    `proxy/node_modules`."""

    models_file: OptionalPath = None
    """File with the catalogue of models. None: `models.toml` beside `sublet.toml`; where there is none, the platform
    has no models."""

    models_dir: AbsolutePath = Field(default_factory=_default_models_dir)
    """The store of models: the folder that `sublet models` fills, and that users' servers read on one machine.
    Default: `models` in the data folder."""

    starter_models: OptionalPath = Field(default_factory=_default_starter_models)
    """Folder with the files of the models that a new platform begins with, a folder for each. Where there is no
    `models.toml` yet, `sublet up` writes one and takes them into the store. None: a new platform has no models.
    Default: what `make run` has made, if it has."""

    models_source: str = "hub"
    """Where `sublet models add` takes files from unless told: `hub`, an `http(s)://` address, or a folder. In an
    address or a folder `{name}`, `{revision}` and `{repository}` stand for the model's."""

    models_hub_url: Annotated[str, Field(pattern=r"^https?://\S+$")] = "https://huggingface.co"
    """The hub that models come from: the Hugging Face Hub, or a mirror that has its addresses. A token of the hub is
    taken from the environment variable `HF_TOKEN`."""

    # ------------------------------------------------------------ where it listens

    host: str = "127.0.0.1"
    """Address the public port listens on. Default: this machine only, since there is no TLS here; put a TLS proxy
    in front before opening it."""

    internal_host: str = "127.0.0.1"
    """Address that all others listen on: hub, api, meter, gateway, and the proxy's own API. Where each is in a pod of
    its own, `0.0.0.0`, and network policies keep others away."""

    port: Port = 8000
    """The public port: browsers and API clients come here."""

    proxy_api_port: Port = _offset(1)
    """Port of the proxy's own API. Default: `port` + 1."""

    hub_port: Port = _offset(81)
    """Port of the hub behind the proxy. Default: `port` + 81."""

    api_port: Port = _offset(82)
    """Port of the api behind the proxy. Default: `port` + 82."""

    meter_port: Port = _offset(83)
    """Port of the meter's Prometheus metrics. Default: `port` + 83."""

    gateway_port: Port = _offset(84)
    """Port of the gateway behind the proxy. Default: `port` + 84."""

    dask_port: Port = _offset(85)
    """Port where Dask clusters are asked for and reached. Default: `port` + 85."""

    dask_api_port: Port = _offset(86)
    """Port of the Dask gateway behind it, which schedulers report to. Default: `port` + 86."""

    hub_address: str = _beside("hub_port")
    """Where the other parts reach the hub: scheme, host and port, no slash at the end. Default: on this machine."""

    api_address: str = _beside("api_port")
    """Where the other parts, and users' servers, reach the api. Default: on this machine."""

    gateway_address: str = _beside("gateway_port")
    """Where the proxy and users' servers reach the gateway. Default: on this machine."""

    proxy_api_address: str = _beside("proxy_api_port")
    """Where the hub reaches the proxy's own API. Default: on this machine."""

    # ------------------------------------------------------------ who may come in

    authenticator: str = "shared-password"
    """JupyterHub authenticator: a registered name (`shared-password`, `pam`, `github`, ...) or a class as
    `package.module.Class`. Default: one generated password for users, one for admins. Options of the class go
    into `hub_extra_config`."""

    admin_users: Names = ("admin",)
    """Names of users who administer the hub and the quotas. The first is the one whose password is
    generated."""

    hub_extra_config: OptionalPath = None
    """A JupyterHub configuration file that is read after ours, for options of an authenticator and the like.
    None: none."""

    allow_all_users: bool = True
    """Whether every user who can authenticate may use the platform. With an authenticator of the open
    internet set it to false and name the allowed users or groups in `hub_extra_config`."""

    # ------------------------------------------------------------ money and quotas

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """ISO 4217 code of the one currency that prices and money limits are in. Not to be changed once money is
    booked: amounts are kept without it."""

    contact: str = "the administrator of this platform"
    """Whom users are told to ask for more quota; ends the sentence "To get more, ask ..."."""

    time_zone: Annotated[str, AfterValidator(existing_zone)] = "UTC"
    """IANA time zone in which days, weeks and months of the default quota begin."""

    default_gpu_seconds_per_week: OptionalCount = 36_000
    """GPU-seconds per week that a new platform's default quota allows each account. None: no such limit. Read
    when the database is first made; afterwards change it with `sublet quota set default`."""

    default_gpus: OptionalCount = 2
    """GPUs at once in a new platform's default quota. None: no such limit."""

    default_leases: OptionalCount = 3
    """Leases at once in a new platform's default quota. None: no such limit."""

    default_lease_seconds: OptionalCount = 43_200
    """Seconds per lease in a new platform's default quota. None: no such limit but `lease_seconds_max`."""

    default_money_microunits_per_month: OptionalCount = None
    """Micro-units of money per month in a new platform's default quota. None: no such limit."""

    # ------------------------------------------------------------ leases

    slice_seconds: Seconds = 600
    """Seconds of use that are held on the quota at a time, ahead of use. Longer: fewer transactions; shorter:
    less quota is bound by leases that end early."""

    notice_seconds: NoticeTimes = (300, 60)
    """Seconds before a deadline at which the user is warned, longest first. A stop that is not yet that near,
    such as after a lowered quota, is put off by the longest of them, so that nobody is surprised."""

    grant_ttl_seconds: Seconds = 120
    """Seconds after which a granted lease that never started is voided and its hold released."""

    minimum_lease_seconds: Seconds = 10
    """Seconds that a quota must still allow for a lease to be granted: less is not worth a start."""

    lease_seconds_max: Seconds = 7 * 24 * 3600
    """Seconds after which any lease ends, whatever its quotas say. A last stop against forgotten servers."""

    term_grace_seconds: PreciseSeconds = 0.7
    """Seconds between SIGTERM and SIGKILL when a lease's time is over. Kept under one second, so that the end
    stays within one second of the deadline; saving is done at the notices before. On Kubernetes `stop_grace_seconds`
    counts."""

    stop_grace_seconds: PreciseSeconds = 5.0
    """Seconds between SIGTERM and SIGKILL when a server is stopped before its time: by its user, by an admin without
    notice, or by a shutdown. So long it may save; it ends as soon as it is done, and is charged up to then."""

    sandbox: Literal["auto", "require", "none"] = "auto"
    """How users' servers are kept from their supervising parents. `auto`: by user ids and namespaces, as far as
    the system allows; `require`: no server is started where it doesn't; `none`: not by namespaces.
    `sublet doctor` tells what this machine allows."""

    # ------------------------------------------------------------ metering

    post_interval_seconds: Seconds = 30
    """Seconds between two posts of a running lease's use to the ledger. What is shown as used lags by so
    much; what is charged in the end does not depend on it."""

    meter_tick_seconds: PreciseSeconds = 1.0
    """Seconds between two rounds of the meter: observe, plan, apply."""

    meter_heartbeat_stale_seconds: Seconds = 15
    """Seconds without a round of the meter after which new leases are refused, since nobody would warn or
    stop them on time."""

    # ------------------------------------------------------------ models

    gateway_dir: AbsolutePath = Field(default_factory=_default_gateway_dir)
    """Folder of the gateway: its journals of what calls used (counts only) until that is booked, and the models'
    servers that it started. It must outlive the process. Default: `gateway` in the data folder."""

    model_call_seconds: Seconds = 900
    """Seconds that one call of a model may take, its wait for a turn apart."""

    model_silence_seconds: Seconds = 120
    """Seconds that a model's server may send nothing in a stream before the call is given up."""

    model_wait_seconds: Seconds = 60
    """Seconds that a call waits for its turn where as many as a model takes are running."""

    model_waiting_max: Number = 500
    """Calls that may wait for one model in one gateway process; more are refused at once."""

    model_calls_per_minute: Annotated[int, Field(ge=1, le=10**6)] = 3_000
    """Calls of models that an account may make in a minute, in each gateway process: so many at once, or evenly. More
    are refused (429) until it has waited. A model may have a lower rate of its own (`calls_per_minute`)."""

    model_allowance_tokens: Annotated[int, Field(ge=1_000, le=10**9)] = 50_000
    """Tokens (and what they cost at most) that the gateway has set aside at a time on a caller's quota, where that
    leaves several times as much; else only what a call needs. More: fewer requests to the api."""

    model_idle_seconds: Seconds = 900
    """Seconds without a call after which a model's server that the gateway started on this machine is stopped."""

    model_account: OptionalAccount = None
    """Account that pays for models' servers on GPUs of a pool (`flavor` in `models.toml`): `user:NAME` or
    `group:NAME`, the owner's as a rule. Its quotas bind them as they bind any lease. None: no model's server may be
    on a pool's GPUs."""

    model_user: OptionalName = None
    """User whose leases those servers are. None: the user of `model_account`; where that is a group's account, it has
    to be said."""

    # ------------------------------------------------------------ Dask clusters

    dask: bool = False
    """Whether users may start Dask clusters, each worker of which is a lease. On one machine only."""

    dask_clusters_per_user_max: Number = 3
    """Dask clusters that one user may have at once. Their workers are limited by quotas."""

    dask_workers_max: Number = 256
    """Workers that one Dask cluster may have."""

    dask_idle_seconds: Seconds = 1800
    """Seconds after which a Dask cluster is stopped that computes nothing, or that has had no worker."""

    # ------------------------------------------------------------ hub and api

    token_cache_seconds: PreciseSeconds = 10.0
    """Seconds for which the api believes the hub's answer about a token. A revoked token works so long."""

    event_streams_max: Number = 5_000
    """Event streams that one api process keeps open; more are refused. Each running server holds one, and so does
    each page that shows a lease. A stream takes some 40 KB of memory and an open file."""

    spawn_timeout_seconds: Seconds = 60
    """Seconds that a user's server may take to answer after its process has started."""

    concurrent_spawns_max: Number = 20
    """User servers that may be starting at once; more are asked to wait."""

    servers_per_user_max: Number = 10
    """Named servers (leases) that one user may have at once, beside the default one. Quotas are the real
    limit."""

    # ------------------------------------------------------------ `sublet up`

    simulated_gpus: Annotated[int, Field(ge=0, le=64)] = 4
    """GPUs to simulate in a first `sublet.toml` on a machine that has none."""

    start_timeout_seconds: Seconds = 90
    """Seconds that each part of the platform may take to answer after its start."""

    stop_timeout_seconds: Seconds = 10
    """Seconds that each part may take to stop before it is killed."""

    restart_backoff_max_seconds: PreciseSeconds = 30.0
    """Longest wait before a part that keeps dying is started again; the wait begins at 0.2 s and doubles."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = (
            *(self.port, self.proxy_api_port, self.hub_port),
            *(self.api_port, self.meter_port, self.gateway_port, self.dask_port, self.dask_api_port),
        )
        if len(set(ports)) != len(ports):
            raise ValueError(
                "port, proxy_api_port, hub_port, api_port, meter_port, gateway_port, dask_port and dask_api_port "
                "must all differ, not " + ", ".join(map(str, ports))
            )
        return self

    @model_validator(mode="after")
    def _dask_is_local(self) -> Self:
        if self.dask and self.cluster != "local":
            raise ValueError("dask: Dask clusters are to be had where leases run on one machine only")
        return self

    @property
    def public_url(self) -> str:
        """Where browsers go, without a slash at the end."""
        host = "127.0.0.1" if self.host in {"", "0.0.0.0", "::"} else self.host  # noqa: S104 — compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def hub_api_url(self) -> str:
        """The hub's REST API as our own processes reach it, past the proxy."""
        return f"{self.hub_address}/hub/api"

    @property
    def proxy_api_url(self) -> str:
        return self.proxy_api_address

    @property
    def api_url(self) -> str:
        """The api as our own processes reach it, past the proxy."""
        return self.api_address

    @property
    def gateway_url(self) -> str:
        """The gateway as the proxy and users' servers reach it."""
        return self.gateway_address

    @property
    def dask_url(self) -> str:
        """Where the proxy and users' servers ask for Dask clusters; schedulers are reached at its host and port."""
        return f"http://127.0.0.1:{self.dask_port}"

    @property
    def toml_file(self) -> Path:
        return self.config_file or self.data / "sublet.toml"

    @property
    def models_toml(self) -> Path:
        return self.models_file or self.toml_file.with_name("models.toml")

    @property
    def anchors_file(self) -> Path:
        """Where the meter notes the audit chain's head, outside the database."""
        return self.data / "audit.anchors"

    @property
    def logs_dir(self) -> Path:
        return self.data / "logs"

    @property
    def homes_dir(self) -> Path:
        return self.data / "homes"
