"""Which ID tokens are believed: signed by the provider, for us, still good. Keys and tokens are real."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sublet_hub.hub.id_token import NotBelieved, UnknownKey, verify

ISSUER = "https://login.example.org"
ACCESS = "the access token"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
OTHERS = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public(key: Any, kid: str, algorithm: str, **more: str) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key())
    return {**json.loads(made), "kid": kid, **more}


KEYS = [
    public(RSA, "r", "RS256", use="sig"),
    public(ELLIPTIC, "e", "ES256", alg="ES256"),
    public(EDWARDS, "d", "EdDSA"),
    public(OTHERS, "encrypts", "RS256", use="enc"),
]


def token(key: Any = RSA, kid: str | None = "r", algorithm: str = "RS256", **changed: object) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "ada", "aud": "sublet", "iat": now, "exp": now + 300, **changed}
    headers = {"kid": kid} if kid else {}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm, headers)


def claims_of(text: str) -> Any:
    return verify(text, ACCESS, KEYS, [ISSUER], "sublet")


def half_hash(name: str) -> str:
    digest = hashlib.new(name, ACCESS.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "made",
    [
        token,
        lambda: token(aud=["sublet"]),
        lambda: token(aud=["sublet", "other"], azp="sublet"),
        lambda: token(azp="sublet"),
        lambda: token(ELLIPTIC, "e", "ES256", at_hash=half_hash("sha256")),
        lambda: token(EDWARDS, "d", "EdDSA", at_hash=half_hash("sha512")),
        lambda: token(RSA, "r", "PS384", at_hash=half_hash("sha384")),
        lambda: token(exp=int(time.time()) - 5),
    ],
)
def test_a_token_for_us_is_believed(made: Callable[[], str]) -> None:
    assert claims_of(made())["sub"] == "ada"


HOUR_AGO = int(time.time()) - 3600


@pytest.mark.parametrize(
    "bad",
    [
        token(aud="other"),
        token(aud=["other", "another"]),
        token(aud=["sublet", "other"]),
        token(aud=["sublet", "other"], azp="other"),
        token(azp="other"),
        token(iss="https://evil.example"),
        token(exp=HOUR_AGO),
        token(iat=int(time.time()) + 3600),
        token(at_hash=half_hash("sha512")),
        token(sub=None),
        token(aud=None),
        token(exp=None),
        token(iss=None),
        token(OTHERS),
        token(OTHERS, "encrypts"),
        token(RSA, "e"),
        token("a secret that both have, and that is long enough", "r", "HS256"),
        token(None, "r", "none"),
        token()[:-6] + "AAAAAA",
        "",
        "no token",
    ],
)
def test_anything_else_is_not(bad: str) -> None:
    with pytest.raises(NotBelieved):
        claims_of(bad)


@pytest.mark.parametrize("kid", ["new", None])
def test_a_key_that_is_not_known_is_told_apart(kid: str | None) -> None:
    """So that the provider's keys are fetched anew. Without an id, a key must be the only one."""
    with pytest.raises(UnknownKey):
        verify(
            token(kid=kid),
            ACCESS,
            [*KEYS[:1], public(OTHERS, "o", "RS256")] if kid is None else KEYS,
            [ISSUER],
            "sublet",
        )


def test_a_provider_with_one_key_needs_not_name_it() -> None:
    assert verify(token(kid=None), ACCESS, KEYS[:1], [ISSUER], "sublet")["sub"] == "ada"
