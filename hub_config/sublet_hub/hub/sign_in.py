"""What we set in JupyterHub for people to sign in by OAuth, as `[sign_in]` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from traitlets.config import Config

from sublet_hub.hub.id_token import Endpoints, discover
from sublet_hub.hub.sign_in_options import SignIn, load_sign_in

__all__ = ["SignIn", "configure_sign_in", "load_sign_in"]

CONNECT_TIMEOUT_SECONDS = 5.0
REQUEST_TIMEOUT_SECONDS = 10.0
"""A request of a user waits so long for the provider, once per `auth_refresh_age`."""

NOT_ALLOWED = "You are known, but not allowed to use this platform. Ask its administrator."

GITHUB = "https://github.com"
GOOGLE = "https://accounts.google.com"
CILOGON = "https://cilogon.org"


@dataclass(frozen=True, slots=True)
class _Way:
    """What differs between providers: the class, whose ID tokens are believed, the scopes, and further options."""

    authenticator: str
    title: str
    issuers: tuple[str, ...]
    jwks_url: str
    scopes: tuple[str, ...]
    traits: dict[str, Any] = field(default_factory=dict)


def configure_sign_in(c: Config, options: SignIn) -> None:
    """Have people sign in as `[sign_in]` says; leaves all as it is with shared passwords.

    To be called when the hub's cookie secret is set. Reads the provider's discovery document where it must.
    """
    if not options.by_oauth:
        return
    way = _way(options)
    c.JupyterHub.authenticator_class = f"sublet_hub.hub.authenticators.{way.authenticator}"
    c.CryptKeeper.keys = options.crypt_key.split(";") if options.crypt_key else [_derived(c.JupyterHub.cookie_secret)]
    # Set for our own class, so that they hold whatever is said of JupyterHub's.
    ours = c.CheckedSignIn
    ours.client_id, ours.client_secret = options.client_id, options.client_secret
    ours.oauth_callback_url = options.callback_url
    ours.login_service = options.title or way.title
    ours.logout_redirect_url = options.logout_url
    ours.issuers, ours.jwks_url = list(way.issuers), way.jwks_url
    ours.scope = list(options.scopes or way.scopes)
    ours.enable_pkce = True
    _admission(ours, options)
    ours.enable_auth_state = True
    ours.auth_refresh_age = options.auth_refresh_age_seconds
    # Else a token of a user whom the provider no longer vouches for would work on.
    ours.auth_refresh_strict = True
    ours.refresh_pre_spawn = True
    ours.grace_seconds = options.grace_seconds
    ours.custom_403_message = NOT_ALLOWED
    ours.http_request_kwargs = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "request_timeout": REQUEST_TIMEOUT_SECONDS,
    }
    traits = way.traits
    if options.prompt:
        traits = traits | {
            "extra_authorize_params": {**traits.get("extra_authorize_params", {}), "prompt": options.prompt}
        }
    c[way.authenticator].update(traits)


def _admission(ours: Any, options: SignIn) -> None:
    ours.allow_all = options.allow_all
    ours.allow_existing_users = False
    ours.allowed_users = set(map(str.lower, options.allowed_users))
    ours.admin_users = set(map(str.lower, options.admin_users))
    ours.manage_groups = bool(options.groups_claim)
    ours.groups_claim = options.groups_claim
    ours.account_groups = list(options.account_groups)
    ours.allowed_groups = set(options.allowed_groups)
    ours.admin_groups = set(options.admin_groups)


def _way(options: SignIn) -> _Way:
    ways = {"oidc": _openid, "github": _github, "google": _google, "cilogon": _cilogon}
    return ways[options.provider](options)


def _openid(options: SignIn) -> _Way:
    at = (
        Endpoints(options.authorize_url, options.token_url, options.userdata_url, options.jwks_url)
        if options.token_url
        else discover(options.issuer)
    )
    claim = options.username_claim or "sub"
    wanted = (
        "offline_access",
        *(["email"] if claim == "email" else []),
        *(["groups"] if options.groups_claim else []),
    )
    scopes = ("openid", "profile", *(scope for scope in wanted if scope in at.scopes))
    traits = {
        "authorize_url": at.authorize_url,
        "token_url": at.token_url,
        "userdata_url": options.userdata_url or at.userdata_url,
        "username_claim": claim,
    }
    return _Way("OpenIDAuthenticator", "your organisation", (options.issuer,), at.jwks_url, scopes, traits)


def _github(options: SignIn) -> _Way:
    sees_teams = bool(options.groups_claim or options.allowed_organizations)
    traits = {
        "allowed_organizations": set(options.allowed_organizations),
        "populate_teams_in_auth_state": bool(options.groups_claim),
    }
    return _Way("GitHubAuthenticator", "GitHub", (GITHUB,), "", ("read:org",) if sees_teams else (), traits)


def _google(options: SignIn) -> _Way:
    traits = {
        "hosted_domain": list(options.hosted_domain),
        # The whole address: of two domains, the same name may be two people.
        "strip_domain": False,
        "extra_authorize_params": {"access_type": "offline"},
    }
    keys = "https://www.googleapis.com/oauth2/v3/certs"
    return _Way("GoogleAuthenticator", "Google", (GOOGLE, "accounts.google.com"), keys, ("openid", "email"), traits)


def _cilogon(options: SignIn) -> _Way:
    name = {"username_claim": options.username_claim or "eppn"}
    traits = {"idps": {idp: {"username_derivation": name} for idp in options.allowed_idps}}
    scopes = ("openid", "email", "org.cilogon.userinfo", "profile")
    return _Way("CILogonAuthenticator", "CILogon", (CILOGON,), f"{CILOGON}/oauth2/certs", scopes, traits)


def _derived(cookie_secret: bytes) -> bytes:
    """A key from the hub's cookie secret; when that is changed, everybody signs in anew anyway."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sublet: auth_state").derive(cookie_secret)
