"""Signing in by OAuthenticator, with what it leaves open closed: whom a token is for, and whose a name is.

OAuthenticator 17.4, left to itself, never looks at the ID token where there is a userinfo endpoint, gives a name's
account to whoever the provider says has that name now, and takes each letter of a groups claim that is no list for a
group.
`CheckedSignIn` is mixed into its classes and mends these; `asked_again` sees to what comes after the sign-in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets import List, Unicode

from sublet_hub.hub import claims, id_token
from sublet_hub.hub.asked_again import AskedAgain, AuthModel, AuthState


class CheckedSignIn(AskedAgain):
    """Mixed in before one of OAuthenticator's classes. Its state of a user also holds `subject` (the provider's own,
    lasting name of them), `checked_at` and `good_until` (seconds since the epoch; None: no end is known)."""

    issuers = List(Unicode(), help="What an ID token may name as its issuer.").tag(config=True)

    jwks_url = Unicode(help="Where the provider's keys are. Empty: it gives no ID tokens (GitHub).").tag(config=True)

    groups_claim = Unicode(help="Claim with the user's groups.").tag(config=True)

    account_groups = List(Unicode(), help="Patterns of the groups to take over; none: all.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys: list[Mapping[str, Any]] = []

    # ------------------------------------------------------------ whose the token is

    async def get_token_info(self, handler: Any, params: dict[str, Any]) -> dict[str, Any]:
        """New tokens. A first sign-in must come with an ID token for us; a renewal may come without one."""
        token_info: dict[str, Any] = await super().get_token_info(handler, params)
        token_info["obtained_at"] = time.time()
        if self.jwks_url and token_info.get("id_token"):
            token_info["subject"] = (await self._believed(token_info))["sub"]
        elif self.jwks_url and params["grant_type"] == "authorization_code":
            self.log.warning("The provider gave no ID token; is the scope openid among the scopes?")
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your provider did not say who you are.")
        return token_info

    async def _believed(self, token_info: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            try:
                return self._verified(token_info)
            except id_token.UnknownKey:
                await self._fetch_keys()
                return self._verified(token_info)
        except id_token.NotBelieved as error:
            self.log.warning("An ID token is not believed: %s", error)
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your provider's answer was not meant for this platform.") from None

    def _verified(self, token_info: Mapping[str, Any]) -> Mapping[str, Any]:
        given = str(token_info["id_token"]), str(token_info["access_token"])
        return id_token.verify(*given, self._keys, self.issuers, self.client_id)

    async def _fetch_keys(self) -> None:
        found = await self.httpfetch(self.jwks_url, "fetching the provider's keys")
        self._keys = [key for key in found.get("keys", ()) if isinstance(key, dict)]

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """What the userinfo endpoint says; it must be of the person that the ID token is of (Core 1.0, 5.3.2)."""
        user_info = await super().token_to_user(token_info)
        if not isinstance(user_info, dict) or not _subject(user_info):
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your provider did not say who you are.")
        if (token_info.get("subject") or _subject(user_info)) != _subject(user_info):
            self.log.warning("The userinfo endpoint speaks of somebody else than the ID token")
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your provider's answers contradict each other.")
        return user_info

    # ------------------------------------------------------------ whose the name is

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> AuthModel:
        try:
            model: AuthModel = await super().authenticate(handler, data, **kwargs)
        except HTTPClientError as error:
            raise _for_people(error) from error
        user = handler.find_user(model["name"])
        if user is not None:
            await self._keep_to_its_owner(user, model)
        return model

    async def _keep_to_its_owner(self, user: Any, model: AuthModel) -> None:
        """Refuse a name that another person of the provider has here, or that is an administrator's."""
        kept = await user.get_auth_state() or {}
        new = model["auth_state"]
        owner = kept.get("subject")
        if owner not in {None, new["subject"]} or (owner is None and user.admin and not model["admin"]):
            self.log.warning("%s was refused: the name is of %s, not of %s", user.name, owner, new["subject"])
            raise HTTPError(HTTPStatus.FORBIDDEN, f"The name {user.name} belongs to somebody else here.")
        if owner is not None and kept.get("refresh_token") and not new.get("refresh_token"):
            # Some providers give it once only, at the first consent.
            new["refresh_token"] = new["token_response"]["refresh_token"] = kept["refresh_token"]

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        name: object = super().user_info_to_username(user_info)
        if not claims.is_usable(name):
            self.log.warning("The provider gave a name that can't be used: %s", ascii(name)[:300])
            raise HTTPError(HTTPStatus.FORBIDDEN, "Your name at your provider can't be used here.")
        return str(name)

    def build_auth_state_dict(self, token_info: dict[str, Any], user_info: dict[str, Any]) -> AuthState:
        state: AuthState = super().build_auth_state_dict(token_info, user_info)
        lasts = token_info.get("expires_in")
        state["subject"] = f"{self.issuers[0]} {_subject(user_info)}"
        state["checked_at"] = time.time()
        state["good_until"] = token_info.get("obtained_at", 0) + float(lasts) if lasts else None
        return state

    async def update_auth_model(self, auth_model: AuthModel) -> AuthModel:
        """Who is an administrator is said by `admin_users` and `admin_groups` alone, anew each time."""
        model: AuthModel = await super().update_auth_model(auth_model)
        model["admin"] = bool(model["admin"])
        return model

    async def get_user_groups(self, auth_state: AuthState) -> set[str]:
        """The groups that the provider claims, as far as they can be accounts."""
        always = frozenset(self.allowed_groups | self.admin_groups)
        chosen, left_out = claims.choose_groups(self.claimed_groups(auth_state), always, self.account_groups)
        if left_out:
            self.log.warning("%d groups of a user were left out: unusable names, or too many", left_out)
        return chosen

    def claimed_groups(self, auth_state: AuthState) -> list[object]:
        """The names of groups, as the provider gives them."""
        return claims.group_names(claims.find(auth_state[self.user_auth_state_key], self.groups_claim))


def _subject(user_info: Mapping[str, Any]) -> str:
    """The provider's own name of a user, which it never gives to anybody else: `sub`, else (GitHub, Google) `id`."""
    return str(user_info.get("sub") or user_info.get("id") or "")


def _for_people(error: HTTPClientError) -> HTTPError:
    if HTTPStatus.BAD_REQUEST <= error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return HTTPError(HTTPStatus.FORBIDDEN, "Your provider did not confirm this sign-in. Try again.")
    return HTTPError(
        HTTPStatus.SERVICE_UNAVAILABLE, "Your provider does not answer at the moment. Try again shortly."
    )
