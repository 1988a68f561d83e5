"""All settings of a platform, each with its unit, its default, what None means, and why it is there.

A setting is taken from the environment (`SUBLET_` and its name in capitals), else from `<data>/sublet.toml`
(its name as a top-level key), else from its default. `data` itself comes from the environment only, since it
says where the file is. Where None is allowed, an empty string or "none" says None.

Pools, flavors and prices stand in the same file and are read by `sublet_hub.catalog`.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

ENV_PREFIX = "SUBLET_"
CATALOG_KEYS = frozenset({"pools", "flavors"})
"""Tables of `sublet.toml` that are not settings."""

ENV_OF_OTHERS = frozenset(
    {"SUBLET_API_URL", "SUBLET_LEASE_ID", "SUBLET_REQUIRE_EXTERNAL", "SUBLET_SIMULATED", "SUBLET_TOKEN"}
)
"""Environment variables with our prefix that are no settings: what a lease, the command line and CI are
told."""


class SettingsError(Exception):
    """A setting is wrong. The message names it, says where it was read and what it may be."""


def _split_list(value: object) -> object:
    """Lists come from the environment as `a,b`."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _none_if_said(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in {"", "none"} else value


def _existing_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone of the IANA database, such as Europe/Berlin") from None
    return value


def _longest_first(value: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(value), reverse=True))


def _absolute(value: Path) -> Path:
    return value.expanduser().absolute()


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=10**9)]
PreciseSeconds = Annotated[float, Field(gt=0, le=10**6)]
Number = Annotated[int, Field(ge=1, le=10_000)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_list)]
OptionalCount = Annotated[Count | None, BeforeValidator(_none_if_said)]
NoticeTimes = Annotated[
    tuple[Seconds, ...], BeforeValidator(_split_list), AfterValidator(_longest_first), Field(max_length=8)
]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
OptionalPath = Annotated[AbsolutePath | None, BeforeValidator(_none_if_said)]


def _offset(offset: int) -> Any:
    """Default of a port: so far above the public one. Several platforms on one machine then need one setting
    each."""

    def from_port(values: dict[str, Any]) -> int:
        return int(values.get("port", 8000)) + offset

    return Field(default_factory=from_port)


def _default_database(values: dict[str, Any]) -> str:
    return f"sqlite:///{values.get('data', Path('.sublet')) / 'sublet.sqlite'}"


def _default_notebook_python(_values: dict[str, Any]) -> Path:
    """The notebook environment beside the platform's own, as `make run` lays them; else the platform's
    own."""
    beside = Path(sys.prefix).parent / ".venv-notebook" / "bin" / "python"
    return beside if beside.exists() else Path(sys.executable)


def _default_proxy_script(_values: dict[str, Any]) -> Path:
    relative = Path("node_modules/configurable-http-proxy/bin/configurable-http-proxy")
    return Path(sys.prefix).parent / "proxy" / relative


