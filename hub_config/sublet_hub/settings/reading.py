"""Reading settings from the environment and from `sublet.toml`, and handing them on."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sublet_hub.settings.kinds import absolute
from sublet_hub.settings.model import Settings

ENV_PREFIX = "SUBLET_"
CATALOG_KEYS = frozenset({"pools", "flavors", "sign_in"})
"""Tables of `sublet.toml` that are not settings."""

ENV_OF_OTHERS = frozenset(
    {
        *("SUBLET_API_URL", "SUBLET_DASK_URL", "SUBLET_EVENTS_SOCKET", "SUBLET_LEASE_ID", "SUBLET_SIMULATED"),
        *("SUBLET_REQUIRE_EXTERNAL", "SUBLET_TOKEN"),
    }
)
"""Environment variables with our prefix that are no settings: what a lease, the command line and CI are
told."""

ENV_ONLY = ("data", "config_file")
"""Settings that say where the file is, and so can't stand in it."""


class SettingsError(Exception):
    """A setting is wrong. The message names it, says where it was read and what it may be."""


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
    """All settings, in the order of their declaration; those of Kubernetes last."""
    return tuple(
        SettingDoc(
            name=name,
            env=env_name(name),
            default="(derived)" if field.default_factory else str(field.default),
            text=" ".join((field.description or "").split()),
        )
        for name, field in sorted(Settings.model_fields.items(), key=lambda each: each[0].startswith("kube_"))
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
    data = absolute(Path(from_env.get("data", ".sublet")))
    named = from_env.get("config_file", "")
    file = absolute(Path(named)) if named not in {"", "none"} else data / "sublet.toml"
    from_file = _read_toml(file)
    for name in ENV_ONLY:
        if name in from_file:
            raise SettingsError(f"{name} in {file}: set it in the environment, as {env_name(name)}.")
    sources = dict.fromkeys(from_file, str(file))
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
