"""Browser sessions: an encrypted cookie that holds the hub token of a sign-in, and what guards writes by it.

The sign-in is OAuth's authorization code flow with PKCE against the hub (RFC 6749, RFC 7636), as in
jupyterhub.services.auth.HubOAuth. Nothing of a session is kept on this side.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from cryptography.fernet import Fernet, InvalidToken

from sublet_hub.api.hub_client import OAuthClient

PREFIX = "/services/sublet/"
CALLBACK = f"{PREFIX}oauth_callback"
AUTHORIZE = "/hub/api/oauth2/authorize"
HUB_LOGOUT = "/hub/logout"
SESSION_COOKIE = "sublet-session"
STATE_COOKIE = "sublet-oauth-"
HUB_SESSION_COOKIE = "jupyterhub-session-id"
"""The hub's own cookie; it changes when its user signs out there."""

CSRF_HEADER = "X-CSRF-Token"
STATE_SECONDS = 600
"""How long a sign-in may take."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set; an empty value removes it."""

    name: str
    value: str
    path: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that begins: where to send the browser, and the cookie to recognise it by."""

    url: str
    cookie: Cookie


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """What the state cookie holds."""

    verifier: str
    next_path: str


class Sessions:
    """Makes and reads the cookies. `key` is secret and lies outside the database; all pages lie below `prefix`, and
    the client's redirect address is its `oauth_callback`."""

    def __init__(self, key: bytes, oauth: OAuthClient, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._callback = f"{prefix}oauth_callback"
        self._fernet = Fernet(base64.urlsafe_b64encode(_derived(key, b"cookies")))
        self._csrf_key = _derived(key, b"csrf")
        self._oauth = oauth

    def begin(self, next_path: str) -> SignIn:
        """Begin a sign-in that leads to a page of ours."""
        state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": self._oauth.client_id,
            "redirect_uri": self._oauth.redirect_uri,
            "response_type": "code",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        pending = json.dumps({"state": state, "verifier": verifier, "next": safe_path(next_path, self._prefix)})
        cookie = Cookie(_state_cookie(state), self._sealed(pending), self._callback, STATE_SECONDS)
        return SignIn(f"{AUTHORIZE}?{urlencode(query)}", cookie)

    def pending(self, state: str, cookies: Mapping[str, str]) -> PendingSignIn | None:
        """The sign-in that a callback belongs to; None unless this very browser began it in the last minutes."""
        text = self._opened(cookies.get(_state_cookie(state), ""), STATE_SECONDS)
        if text is None:
            return None
        held = json.loads(text)
        if not hmac.compare_digest(str(held["state"]).encode(), state.encode(errors="replace")):
            return None
        return PendingSignIn(held["verifier"], safe_path(held["next"], self._prefix))

    def forget(self, state: str) -> Cookie:
        return Cookie(_state_cookie(state), "", self._callback)

    def keep(self, token: str) -> Cookie:
        """The session's cookie. It goes with the browser; the hub ends the token when it wants."""
        return Cookie(SESSION_COOKIE, self._sealed(token), self._prefix)

    def end(self) -> Cookie:
        return Cookie(SESSION_COOKIE, "", self._prefix)

    def token(self, cookies: Mapping[str, str]) -> str | None:
        """The hub token of the browser's session; None where there is none or the cookie isn't ours."""
        return self._opened(cookies.get(SESSION_COOKIE, ""), None)

    def csrf_token(self, token: str) -> str:
        """What a page sends along with writes: bound to the session, and unknown to any other site."""
        return hmac.new(self._csrf_key, token.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, sent: str, token: str) -> bool:
        return hmac.compare_digest(sent.encode(errors="replace"), self.csrf_token(token).encode())

    def _sealed(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def _opened(self, sealed: str, seconds: int | None) -> str | None:
        if not sealed:
            return None
        try:
            return self._fernet.decrypt(sealed.encode(errors="replace"), ttl=seconds).decode()
        except InvalidToken:
            return None


def set_cookie_header(cookie: Cookie, *, secure: bool) -> str:
    """The value of a Set-Cookie header."""
    age = 0 if not cookie.value else cookie.seconds
    same_site: Literal["Lax"] = "Lax"
    parts = [f"{cookie.name}={cookie.value}", f"Path={cookie.path}", "HttpOnly", f"SameSite={same_site}"]
    if age is not None:
        parts.append(f"Max-Age={age}")
    if secure:
        parts.append("Secure")
    return "; ".join(parts)


def safe_path(path: str, prefix: str = PREFIX) -> str:
    """The path if it is one of our pages, else the first page: a sign-in never leads off to another site."""
    is_ours = path.startswith(prefix) and "\\" not in path and path.isprintable()
    return path if is_ours else prefix


def _state_cookie(state: str) -> str:
    """One cookie for each sign-in, so that two tabs don't disturb each other."""
    return STATE_COOKIE + hashlib.sha256(state.encode(errors="replace")).hexdigest()[:16]


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"sublet session " + purpose, hashlib.sha256).digest()