class Settings(BaseModel):
    """One platform's settings; never changed after they are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    # ------------------------------------------------------------ where things are

    data: AbsolutePath = Path(".sublet")
    """Folder for all that the platform keeps: databases, secrets, logs, homes, leases. Relative to where the
    command is run. Only from the environment."""

    database_url: str = Field(default_factory=_default_database)
    """SQLAlchemy URL of Sublet's database. Default: SQLite, `sublet.sqlite` in the data folder. For
    PostgreSQL `postgresql+psycopg://user:password@host/name`, with the extra `postgresql` installed."""

    notebook_python: AbsolutePath = Field(default_factory=_default_notebook_python)
    """Python that users' servers run on; JupyterLab and jupyterhub-singleuser must be installed there.
    Default: `.venv-notebook` beside the platform's own environment, else the platform's own Python."""

    proxy_script: AbsolutePath = Field(default_factory=_default_proxy_script)
    """The configurable-http-proxy to start. Default: the one `make run` installs under
    `proxy/node_modules`."""

    # ------------------------------------------------------------ where it listens

    host: str = "127.0.0.1"
    """Address the public port listens on. Everything else listens on 127.0.0.1 only. Default: this machine
    only, since there is no TLS here; put a TLS proxy in front before opening it."""

    port: Port = 8000
    """The public port: browsers and API clients come here."""

    proxy_api_port: Port = _offset(1)
    """Port of the proxy's own API, on 127.0.0.1. Default: `port` + 1."""

    hub_port: Port = _offset(81)
    """Port of the hub behind the proxy, on 127.0.0.1. Default: `port` + 81."""

    api_port: Port = _offset(82)
    """Port of the api behind the proxy, on 127.0.0.1. Default: `port` + 82."""

    meter_port: Port = _offset(83)
    """Port of the meter's Prometheus metrics, on 127.0.0.1. Default: `port` + 83."""

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

    time_zone: Annotated[str, AfterValidator(_existing_zone)] = "UTC"
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
    stays within one second of the deadline; saving is done at the notices before."""

    stop_grace_seconds: PreciseSeconds = 5.0
    """Seconds between SIGTERM and SIGKILL when a server is stopped before its time, by its user or a shutdown."""

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

    # ------------------------------------------------------------ hub and api

    token_cache_seconds: PreciseSeconds = 10.0
    """Seconds for which the api believes the hub's answer about a token. A revoked token works so long."""

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
        ports = (self.port, self.proxy_api_port, self.hub_port, self.api_port, self.meter_port)
        if len(set(ports)) != len(ports):
            raise ValueError(
                "port, proxy_api_port, hub_port, api_port and meter_port must all differ, not "
                + ", ".join(map(str, ports))
            )
        return self

    @property
    def public_url(self) -> str:
        """Where browsers go, without a slash at the end."""
        host = "127.0.0.1" if self.host in {"", "0.0.0.0", "::"} else self.host  # noqa: S104 — compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def hub_api_url(self) -> str:
        """The hub's REST API as our own processes reach it, past the proxy."""
        return f"http://127.0.0.1:{self.hub_port}/hub/api"

    @property
    def proxy_api_url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_api_port}"

    @property
    def api_url(self) -> str:
        """The api as our own processes reach it, past the proxy."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def toml_file(self) -> Path:
        return self.data / "sublet.toml"

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


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, so that a child process has the very same ones."""
    return {env_name(name): _as_text(getattr(settings, name)) for name in Settings.model_fields}


def _as_text(value: object) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """What a reader needs to know of one setting; docs and `sublet doctor` are made from it."""

    name: str
    env: str
    default: str
    text: str


def describe() -> tuple[SettingDoc, ...]:
    """All settings, in the order of their declaration."""
    return tuple(
        SettingDoc(
            name=name,
            env=env_name(name),
            default="(derived)" if field.default_factory else str(field.default),
            text=" ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    )


def env_name(field: str) -> str:
    """Environment variable of a setting."""
    return ENV_PREFIX + field.upper()


def unknown_environment(env: Mapping[str, str]) -> tuple[str, ...]:
    """Variables with our prefix that are no setting: most likely misspelt."""
    known = {env_name(name) for name in Settings.model_fields} | ENV_OF_OTHERS
    return tuple(sorted(name for name in env if name.startswith(ENV_PREFIX) and name not in known))


def load_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment and the data folder's `sublet.toml`; SettingsError says what is wrong
    where."""
    env = os.environ if env is None else env
    from_env = {name: env[env_name(name)] for name in Settings.model_fields if env_name(name) in env}
    data = _absolute(Path(from_env.get("data", ".sublet")))
    from_file = _read_toml(data / "sublet.toml")
    if "data" in from_file:
        raise SettingsError(f"data in {data / 'sublet.toml'}: set it in the environment, as {env_name('data')}.")
    sources = dict.fromkeys(from_file, str(data / "sublet.toml"))
    sources |= {name: f"the environment ({env_name(name)})" for name in from_env}
    try:
        return Settings.model_validate({**from_file, **from_env})
    except ValidationError as error:
        raise SettingsError(_explain(error, sources)) from None


def _read_toml(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    return {key: value for key, value in content.items() if key not in CATALOG_KEYS}


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors():
        if problem["type"] == "default_factory_not_called":
            continue  # a default that derives from a field which is itself wrong, and named already
        name = str(problem["loc"][0]) if problem["loc"] else ""
        where = f" in {sources[name]}" if name in sources else ""
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            lines.append(f"{name}{where}: there is no such setting." + (f" Did you mean {near[0]}?" if near else ""))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = f" (it is {problem['input']!r})" if name else ""
            lines.append(f"{name}{where}: {message}{given}" if name else message)
    return "\n".join(lines)
