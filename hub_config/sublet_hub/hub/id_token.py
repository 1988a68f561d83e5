"""Where a provider is asked, and what its ID token must be to be believed: signed by it, for us, still good.

OAuthenticator 17 believes whatever the token endpoint answers, as OpenID Connect allows over TLS. With a
userinfo endpoint it doesn't look at the ID token at all: one that was minted for another application of the same
provider would pass. We look: OpenID Connect Core 1.0, 3.1.3.7 (ID token) and 3.1.3.8 (at_hash).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from pydantic import BaseModel, ValidationError

from sublet_hub.settings import SettingsError

DISCOVERY = "/.well-known/openid-configuration"
DISCOVERY_TIMEOUT_SECONDS = 10.0
CONNECT_RETRIES = 2
LEEWAY_SECONDS = 60
"""How far the provider's clock and ours may be apart."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a private key. Not HS256: whoever has our client secret could sign, and not `none`."""

REQUIRED = ("iss", "sub", "aud", "exp", "iat")


class NotBelieved(Exception):
    """An ID token is not what it must be. The message is for the log."""


class UnknownKey(NotBelieved):
    """The token is signed with a key that we don't know (yet): the provider may have new ones."""


class _Discovered(BaseModel):
    """OpenID Connect Discovery 1.0, section 3: what we need of a provider's metadata."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A provider's addresses, and the scopes that it says it knows."""

    authorize_url: str
    token_url: str
    userdata_url: str
    jwks_url: str
    scopes: frozenset[str] = frozenset()


def discover(issuer: str) -> Endpoints:
    """Read a provider's discovery document; SettingsError where it isn't there or is another issuer's."""
    url = issuer.rstrip("/") + DISCOVERY
    # The system's certificates and no proxy of the environment, as in all that the hub asks later.
    transport = httpx.HTTPTransport(verify=ssl.create_default_context(), retries=CONNECT_RETRIES)
    try:
        with httpx.Client(transport=transport, timeout=DISCOVERY_TIMEOUT_SECONDS, trust_env=False) as client:
            found = _Discovered.model_validate_json(client.get(url).raise_for_status().content)
    except (httpx.HTTPError, ValidationError) as error:
        raise SettingsError(
            f"sign_in.issuer: {url} could not be read ({error}). To start without it, give authorize_url, token_url,"
            " userdata_url and jwks_url."
        ) from None
    if found.issuer != issuer:
        raise SettingsError(f"sign_in.issuer: {url} is of {found.issuer!r}, not {issuer!r}. They must be the same.")
    return Endpoints(
        found.authorization_endpoint,
        found.token_endpoint,
        found.userinfo_endpoint,
        found.jwks_uri,
        frozenset(found.scopes_supported),
    )


def verify(
    token: str, access_token: str, keys: Sequence[Mapping[str, Any]], issuers: Sequence[str], client_id: str
) -> Mapping[str, Any]:
    """The claims of an ID token that came with an access token; NotBelieved says what is wrong with it.

    `keys` are those of the provider's JWK Set. UnknownKey where none of them has the token's key id.
    """
    try:
        header = jwt.get_unverified_header(token)
        algorithm = str(header.get("alg"))
        if algorithm not in ALGORITHMS:
            raise NotBelieved(f"it is signed by {algorithm}, which we don't take")
        key = jwt.PyJWK(dict(_key(keys, header.get("kid"), algorithm)), algorithm=algorithm)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=client_id,
            issuer=list(issuers),
            leeway=LEEWAY_SECONDS,
            options={"require": list(REQUIRED)},
        )
    except jwt.PyJWTError as error:
        raise NotBelieved(str(error)) from None
    _check_parties(claims, client_id)
    _check_access_token(claims, access_token, algorithm)
    return claims


def _key(keys: Sequence[Mapping[str, Any]], kid: object, algorithm: str) -> Mapping[str, Any]:
    fitting = [
        key
        for key in keys
        if (kid is None or key.get("kid") == kid)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    ]
    if not fitting or (kid is None and len(fitting) > 1):
        raise UnknownKey(f"its key {kid!r} is none of the provider's")
    return fitting[0]


def _check_parties(claims: Mapping[str, Any], client_id: str) -> None:
    """A token for several applications says which of them asked for it: that must be us."""
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else client_id) != client_id:
        raise NotBelieved(f"it was given to {claims.get('azp')!r}, not to us")


def _check_access_token(claims: Mapping[str, Any], access_token: str, algorithm: str) -> None:
    """Where the token names the access token that it came with, it must be this one."""
    if "at_hash" not in claims:
        return
    bits = "512" if algorithm == "EdDSA" else algorithm[2:]
    digest = hashlib.new(f"sha{bits}", access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not hmac.compare_digest(half, str(claims["at_hash"])):
        raise NotBelieved("it belongs to another access token")
