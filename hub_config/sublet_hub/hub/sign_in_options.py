"""The table `[sign_in]` of `sublet.toml`: who lets people in, and whom. Parsed once; past it, typed values.

It fails closed: whoever is not allowed by a line of it does not get in, and a table by which nobody would is refused.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sublet_hub.settings import Settings, SettingsError

Provider = Literal["shared-password", "oidc", "github", "google", "cilogon"]

SHARED_PASSWORD = "shared-password"  # noqa: S105 — the name of a way to sign in
SECRETS = {"client_secret": "oauth_client_secret", "crypt_key": "crypt_key"}
"""Fields that are not read from the table, and the names of their files."""

ENVIRONMENT = {"client_secret": "OAUTH_CLIENT_SECRET", "crypt_key": "JUPYTERHUB_CRYPT_KEY"}
"""Where they are read from where there is no such file: OAuthenticator's and JupyterHub's own variables."""

ONLY_OF: Mapping[str, frozenset[str]] = {
    "issuer": frozenset({"oidc"}),
    "authorize_url": frozenset({"oidc"}),
    "token_url": frozenset({"oidc"}),
    "userdata_url": frozenset({"oidc"}),
    "jwks_url": frozenset({"oidc"}),
    "username_claim": frozenset({"oidc", "cilogon"}),
    "groups_claim": frozenset({"oidc", "github", "cilogon"}),
    "allowed_organizations": frozenset({"github"}),
    "hosted_domain": frozenset({"google"}),
    "allowed_idps": frozenset({"cilogon"}),
}
"""Keys that mean something with some providers only: elsewhere they would be read and do nothing."""

URLS = ("authorize_url", "token_url", "userdata_url", "jwks_url")
WAYS_IN = ("allowed_users", "allowed_groups", "allowed_organizations", "admin_users", "admin_groups")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _secure(value: str) -> str:
    """Tokens and secrets go there: by TLS, or on this machine."""
    parts = urlsplit(value)
    if value and not (parts.hostname and (parts.scheme == "https" or parts.hostname in LOOPBACK)):
        raise ValueError("it must begin with https://")
    return value


Url = Annotated[str, AfterValidator(_secure)]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_one_or_more), Field(max_length=1000)]


class SignIn(BaseModel):
    """How people sign in. Names are as the provider tells them; users' in small letters, as JupyterHub keeps them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    provider: Provider = "shared-password"
    """Who says who people are. `oidc`: any OpenID Connect provider."""

    client_id: str = ""
    """Our id, as the provider gave it when we were registered there. Required."""

    callback_url: Url = ""
    """The platform's public address and `/hub/oauth_callback`, as it is registered at the provider. Required."""

    title: Annotated[str, Field(max_length=60)] = ""
    """What the button says after "Sign in with". Default: the provider's name, for `oidc` "your organisation"."""

    issuer: Url = ""
    """oidc: the provider's issuer. Its discovery document is read at each start of the hub. Required."""

    authorize_url: Url = ""
    """oidc: with the next three, instead of the discovery document; then the hub starts without the provider."""

    token_url: Url = ""
    """oidc: the token endpoint."""

    userdata_url: Url = ""
    """oidc: the userinfo endpoint."""

    jwks_url: Url = ""
    """oidc: where the keys are that ID tokens are signed with."""

    logout_url: Url = ""
    """Where a browser is sent after it has signed out here, such as the provider's own sign-out. Default: nowhere."""

    scopes: Names = ()
    """Scopes to ask for. Default: what is needed; for `oidc` `openid`, `profile`, and as far as the provider lists
    them `offline_access`, `email` (where names are e-mail addresses) and `groups` (with `groups_claim`)."""

    prompt: Literal["", "consent", "login", "select_account"] = ""
    """What the provider shall ask people each time. Some give a refresh token with `consent` only. Default:
    nothing."""

    username_claim: str = ""
    """The claim that names people here. Default: `sub` (oidc), which is nobody else's, ever; `eppn` (cilogon)."""

    groups_claim: str = ""
    """The claim that holds people's groups; `realm_access.roles` goes by steps; GitHub: `teams`. Default: groups are
    kept by hand, in the hub."""

    account_groups: Names = ()
    """Patterns (`lab-*`) of the groups to take over, each of which is an account. Those named in `allowed_groups` and
    `admin_groups` always are. Default: all."""

    allow_all: bool = False
    """Let in whomever the provider vouches for."""

    allowed_users: Names = ()
    """Names to let in."""

    allowed_groups: Names = ()
    """Groups whose members to let in."""

    allowed_organizations: Names = ()
    """github: organizations (`org`) and teams (`org:team`) whose members to let in."""

    hosted_domain: Names = ()
    """google: let in nobody but of these Workspace domains. By itself it lets nobody in."""

    allowed_idps: Names = ()
    """cilogon: let in nobody but by these identity providers, by entity id. By itself it lets nobody in. Required."""

    admin_users: Names = ()
    """Names of administrators, of the hub and of quotas. They are let in."""

    admin_groups: Names = ()
    """Groups whose members are administrators. They are let in."""

    auth_refresh_age_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Seconds after which the provider is asked again about somebody, at their next request."""

    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = 3600
    """Seconds that the provider's last yes is believed while it does not answer. 0: not at all."""

    client_secret: str = Field(default="", repr=False)
    """Our secret at the provider. From the file `oauth_client_secret`, else from OAUTH_CLIENT_SECRET. Required."""

    crypt_key: str = Field(default="", repr=False)
    """Hex, 32 bytes: encrypts people's tokens in the hub's database; several, separated by `;`, the newest first.
    From the file `crypt_key`, else from JUPYTERHUB_CRYPT_KEY, else made of the hub's cookie secret."""

    @property
    def by_oauth(self) -> bool:
        return self.provider != SHARED_PASSWORD

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider == SHARED_PASSWORD:
            given = [name for name in type(self).model_fields if self._is_given(name) and name not in SECRETS]
            if given:
                raise ValueError(f'{given[0]} means nothing with provider = "shared-password"')
            return self
        for name, providers in ONLY_OF.items():
            if self._is_given(name) and self.provider not in providers:
                raise ValueError(f'{name} means nothing with provider = "{self.provider}"')
        for name in ("client_id", "callback_url", *self._required_of_provider()):
            if not getattr(self, name):
                raise ValueError(f'{name} is missing, which provider = "{self.provider}" needs')
        if not self.client_secret:
            raise ValueError("there is no client secret: put it into the file oauth_client_secret")
        if (self.allowed_groups or self.admin_groups) and not self.groups_claim:
            raise ValueError("allowed_groups and admin_groups need groups_claim")
        if not self.allow_all and not any(getattr(self, name) for name in WAYS_IN):
            raise ValueError(
                f"nobody could sign in. Give one of {', '.join(WAYS_IN)}, or allow_all = true for everybody whom"
                " the provider knows"
            )
        return self

    def _is_given(self, name: str) -> bool:
        """Whether a key says anything but its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    def _required_of_provider(self) -> tuple[str, ...]:
        if self.provider == "oidc":
            some = any(getattr(self, name) for name in URLS)
            return ("issuer", *URLS) if some else ("issuer",)
        return ("allowed_idps",) if self.provider == "cilogon" else ()


def load_sign_in(settings: Settings, env: Mapping[str, str] | None = None) -> SignIn:
    """The platform's way to sign in, with its secrets; SettingsError names the key that is wrong."""
    env = os.environ if env is None else env
    path = settings.toml_file
    table = _table(path)
    for name, file in SECRETS.items():
        if name in table:
            raise SettingsError(f"sign_in.{name} in {path}: it is a secret; put it into a file {file}, not here.")
    folder = settings.secrets_dir or settings.data
    secrets = {name: _secret(folder / file, env.get(ENVIRONMENT[name], "")) for name, file in SECRETS.items()}
    try:
        options = SignIn.model_validate(table | secrets)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None
    if options.by_oauth and settings.authenticator != SHARED_PASSWORD:
        raise SettingsError(f"Set the authenticator ({settings.authenticator}) or sign_in in {path}, not both.")
    return options


def _table(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    table = content.get("sign_in", {})
    if not isinstance(table, dict):
        raise SettingsError(f"sign_in in {path} must be a table: write [sign_in] on a line of its own.")
    return table


def _secret(file: Path, otherwise: str) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return otherwise


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(("sign_in", *map(str, problem["loc"])))
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][0]), set(SignIn.model_fields) - set(SECRETS), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            lines.append(f"{where} in {path}: there is no such key.{hint}")
        else:
            # Not the whole input, which for the table holds the secrets.
            given = f" (it is {problem['input']!r})" if problem["loc"] else ""
            lines.append(f"{where} in {path}: {problem['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)
